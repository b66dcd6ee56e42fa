/**
 * Where replayed packets go: into the network of an emulated cluster, each at its source pod's node, else at the
 * destination's. Answers that a hook sent back for an earlier packet are recognised when the capture shows them: they
 * left the node that rejected, whatever source they name.
 */
import { formatIp, type Ip } from "../../addr/index.ts";
import { usageError } from "../../base/index.ts";
import type { Datapath, RuleDescription } from "../../filter/index.ts";
import { type ClusterState, hasInterface, type Pod } from "../../k8s/index.ts";
import {
  append,
  clearBatch,
  createBatch,
  decodeRow,
  type PacketBatch,
  rowBytes,
} from "../../packet/index.ts";
import type { HookWatcher, Network, PacketFate } from "../../sim/index.ts";
import { IpProtocol, TcpFlag } from "../../wire/index.ts";
import { podKey } from "../topology.ts";

import type { Unjudged } from "./documents.ts";
import { type PacketEnds, packetEnds } from "./packet-ends.ts";

/** One thing that a packet can be replayed into. */
export interface ReplayTarget {
  /** Virtual time goes on to this instant. */
  advance(toNs: number): void;
  /** Row 0 of `batch` is the packet. `sender`: who is known to have sent it, whatever its source address. */
  judge(batch: PacketBatch, watcher: HookWatcher, sender?: string): PacketFate | Unjudged;
  describeRule(fate: PacketFate): RuleDescription | undefined;
  isTranslated(address: string): boolean;
  /** Pod or node behind an address. */
  stationOf(ip: Ip): string | undefined;
}

interface ExpectedAnswer {
  readonly atNs: number;
  readonly node: string;
  readonly kept: PacketFate["emitted"][number]["kept"];
}

/** An answer follows its cause within this time. */
const answerWindowNs = 1e9;

interface Addresses {
  readonly of: ClusterState;
  readonly stations: ReadonlyMap<string, string>;
  readonly services: ReadonlySet<string>;
}

/** Judges packets by an engine on manifests. */
export class NetworkTarget implements ReplayTarget {
  readonly #network: Network;
  readonly #state: () => ClusterState;
  readonly #at: { readonly node: string; readonly iif: number | undefined } | undefined;
  readonly #answers = new Map<string, ExpectedAnswer[]>();
  #addresses: Addresses | undefined;

  /** `at`: every packet enters at this node, by this interface of it where one is named. */
  constructor(
    network: Network,
    state: () => ClusterState,
    at?: { readonly node: string; readonly interface?: string | undefined },
  ) {
    this.#network = network;
    this.#state = state;
    this.#at = at === undefined ? undefined : resolvePlace(network, at.node, at.interface);
  }

  advance(toNs: number): void {
    const { loop } = this.#network;
    if (toNs > loop.nowNs()) loop.runUntil(toNs);
  }

  judge(batch: PacketBatch, watcher: HookWatcher, sender?: string): PacketFate | Unjudged {
    const ends = packetEnds(batch);
    if (!isUnicast(ends.dst)) return "not-unicast";
    const [from, to] = [sender ?? this.stationOf(ends.src), this.stationOf(ends.dst)];
    const packet = rowBytes(batch, 0).slice();
    const answer = this.#expectedAnswer(answerKey(batch, ends));
    const isKnown = from !== undefined || to !== undefined || this.isTranslated(formatIp(ends.dst));
    if (answer === undefined && !isKnown && this.#at === undefined) return "unknown-address";
    // hosts outside are there once they are heard of: answers find their way back to them
    if (to === undefined && !this.isTranslated(formatIp(ends.dst))) this.#network.addExternal(ends.dst);
    if (from === undefined && !this.isTranslated(formatIp(ends.src))) this.#network.addExternal(ends.src);
    const fate =
      answer === undefined
        ? this.#enter(ends, from, packet, watcher)
        : this.#network.deliverAt(answer.node, 0, packet, watcher, answer.kept);
    for (const { node, bytes, kept } of fate.emitted) this.#expect(node, bytes, kept);
    return fate;
  }

  #enter(ends: PacketEnds, from: string | undefined, packet: Uint8Array, watcher: HookWatcher): PacketFate {
    if (this.#at === undefined)
      return this.#network.deliver(from ?? `ip:${formatIp(ends.src)}`, packet, watcher);
    const { node, iif } = this.#at;
    return this.#network.deliverAt(node, iif ?? this.#interfaceFrom(node, from), packet, watcher);
  }

  /** Where a packet of `from` comes into a node: its pod's interface, its own stack, or the uplink. */
  #interfaceFrom(node: string, from: string | undefined): number {
    if (from === `node:${node}`) return 0;
    const endpoint = from === undefined ? undefined : this.#network.endpoint(from);
    if (endpoint?.node === node) return endpoint.interfaceIndex;
    return this.#network.node(node).spec.interfaces.find(({ link }) => link === "fabric")?.index ?? 0;
  }

