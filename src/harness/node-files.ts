/** A node's tables as the real tools read them, and the node itself as data: what the real kernel can be fed with. */
import { formatCidr, formatIp, formatMac } from "../addr/index.ts";
import type { NodeTables } from "../engine/index.ts";
import { saveIpsets } from "../filter/ipset/index.ts";
import { saveRuleset } from "../filter/iptables/index.ts";
import type { ClusterState } from "../k8s/index.ts";
import { createTopology } from "./topology.ts";

/** File name -> content. */
export type NodeFiles = ReadonlyMap<string, string>;

/** A node's files as `podwire compile` writes them. */
export function nodeFiles(state: ClusterState, nodeName: string, tables: NodeTables): NodeFiles {
  const files = new Map<string, string>();
  const { iptables } = tables;
  if (iptables !== undefined) {
    files.set("iptables.save", saveRuleset(iptables.v4));
    files.set("ip6tables.save", saveRuleset(iptables.v6));
    files.set("ipset.save", saveIpsets(iptables.sets.values()));
    const names = [...iptables.sets.values()].map((set): [string, string] => [
      set.name,
      set.title ?? set.name,
    ]);
    files.set("ipset.names.json", `${JSON.stringify(Object.fromEntries(names), null, 2)}\n`);
  }
  files.set("node.json", `${JSON.stringify(describeNode(state, nodeName), null, 2)}\n`);
  return files;
}

function describeNode(state: ClusterState, nodeName: string): object {
  const { spec } = createTopology(state);
  const node = spec.nodes.find((one) => one.name === nodeName);
  const endpoints = spec.endpoints.filter((one) => one.node === nodeName);
  return {
    name: nodeName,
    os: node?.os,
    addresses: node?.addresses.map(formatIp),
    interfaces: node?.interfaces.map(({ index, name, mac, link }) => ({
      index,
      name,
      mac: formatMac(mac),
      link,
    })),
    routes: [
      ...endpoints.flatMap((endpoint) =>
        endpoint.ips.map((ip) => ({ to: formatIp(ip), interface: endpoint.interfaceIndex })),
      ),
      ...(node?.routes ?? []).map(({ net, oif }) => ({ to: formatCidr(net), interface: oif })),
    ],
    pods: endpoints.map(({ id, ips, interfaceIndex, listeners }) => ({
      id,
      addresses: ips.map(formatIp),
      interface: interfaceIndex,
      listeners,
    })),
  };
}
