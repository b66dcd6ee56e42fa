/** A node's tables as the real tools read them, and the node itself as data: what the real kernel can be fed with. */
import { formatCidr, formatIp, formatMac } from "../addr/index.ts";
import type { Engine, NodeTables } from "../engine/index.ts";
import { type BpfTables, kernelText, MapType } from "../filter/bpf/index.ts";
import { saveHns } from "../filter/hns/index.ts";
import { saveIpsets } from "../filter/ipset/index.ts";
import { saveRuleset } from "../filter/iptables/index.ts";
import type { ClusterState } from "../k8s/index.ts";
import type { NetworkSpec } from "../sim/index.ts";
import { createTopology } from "./topology.ts";

/** File name -> content. */
export type NodeFiles = ReadonlyMap<string, string>;

/** A node's files as `podwire compile` writes them; with `engine`, what its own tools list of the tables too. */
export function nodeFiles(
  state: ClusterState,
  nodeName: string,
  tables: NodeTables,
  engine?: Engine,
): NodeFiles {
  const files = new Map<string, string>();
  const spec = networkOf(state);
  const { iptables, hns, bpf } = tables;
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
  if (hns !== undefined) files.set("hns.json", saveHns(hns));
  if (bpf !== undefined && bpf.programs.length > 0)
    for (const [name, content] of bpfFiles(bpf)) files.set(`bpf/${name}`, content);
  const node = state.nodes.get(nodeName);
  if (engine?.listings !== undefined && node !== undefined) {
    const interfaces = spec.nodes.find(({ name }) => name === nodeName)?.interfaces ?? [];
    const indices = new Map(interfaces.map(({ name, index }) => [name, index]));
    const interfaceIndex = (name: string): number | undefined => indices.get(name);
    for (const [name, content] of engine.listings(state, { node, tables, interfaceIndex }))
      files.set(`bpf/${name}`, content);
  }
  files.set("node.json", `${JSON.stringify(describeNode(spec, nodeName), null, 2)}\n`);
  return files;
}

const networks = new WeakMap<ClusterState, NetworkSpec>();

/** The same for all nodes of a state. */
function networkOf(state: ClusterState): NetworkSpec {
  const spec = networks.get(state) ?? createTopology(state).spec;
  networks.set(state, spec);
  return spec;
}

/** Programs as `bpftool prog dump xlated` prints them, and the maps that they name, as `bpftool map list` does. */
function bpfFiles({ maps, programs }: BpfTables): ReadonlyMap<string, string> {
  const files = new Map<string, string>();
  for (const { name, instructions } of programs)
    files.set(`programs/${name}.txt`, `${kernelText(instructions).join("\n")}\n`);
  const lines = maps.map(({ name, type, flags, keySize, valueSize, maxEntries }, id) =>
    [
      `${id}: ${mapTypeNames[type]}  name ${name}  flags 0x${flags.toString(16)}\n`,
      `\tkey ${keySize}B  value ${valueSize}B  max_entries ${maxEntries}\n`,
    ].join(""),
  );
  files.set("maps.txt", lines.join(""));
  return files;
}

/** As `bpftool` names them. */
const mapTypeNames: Readonly<Record<MapType, string>> = {
  [MapType.hash]: "hash",
  [MapType.array]: "array",
  [MapType.progArray]: "prog_array",
  [MapType.perfEventArray]: "perf_event_array",
  [MapType.percpuHash]: "percpu_hash",
  [MapType.percpuArray]: "percpu_array",
  [MapType.lruHash]: "lru_hash",
  [MapType.lruPercpuHash]: "lru_percpu_hash",
  [MapType.lpmTrie]: "lpm_trie",
  [MapType.arrayOfMaps]: "array_of_maps",
  [MapType.hashOfMaps]: "hash_of_maps",
  [MapType.ringbuf]: "ringbuf",
};

function describeNode(spec: NetworkSpec, nodeName: string): object {
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
