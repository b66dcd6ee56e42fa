/**
 * The ends of a truth table: pods, nodes, Services and the address ranges outside the cluster that policies tell apart.
 * An external range is represented by one address of it that no narrower range, pod, node or Service owns; policies
 * can only distinguish addresses by the prefixes they name, so one address stands for its whole region.
 */
import {
  type Cidr,
  cidrContains,
  cidrCovers,
  type Family,
  formatCidr,
  formatIp,
  type Ip,
  ipAdd,
  parseCidr,
} from "../addr/index.ts";
import { unreachable } from "../base/index.ts";
import {
  type Cell,
  type CellEnd,
  type ClusterState,
  isEnded,
  mentionsOf,
  type Pod,
  type ServiceEnd,
} from "../k8s/index.ts";
import type { EndpointDocument } from "./documents.ts";
import { serviceEnds } from "./service-ends.ts";

/** A resolved end: what it is, and the id that documents use. */
export interface TableEnd<E extends CellEnd | ServiceEnd = CellEnd | ServiceEnd> {
  /** `x/a`, `node:n1`, `svc:x/web`, `lb:x/web`, `nodeport:n1:30080`, `ip:10.0.0.0/8`, `ip:other`. */
  readonly id: string;
  readonly end: E;
}

/** An end that opens connections. */
export type SourceEnd = TableEnd<CellEnd>;

export function isSource(table: TableEnd): table is SourceEnd {
  return table.end.kind !== "service" && table.end.kind !== "node-port";
}

export interface EndOptions {
  /** hostNetwork pods are ends of their own only where a reading tells them from their node. */
  readonly hostNetworkPods: boolean;
  /** Pods that have ended are policed like others by the API's text, but have no network that packets could reach. */
  readonly endedPods: boolean;
  readonly podsOnly: boolean;
}

/** Ends in the order pods, nodes, Services, externals; each group in name order. */
export function tableEnds(state: ClusterState, options: EndOptions): readonly TableEnd[] {
  const pods: SourceEnd[] = [];
  for (const [id, pod] of state.pods) {
    if (
      pod.ips.length === 0 ||
      (pod.hostNetwork && !options.hostNetworkPods) ||
      (isEnded(pod) && !options.endedPods)
    )
      continue;
    pods.push({ id, end: { kind: "pod", pod } });
  }
  pods.sort(byId);
  if (options.podsOnly) return pods;
  const nodes = [...state.nodes.values()].map(
    (node): SourceEnd => ({ id: `node:${node.name}`, end: { kind: "node", node } }),
  );
  return [...pods, ...nodes.sort(byId), ...serviceEnds(state), ...externalEnds(state)];
}

function byId(a: TableEnd, b: TableEnd): number {
  return a.id < b.id ? -1 : a.id > b.id ? 1 : 0;
}

/** The regions between the prefixes that policies name, widest first, `ip:other` last; one list a family. */
export function externalEnds(state: ClusterState): readonly SourceEnd[] {
  const owned = ownedAddresses(state);
  const { blocks } = mentionsOf(state);
  const ends: SourceEnd[] = [];
  for (const family of state.options.ipFamilies) {
    const prefixes = blocks.filter((block) => block.family === family).sort(widestFirst);
    for (const prefix of prefixes) {
      const inner = prefixes.filter((other) => other !== prefix && cidrCovers(prefix, other));
      const ip = firstFree(prefix, inner, owned);
      if (ip !== undefined) ends.push({ id: `ip:${formatCidr(prefix)}`, end: { kind: "external", ip } });
    }
    const everything: Cidr = { family, words: family === 4 ? [0] : [0, 0, 0, 0], prefix: 0 };
    const other = firstFree(startOfOther(family), prefixes, owned) ?? firstFree(everything, prefixes, owned);
    if (other !== undefined && !prefixes.some((prefix) => prefix.prefix === 0))
      ends.push({ id: family === 4 ? "ip:other" : "ip:other6", end: { kind: "external", ip: other } });
  }
  return ends;
}

/** Where to look first for an address that no policy names: documentation space (RFC 5737, RFC 3849). */
function startOfOther(family: Family): Cidr {
  return parseCidr(family === 4 ? "203.0.113.0/24" : "2001:db8:ffff::/64") as Cidr;
}

function widestFirst(a: Cidr, b: Cidr): number {
  return a.prefix - b.prefix || compareWords(a.words, b.words);
}

function compareWords(a: readonly number[], b: readonly number[]): number {
  for (let i = 0; i < a.length; i++) {
    const difference = (a[i] ?? 0) - (b[i] ?? 0);
    if (difference !== 0) return difference;
  }
  return 0;
}

interface Owned {
  readonly hosts: ReadonlySet<string>;
  /** Ranges that belong to the cluster though no pod has the address now. */
  readonly ranges: readonly Cidr[];
}

function ownedAddresses(state: ClusterState): Owned {
  const hosts = new Set<string>();
  for (const pod of state.pods.values()) for (const ip of pod.ips) hosts.add(formatIp(ip));
  for (const node of state.nodes.values()) for (const ip of node.addresses) hosts.add(formatIp(ip));
  for (const service of state.services.values())
    for (const ip of [...service.loadBalancerIPs, ...service.externalIPs]) hosts.add(formatIp(ip));
  return { hosts, ranges: [...state.options.serviceCidrs] };
}

