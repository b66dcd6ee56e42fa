/**
 * The network of a cluster state: which nodes, interfaces, routes and pods there are, whatever the engine. Azure CNI
 * gives each pod a veth of its own and a host route; kubenet hangs pods on a bridge, so that their packets arrive
 * through it.
 */
import { type Cidr, localMac } from "../addr/index.ts";
import type { InterfaceAddress } from "../filter/index.ts";
import {
  type CellEnd,
  type ClusterState,
  hasInterface,
  kubenetBridge,
  type Node,
  type Pod,
  podInterfaceName,
} from "../k8s/index.ts";
import type { EndpointSpec, InterfaceSpec, NetworkSpec, NodeSpec } from "../sim/index.ts";
import { frontendsOf } from "./frontends.ts";

const loopbackIndex = 1;
const uplinkIndex = 2;
const bridgeIndex = 3;
/** Pods' interfaces are numbered from here. */
const firstPodIndex = 10;
const loopbackAddresses: readonly InterfaceAddress[] = [
  { family: 4, words: [0x7f000001], prefix: 8 },
  { family: 6, words: [0, 0, 0, 1], prefix: 128 },
];

export interface Topology {
  readonly spec: NetworkSpec;
  /** By pod key; for `addEndpoint` when the pod comes to life later. */
  podInterface(pod: Pod): InterfaceSpec;
  endpoint(pod: Pod): EndpointSpec;
}

/** Interface numbers stay with a pod's name for the life of the topology; a new pod gets the next one of its node. */
export function createTopology(state: ClusterState): Topology {
  const indices = new Map<string, number>();
  const nextIndex = new Map<string, number>();
  const bridged = state.options.networkPlugin === "kubenet";
  const nodeNumbers = new Map([...state.nodes.keys()].map((name, i) => [name, i + 1]));

  const podInterface = (pod: Pod): InterfaceSpec => {
    const nodeNumber = nodeNumbers.get(pod.nodeName) ?? 0;
    if (bridged)
      return {
        index: bridgeIndex,
        name: kubenetBridge,
        mac: localMac(nodeNumber * 0x1_0000 + bridgeIndex),
        link: "pod",
        addresses: [],
      };
    const key = podKey(pod);
    let index = indices.get(key);
    if (index === undefined) {
      index = nextIndex.get(pod.nodeName) ?? firstPodIndex;
      nextIndex.set(pod.nodeName, index + 1);
      indices.set(key, index);
    }
    return {
      index,
      name: podInterfaceName(state, pod),
      mac: localMac(nodeNumber * 0x1_0000 + index),
      link: "pod",
      addresses: [],
    };
  };
  const endpoint = (pod: Pod): EndpointSpec => {
    const { index, mac } = podInterface(pod);
    return {
      id: podKey(pod),
      node: pod.nodeName,
      interfaceIndex: index,
      mac,
      ips: pod.ips,
      listeners: pod.ports.map(({ protocol, containerPort }) => ({ protocol, port: containerPort })),
    };
  };
  const pods = [...state.pods.values()].filter(hasInterface);
  const podsOf = new Map<string, InterfaceSpec[]>();
  for (const pod of pods) {
    const list = podsOf.get(pod.nodeName) ?? [];
    if (!bridged || list.length === 0) list.push(podInterface(pod));
    podsOf.set(pod.nodeName, list);
  }
  const nodes = [...state.nodes.values()].map((node) =>
    nodeSpec(node, nodeNumbers.get(node.name) ?? 0, podsOf.get(node.name) ?? []),
  );
  const spec = { nodes, endpoints: pods.map(endpoint), frontends: frontendsOf(state) };
  return { spec, podInterface, endpoint };
}

function nodeSpec(node: Node, number: number, podInterfaces: readonly InterfaceSpec[]): NodeSpec {
  const everywhere: readonly Cidr[] = [
    { family: 4, words: [0], prefix: 0 },
    { family: 6, words: [0, 0, 0, 0], prefix: 0 },
  ];
  return {
    name: node.name,
    os: node.os,
    addresses: node.addresses,
    interfaces: [
      { index: loopbackIndex, name: "lo", mac: localMac(0), link: "loopback", addresses: loopbackAddresses },
      {
        index: uplinkIndex,
        name: "eth0",
        mac: localMac(number * 0x1_0000 + uplinkIndex),
        link: "fabric",
        addresses: node.addresses.map((ip) => ({ ...ip, prefix: ip.family === 4 ? 32 : 128 })),
      },
      ...podInterfaces,
    ],
    routes: everywhere.map((net) => ({ net, oif: uplinkIndex })),
  };
}

export function podKey(pod: Pod): string {
  return `${pod.namespace}/${pod.name}`;
}

/** Who sends and receives for an end: a pod, `node:NAME` (also for pods of the host network) or `ip:ADDRESS`. */
export function stationOf(end: Exclude<CellEnd, { kind: "external" }>): string {
  if (end.kind === "node") return `node:${end.node.name}`;
  return end.pod.hostNetwork ? `node:${end.pod.nodeName}` : podKey(end.pod);
}
