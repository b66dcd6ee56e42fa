/**
 * Where replayed packets go: into the network of an emulated cluster, each at its source pod's node, else at the
 * destination's. Answers that a hook sent back for an earlier packet are recognised when the capture shows them: they
 * left the node that rejected, whatever source they name.
 */
import { AddressTable, type Ip } from "../../addr/index.ts";
import { usageError } from "../../base/index.ts";
import type { Datapath } from "../../filter/index.ts";
import { type ClusterState, hasInterface } from "../../k8s/index.ts";
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
import {
  endsAddress,
  endsFamily,
  lanesAt,
  newEnds,
  type PacketEnds,
  readEnds,
  type Side,
} from "./packet-ends.ts";
import type { ReplayTarget } from "./target.ts";

interface ExpectedAnswer {
  readonly atNs: number;
  /** Sent anew by a node's stack, or made of the packet itself, whose fate is the answer's. */
  readonly from:
    | { readonly node: string; readonly kept: PacketFate["emitted"][number]["kept"] }
    | { readonly fate: PacketFate };
}

/** An answer follows its cause within this time. */
const answerWindowNs = 1e9;
/** Ends that answers are expected of at one time. */
const answersMax = 4096;

/** Who has which address in a state of the cluster. */
interface Addresses {
  readonly of: ClusterState;
  /** Number in `stations` by address. */
  readonly table: AddressTable;
  readonly stations: readonly Station[];
}

interface Station {
  /** `undefined` for an address that Services alone have. */
  readonly name: string | undefined;
  /** A node or a Service: NAT puts such addresses into packets. */
  readonly isTranslated: boolean;
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
    // hosts outside are there once they are heard of: answers find their way back to them
    network.openOutside((family, words) => this.#station(family, words, 0) === undefined);
  }

  advance(toNs: number): void {
    const { loop } = this.#network;
    if (toNs > loop.nowNs()) loop.runUntil(toNs);
  }