/**
 * The lowest address of `outer` outside all `holes` and owned ranges and not owned by a pod or node; the network
 * address itself is passed over where the prefix has another. `undefined` when there is none.
 */
function firstFree(outer: Cidr, holes: readonly Cidr[], owned: Owned): Ip | undefined {
  const bits = outer.family === 4 ? 32 : 128;
  let ip: Ip = { family: outer.family, words: outer.words };
  if (outer.prefix < bits - 1) ip = ipAdd(ip, 1);
  if (outer.prefix === 0) ip = nonReserved(ip);
  for (let steps = 0; steps < 1_000_000 && cidrContains(outer, ip); steps++) {
    const at = ip;
    const hole =
      holes.find((cidr) => cidrContains(cidr, at)) ?? owned.ranges.find((cidr) => cidrContains(cidr, at));
    if (hole === undefined && !owned.hosts.has(formatIp(ip))) return ip;
    const next =
      hole === undefined
        ? { base: ip, prefix: bits }
        : { base: { family: ip.family, words: hole.words }, prefix: hole.prefix };
    const after = addBlock(next.base, next.prefix);
    if (after === undefined) return undefined;
    ip = after;
  }
  return undefined;
}

/** 0.0.0.0/8 and ::/96 are no addresses of hosts: the walk starts at 1.0.0.1 or 2000::1. */
function nonReserved(ip: Ip): Ip {
  return ip.family === 4 ? { family: 4, words: [0x01000001] } : { family: 6, words: [0x20000000, 0, 0, 1] };
}

/** The first address after the block of length `prefix` at `base`; `undefined` past the end of the space. */
function addBlock(base: Ip, prefix: number): Ip | undefined {
  const words = [...base.words];
  const bit = prefix - 1;
  if (bit < 0) return undefined;
  let index = Math.floor(bit / 32);
  let add = 2 ** (31 - (bit % 32));
  for (; index >= 0; index--) {
    const sum = (words[index] ?? 0) + add;
    words[index] = sum % 0x1_0000_0000;
    if (sum < 0x1_0000_0000) return { family: base.family, words };
    add = 1;
  }
  return undefined;
}

export function describeEnd(table: TableEnd): EndpointDocument {
  const { id, end } = table;
  switch (end.kind) {
    case "pod":
      return {
        id,
        kind: "pod",
        node: end.pod.nodeName,
        addresses: end.pod.ips.map(formatIp),
        ...(end.pod.owner ? { owner: `${end.pod.owner.kind}/${end.pod.owner.name}` } : {}),
        ...(end.pod.hostNetwork ? { hostNetwork: true } : {}),
      };
    case "node":
      return { id, kind: "node", node: end.node.name, addresses: end.node.addresses.map(formatIp) };
    case "external":
      return { id, kind: "external", addresses: [formatIp(end.ip)] };
    case "service":
      return { id, kind: "service", addresses: end.ips.map(formatIp) };
    case "node-port":
      return { id, kind: "service", node: end.node.name, addresses: end.node.addresses.map(formatIp) };
    default:
      return unreachable(end);
  }
}

/** One column of a truth table. */
export interface TablePort {
  readonly protocol: Cell["protocol"];
  /** Port, or ICMP type. */
  readonly port: number;
}

/** Every port that a container or a policy of any kind names (both ends of a range), in protocol and number order. */
export function tablePorts(state: ClusterState): readonly TablePort[] {
  const ports = new Map<string, TablePort>();
  const add = (protocol: TablePort["protocol"], port: number): void => {
    ports.set(`${protocol}/${port}`, { protocol, port });
  };
  for (const pod of state.pods.values()) for (const port of pod.ports) add(port.protocol, port.containerPort);
  for (const { protocol, port } of mentionsOf(state).ports) add(protocol, port);
  if (ports.size === 0) add("TCP", 80);
  const order = ["TCP", "UDP", "SCTP", "ICMP"];
  return [...ports.values()].sort(
    (a, b) => order.indexOf(a.protocol) - order.indexOf(b.protocol) || a.port - b.port,
  );
}

/** The end's address of a family, of a headless Service its first endpoint's; `undefined` when it has none. */
export function endAddress(end: CellEnd | ServiceEnd, family: Family): Ip | undefined {
  switch (end.kind) {
    case "pod":
      return end.pod.ips.find((ip) => ip.family === family);
    case "node":
    case "node-port":
      return end.node.addresses.find((ip) => ip.family === family);
    case "external":
      return end.ip.family === family ? end.ip : undefined;
    case "service":
      return end.ips.find((ip) => ip.family === family);
    default:
      return unreachable(end);
  }
}

/** True if the ends are the same pod or node. */
export function sameEnd(a: CellEnd, b: CellEnd | ServiceEnd): boolean {
  if (a.kind === "pod" && b.kind === "pod") return podId(a.pod) === podId(b.pod);
  if (a.kind === "node" && b.kind === "node") return a.node.name === b.node.name;
  return false;
}

function podId(pod: Pod): string {
  return `${pod.namespace}/${pod.name}`;
}
