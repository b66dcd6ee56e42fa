/** What Cilium's policies name. Keys of selectors lose their source; those of namespaces' labels, their prefix. */
import type { LabelSelector, Mentions } from "../../../k8s/index.ts";
import { selectorKeys } from "../../../k8s/index.ts";
import type { CiliumPeer, CiliumPolicySpec, CiliumPort } from "./spec.ts";

const protocols: Readonly<Record<number, "TCP" | "UDP" | "SCTP" | "ICMP">> = {
  1: "ICMP",
  6: "TCP",
  17: "UDP",
  58: "ICMP",
  132: "SCTP",
};
/** Connections of ICMP are echo requests: a rule about any type may be what lets them through, or not. */
const echoRequest = 8;

const namespaceKey = "io.kubernetes.pod.namespace";
const namespaceLabelPrefix = "io.cilium.k8s.namespace.labels.";

export function mentionsOfCiliumPolicy({ rules }: CiliumPolicySpec): Mentions {
  const sections = rules.flatMap((rule) => rule.sections);
  const peers = sections.flatMap((section) => section.peers ?? []);
  const selectors = [
    ...rules.flatMap(({ endpointSelector }) => endpointSelector ?? []),
    ...peers.flatMap((peer) => (peer.kind === "endpoints" ? [peer.selector] : [])),
  ];
  const keys = selectors.flatMap(selectorKeys).map(withoutSource);
  return {
    ports: sections.flatMap((section) => (section.ports ?? []).flatMap(portsOf)),
    blocks: peers.flatMap(blocksOf),
    namespaces: selectors.flatMap(namespacesOf),
    podKeys: keys.filter((key) => key !== namespaceKey && !key.startsWith(namespaceLabelPrefix)),
    namespaceKeys: keys
      .filter((key) => key.startsWith(namespaceLabelPrefix))
      .map((key) => key.slice(namespaceLabelPrefix.length)),
  };
}

function portsOf({ protocols: numbers, port, endPort }: CiliumPort): Mentions["ports"] {
  return numbers.flatMap((number): Mentions["ports"] => {
    const protocol = protocols[number];
    if (protocol === undefined) return [];
    if (protocol === "ICMP") return [{ protocol, port: echoRequest }];
    return [port, endPort].flatMap((one) => (typeof one === "number" ? [{ protocol, port: one }] : []));
  });
}

function blocksOf(peer: CiliumPeer): Mentions["blocks"] {
  switch (peer.kind) {
    case "cidr":
      return [peer.cidr];
    case "cidr-set":
      return [peer.cidr, ...peer.except];
    case "cidr-group":
    case "cidr-group-selector":
      return peer.except;
    default:
      return [];
  }
}

function namespacesOf({ matchLabels, matchExpressions }: LabelSelector): readonly string[] {
  return [
    ...Object.entries(matchLabels).map(([key, value]) => ({ key, values: [value] })),
    ...matchExpressions,
  ].flatMap(({ key, values }) => (withoutSource(key) === namespaceKey ? values : []));
}

function withoutSource(key: string): string {
  return key.slice(key.indexOf(":") + 1);
}