  judge(batch: PacketBatch, ends: PacketEnds, watcher: HookWatcher, sender?: string): PacketFate | Unjudged {
    if (!isUnicast(ends)) return "not-unicast";
    const from = sender ?? this.stationOf(ends, "src");
    const answer = isAnswer(batch) ? this.#expectedAnswer(ends.join(" ")) : undefined;
    const isKnown = from !== undefined || this.#station(endsFamily(ends), ends, lanesAt("dst")) !== undefined;
    if (answer === undefined && !isKnown && this.#at === undefined) return "unknown-address";
    const packet = rowBytes(batch, 0);
    const origin = answer?.from;
    if (origin !== undefined && "fate" in origin) return { ...origin.fate, bytes: packet, emitted: [] };
    const fate =
      origin === undefined
        ? this.#enter(ends, from, packet, watcher)
        : this.#network.deliverAt(origin.node, 0, packet, watcher, origin.kept);
    for (const { node, bytes, kept } of fate.emitted) this.#expect(bytes, { node, kept });
    // a program turns a packet into the answer to it and sends that back
    const isChanged = fate.bytes[protocolAt(fate.bytes)] !== batch.protocol[0];
    if (fate.disposition === "delivered" && isChanged && !isAnswer(batch)) this.#expect(fate.bytes, { fate });
    return fate;
  }

  #enter(ends: PacketEnds, from: string | undefined, packet: Uint8Array, watcher: HookWatcher): PacketFate {
    if (this.#at === undefined)
      return this.#network.deliver(from ?? `ip:${endsAddress(ends, "src")}`, packet, watcher);
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

  #expect(bytes: Uint8Array, from: ExpectedAnswer["from"]): void {
    const key = answerKeyOf(bytes);
    if (key === undefined) return;
    const list = this.#answers.get(key) ?? [];
    if (list.length === 0) this.#forgetAnswers();
    list.push({ atNs: this.#network.loop.nowNs(), from });
    this.#answers.set(key, list.slice(-16));
  }

  /** Answers that the capture never showed; those that were expected first stand first. */
  #forgetAnswers(): void {
    const nowNs = this.#network.loop.nowNs();
    for (const [key, list] of this.#answers) {
      if (nowNs - (list.at(-1)?.atNs ?? 0) <= answerWindowNs && this.#answers.size < answersMax) return;
      this.#answers.delete(key);
    }
  }

  #expectedAnswer(key: string): ExpectedAnswer | undefined {
    const list = this.#answers.get(key);
    const next = list?.shift();
    if (list?.length === 0) this.#answers.delete(key);
    if (next === undefined) return undefined;
    return this.#network.loop.nowNs() - next.atNs <= answerWindowNs ? next : this.#expectedAnswer(key);
  }

  datapathOf(node: string): Datapath | undefined {
    return this.#network.node(node).datapath;
  }

  isTranslated(family: number, words: Uint32Array, at: number): boolean {
    return this.#station(family, words, at)?.isTranslated === true || isLinkLocal(family, words[at] ?? 0);
  }

  stationOf(ends: PacketEnds, side: Side): string | undefined {
    return this.#station(endsFamily(ends), ends, lanesAt(side))?.name;
  }

  #station(family: number, words: ArrayLike<number>, at: number): Station | undefined {
    const state = this.#state();
    if (this.#addresses?.of !== state) this.#addresses = addressesOf(state);
    const { table, stations } = this.#addresses;
    const number = table.get(family, words, at);
    return number < 0 ? undefined : stations[number];
  }
}

function addressesOf(state: ClusterState): Addresses {
  const table = new AddressTable();
  const stations: Station[] = [];
  const add = (ips: readonly Ip[], name: string | undefined, isTranslated: boolean): void => {
    for (const ip of ips) {
      const known = stations[table.get(ip.family, ip.words)];
      table.set(ip, stations.push({ name: name ?? known?.name, isTranslated }) - 1);
    }
  };
  for (const node of state.nodes.values()) add(node.addresses, `node:${node.name}`, true);
  for (const pod of state.pods.values()) if (hasInterface(pod)) add(pod.ips, podKey(pod), false);
  for (const service of state.services.values())
    for (const ips of [service.clusterIPs, service.externalIPs, service.loadBalancerIPs])
      add(ips, undefined, true);
  return { of: state, table, stations };
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
function isUnicast(ends: PacketEnds): boolean {
  const at = lanesAt("dst");
  const first = ends[at] ?? 0;
  if (endsFamily(ends) === 4) return first >>> 28 < 14 && first !== 0;
  const isSpecified = first !== 0 || ends[at + 1] !== 0 || ends[at + 2] !== 0 || ends[at + 3] !== 0;
  return first >>> 24 !== 0xff && isSpecified;
}

/** Nothing routed has such an address (RFC 3927 section 2.6.2) but what an engine puts into packets of its own. */
function isLinkLocal(family: number, first: number): boolean {
  return family === 4 && first >>> 16 === 0xa9fe;
}

/** RST and ICMP errors may be answers of hooks. What the kernel and podwire put into them alike is their ends. */
function isAnswer(batch: PacketBatch): boolean {
  const protocol = batch.protocol[0] ?? 0;
  if (protocol === IpProtocol.tcp) return ((batch.tcpFlags[0] ?? 0) & TcpFlag.rst) !== 0;
  return protocol === IpProtocol.icmp || protocol === IpProtocol.icmpv6;
}

/** Where the protocol stands in an IP header: the first one's, where IPv6 has more. */
function protocolAt(bytes: Uint8Array): number {
  return (bytes[0] ?? 0) >>> 4 === 6 ? 6 : 9;
}

const answerBatch = createBatch(1, 2048);

function answerKeyOf(bytes: Uint8Array): string | undefined {
  clearBatch(answerBatch);
  if (append(answerBatch, bytes) < 0) return undefined;
  decodeRow(answerBatch, 0);
  if (!isAnswer(answerBatch)) return undefined;
  const ends = newEnds();
  readEnds(answerBatch, ends);
  return ends.join(" ");
}