  #expect(node: string, bytes: Uint8Array, kept: ExpectedAnswer["kept"]): void {
    const key = answerKeyOf(bytes);
    if (key === undefined) return;
    const list = this.#answers.get(key) ?? [];
    list.push({ atNs: this.#network.loop.nowNs(), node, kept });
    this.#answers.set(key, list.slice(-16));
  }

  #expectedAnswer(key: string | undefined): ExpectedAnswer | undefined {
    if (key === undefined) return undefined;
    const list = this.#answers.get(key);
    const next = list?.shift();
    if (list?.length === 0) this.#answers.delete(key);
    if (next === undefined) return undefined;
    return this.#network.loop.nowNs() - next.atNs <= answerWindowNs ? next : this.#expectedAnswer(key);
  }

  describeRule({ node, rule }: PacketFate): RuleDescription | undefined {
    const datapath: Datapath | undefined = node === undefined ? undefined : this.#network.node(node).datapath;
    return rule < 0 ? undefined : datapath?.describeRule(rule);
  }

  isTranslated(address: string): boolean {
    const { stations, services } = this.#known();
    return services.has(address) || stations.get(address)?.startsWith("node:") === true;
  }

  stationOf(ip: Ip): string | undefined {
    return this.#known().stations.get(formatIp(ip));
  }

  /** Made again when the cluster has changed. */
  #known(): Addresses {
    const state = this.#state();
    if (this.#addresses?.of === state) return this.#addresses;
    const stations = new Map<string, string>();
    for (const node of state.nodes.values())
      for (const ip of node.addresses) stations.set(formatIp(ip), `node:${node.name}`);
    for (const pod of state.pods.values()) addPod(stations, pod);
    const services = [...state.services.values()].flatMap((one) => [
      ...one.clusterIPs,
      ...one.externalIPs,
      ...one.loadBalancerIPs,
    ]);
    this.#addresses = { of: state, stations, services: new Set(services.map(formatIp)) };
    return this.#addresses;
  }
}

function addPod(stations: Map<string, string>, pod: Pod): void {
  if (hasInterface(pod)) for (const ip of pod.ips) stations.set(formatIp(ip), podKey(pod));
}

function resolvePlace(
  network: Network,
  node: string,
  name: string | undefined,
): { readonly node: string; readonly iif: number | undefined } {
  const stack = network.nodes.get(node);
  if (stack === undefined)
    throw usageError(`no node ${node}; there is ${[...network.nodes.keys()].join(", ")}`);
  if (name === undefined) return { node, iif: undefined };
  const iif = stack.interfaces.find((one) => one.name === name)?.index;
  if (iif === undefined)
    throw usageError(
      `${node} has no interface ${name}; it has ${stack.interfaces.map((one) => one.name).join(", ")}`,
    );
  return { node, iif };
}

/** Multicast, limited broadcast and the unspecified address have no single receiver. */
function isUnicast({ family, words: [first = 0, ...rest] }: Ip): boolean {
  if (family === 4) return first >>> 28 < 14 && first !== 0;
  return first >>> 24 !== 0xff && (first !== 0 || rest.some((word) => word !== 0));
}

/** RST and ICMP errors by what the kernel and podwire put into them alike; other packets are no answers of hooks. */
function answerKey(batch: PacketBatch, ends: PacketEnds): string | undefined {
  const protocol = batch.protocol[0] ?? 0;
  const isReset = protocol === IpProtocol.tcp && ((batch.tcpFlags[0] ?? 0) & TcpFlag.rst) !== 0;
  const isIcmp = protocol === IpProtocol.icmp || protocol === IpProtocol.icmpv6;
  if (!isReset && !isIcmp) return undefined;
  return `${protocol} ${formatIp(ends.src)} ${ends.sport} ${formatIp(ends.dst)} ${ends.dport}`;
}

const answerBatch = createBatch(1, 2048);

function answerKeyOf(bytes: Uint8Array): string | undefined {
  clearBatch(answerBatch);
  if (append(answerBatch, bytes) < 0) return undefined;
  decodeRow(answerBatch, 0);
  return answerKey(answerBatch, packetEnds(answerBatch));
}
