/**
 * A packet's way through one node, as data and one walker. The paths are those of netfilter's packet flow (see
 * docs/architecture.md): arriving [xdp, tc-ingress, PREROUTING, route] then either to the node [INPUT] or onward [FORWARD,
 * POSTROUTING, tc-egress]; from the node [route, OUTPUT, reroute, POSTROUTING, tc-egress]. On Windows every packet
 * goes from one port of the switch to another, [endpoint-Out, route, endpoint-In]: pods', the uplink and the host's own. Where nothing is attached, packets pass. No engine is known here.
 *
 * Switches of the node as on AKS: forwarding on, rp_filter off, route_localnet on (kube-proxy turns it on for node ports
 * on localhost). Sources that no other host can have are martians all the same (kernel net/ipv4/route.c,
 * ip_route_input_slow; net/ipv6/ip6_input.c for ::1).
 */
import { AddressTable, type Cidr, cidrContainsWords, type Ip } from "../addr/index.ts";
import {
  type Datapath,
  type FilterObserver,
  Hook,
  type HookResults,
  type NodeFacts,
  type NodeInterface,
  RedirectWay,
  Verdict,
} from "../filter/index.ts";
import {
  append,
  CtState,
  clearBatch,
  DecodeStatus,
  decodeRow,
  decrementTtl,
  icmpError,
  type PacketBatch,
  packetEnd,
  relatedState,
  rowBytes,
} from "../packet/index.ts";
import { Icmpv4Type, Icmpv6Type, ipv4ChecksumHolds, isUnanswerable } from "../wire/index.ts";
import type { InterfaceSpec, NodeSpec, RouteSpec } from "./spec.ts";

type Step =
  | { readonly kind: "hook"; readonly hook: number }
  | { readonly kind: "route" }
  | { readonly kind: "reroute" }
  | { readonly kind: "ttl" };

export interface NodePaths {
  readonly arrive: readonly Step[];
  readonly toNode: readonly Step[];
  readonly onward: readonly Step[];
  readonly fromNode: readonly Step[];
}

const hook = (number: number): Step => ({ kind: "hook", hook: number });
const route: Step = { kind: "route" };

export const paths: { readonly linux: NodePaths; readonly windows: NodePaths } = {
  linux: {
    arrive: [hook(Hook.xdp), hook(Hook.tcIngress), hook(Hook.prerouting), route],
    toNode: [hook(Hook.input)],
    onward: [{ kind: "ttl" }, hook(Hook.forward), hook(Hook.postrouting), hook(Hook.tcEgress)],
    fromNode: [route, hook(Hook.output), { kind: "reroute" }, hook(Hook.postrouting), hook(Hook.tcEgress)],
  },
  windows: {
    arrive: [hook(Hook.endpointOut), route],
    toNode: [hook(Hook.endpointIn)],
    onward: [hook(Hook.endpointIn)],
    fromNode: [hook(Hook.endpointOut), route, hook(Hook.endpointIn)],
  },
};

/**
 * What a packet keeps when a node sends it to itself: over loopback it is still the same packet, mark and connection
 * included (nf_conntrack_in: "previously seen").
 */
export interface KeptState {
  readonly mark: number;
  readonly ctState: number;
  readonly ctEntry: number;
  readonly ctZone: number;
}

/** A packet that a node sends back about another one, and what it knows of it. */
export interface SentBack {
  readonly bytes: Uint8Array;
  readonly kept: KeptState;
}

/** Where a walk through a node ended. */
export type WalkEnd =
  | {
      readonly kind: "transmit";
      readonly oif: number;
      readonly bytes: Uint8Array;
      readonly state: KeptState;
    }
  | { readonly kind: "local"; readonly bytes: Uint8Array }
  | {
      /** As if it had come in by an interface of the node. */
      readonly kind: "reenter";
      readonly iif: number;
      readonly bytes: Uint8Array;
      readonly state: KeptState;
    }
  | {
      readonly kind: "stopped";
      readonly reason: StopReason;
      readonly hook: number;
      readonly verdict: number;
      /** Rule index of the node's datapath, -1 if none. */
      readonly rule: number;
      /** Interface that it was about to leave by, 0 if it had none yet. */
      readonly oif: number;
    };

type StopReason = "denied" | "no-route" | "malformed" | "ttl-exceeded" | "martian" | "held" | "circles";

/** Interfaces that a packet may be sent on to from one another's egress (net/core/dev.c, XMIT_RECURSION_LIMIT). */
const redirectsMax = 8;

/** Sees a packet before and after each hook; hands out the filter observer of the run. */
export interface HookWatcher {
  before(
    node: string,
    hook: number,
    datapath: Datapath,
    batch: PacketBatch,
    row: number,
  ): FilterObserver | undefined;
  after(node: string, hook: number, results: HookResults, row: number): void;
}

/** A node of the running network. */
export class NodeStack implements NodeFacts {
  readonly spec: NodeSpec;
  datapath: Datapath | undefined;
  /** Scratch space of one walk: a batch of one row and the hooks' results. */
  readonly batch: PacketBatch;
  readonly results: HookResults;
  /** Interface number by address. */
  readonly #hostRoutes = new AddressTable();
  #routes: RouteSpec[] = [];
  #interfaces = new Map<number, InterfaceSpec>();
  #facts: readonly NodeInterface[] | undefined;
  generation = 0;
  /** Of the walk that runs. */
  redirects = 0;
  readonly #local = new AddressTable();

  constructor(spec: NodeSpec, batch: PacketBatch, results: HookResults) {
    this.spec = spec;
    this.batch = batch;
    this.results = results;
    for (const ip of spec.addresses) this.#local.set(ip, 1);
    for (const one of spec.interfaces) this.#interfaces.set(one.index, one);
    for (const one of spec.routes) this.addRoute(one.net, one.oif);
  }

  get name(): string {
    return this.spec.name;
  }

  get localAddresses(): readonly Ip[] {
    return this.spec.addresses;
  }

  get interfaces(): readonly NodeInterface[] {
    this.#facts ??= [...this.#interfaces.values()].map((one) => ({
      index: one.index,
      name: one.name,
      addresses: one.addresses,
      isLoopback: one.link === "loopback",
    }));
    return this.#facts;
  }

  interfaceOf(index: number): InterfaceSpec | undefined {
    return this.#interfaces.get(index);
  }

  addInterface(spec: InterfaceSpec): void {
    this.#interfaces.set(spec.index, spec);
    this.#facts = undefined;
    this.generation++;
  }

  addRoute(net: Cidr, oif: number): void {
    this.generation++;
    if (net.prefix === (net.family === 4 ? 32 : 128)) {
      this.#hostRoutes.set(net, oif);
      return;
    }
    this.#routes.push({ net, oif });
    this.#routes.sort((a, b) => b.net.prefix - a.net.prefix);
  }

  removeHostRoute(ip: Ip): void {
    this.#hostRoutes.delete(ip);
    this.generation++;
  }

  isLocal(ip: Ip): boolean {
    return this.isLocalAt(ip.family, ip.words, 0);
  }

  /** As `isLocal`, for the address whose words are `words[at..]`. */
  isLocalAt(family: number, words: ArrayLike<number>, at: number): boolean {
    if (family === 4 ? words[at]! >>> 24 === 127 : isLoopback6(words, at)) return true;
    return this.#local.get(family, words, at) >= 0;
  }

  /** Interface number towards an address; 0 when there is no route. */
  routeTo(ip: Ip): number {
    return this.routeAt(ip.family, ip.words, 0);
  }

  /** As `routeTo`, for the address whose words are `words[at..]`. */
  routeAt(family: number, words: ArrayLike<number>, at: number): number {
    const host = this.#hostRoutes.get(family, words, at);
    if (host >= 0) return host;
    for (const { net, oif } of this.#routes)
      if (net.family === family && cidrContainsWords(net, words, at)) return oif;
    return 0;
  }

  /** Whether any route leads by this interface to the address whose words are `words[at..]`. */
  leadsBy(oif: number, family: number, words: ArrayLike<number>, at: number): boolean {
    return this.#routes.some(
      (route) => route.oif === oif && route.net.family === family && cidrContainsWords(route.net, words, at),
    );
  }

  loopbackIndex(): number {
    return this.spec.interfaces.find(({ link }) => link === "loopback")?.index ?? 0;
  }
}

/** A source that cannot come in over a wire: nobody's, everybody's, or this node's own. */
function isMartian(node: NodeStack, { family, src }: PacketBatch): boolean {
  const first = src[0]!;
  if (node.isLocalAt(family[0]!, src, 0)) return true;
  if (family[0] === 6) return first >>> 24 === 0xff;
  return first === 0 || first >>> 28 === 14 || first === 0xffffffff;
}

/** An IPv6 packet that no hook sees: nothing comes from ::1 or goes to it over a wire (ip6_rcv_core). */
function isRefused6({ family, src, dst }: PacketBatch): boolean {
  return family[0] === 6 && (isLoopback6(src, 0) || isLoopback6(dst, 0));
}

function isLoopback6(words: ArrayLike<number>, at: number): boolean {
  return words[at] === 0 && words[at + 1] === 0 && words[at + 2] === 0 && words[at + 3] === 1;
}

/**
 * Walks one packet through a node. `iif` 0: it comes from the node's own stack. `emitted` receives what hooks sent back
 * (RST, ICMP errors), to be sent from the node. `kept`: what the node knew when it sent the packet to itself.
 */
export function walkNode(
  node: NodeStack,
  bytes: Uint8Array,
  iif: number,
  emitted: SentBack[],
  watcher?: HookWatcher,
  kept?: KeptState,
): WalkEnd {
  const { batch } = node;
  clearBatch(batch);
  append(batch, bytes);
  decodeRow(batch, 0);
  if (batch.status[0] === DecodeStatus.malformedNetwork) return stopped("malformed", -1);
  const arrives = iif !== 0 && batch.family[0] === 4;
  if (arrives && !ipv4ChecksumHolds(batch.bytes, batch.offset[0]!)) return stopped("malformed", -1); // ip_rcv
  if (iif !== 0 && iif !== node.loopbackIndex() && isRefused6(batch)) return stopped("martian", -1);
  batch.state.iif[0] = iif;
  node.redirects = 0;
  if (kept !== undefined) restore(batch, kept);
  const plan = paths[node.spec.os];
  if (iif === 0) {
    const end = walkSteps(node, plan.fromNode, emitted, watcher);
    return end ?? transmit(node);
  }
  const arrival = walkSteps(node, plan.arrive, emitted, watcher);
  if (arrival !== undefined) return arrival;
  if (batch.state.oif[0] === 0)
    return (
      walkSteps(node, plan.toNode, emitted, watcher) ?? { kind: "local", bytes: rowBytes(batch, 0).slice() }
    );
  return walkSteps(node, plan.onward, emitted, watcher) ?? transmit(node);
}

function transmit({ batch }: NodeStack): WalkEnd {
  const { oif } = batch.state;
  return {
    kind: "transmit",
    oif: oif[0]!,
    bytes: rowBytes(batch, 0).slice(),
    state: stateOf(batch, 0),
  };
}

/** Of an INVALID packet the kernel keeps nothing: it is looked up anew. */
function stateOf({ state: { mark, ctState, ctEntry, ctZone } }: PacketBatch, row: number): KeptState {
  if (ctState[row] === CtState.invalid)
    return { mark: mark[row]!, ctState: CtState.none, ctEntry: 0, ctZone: 0 };
  return { mark: mark[row]!, ctState: ctState[row]!, ctEntry: ctEntry[row]!, ctZone: ctZone[row]! };
}

function restore({ state }: PacketBatch, kept: KeptState): void {
  state.mark[0] = kept.mark;
  state.ctState[0] = kept.ctState;
  state.ctEntry[0] = kept.ctEntry;
  state.ctZone[0] = kept.ctZone;
}

function walkSteps(
  node: NodeStack,
  steps: readonly Step[],
  emitted: SentBack[],
  watcher: HookWatcher | undefined,
): WalkEnd | undefined {
  const { batch } = node;
  for (const step of steps) {
    switch (step.kind) {
      case "hook": {
        const end = runHook(node, step.hook, emitted, watcher);
        if (end !== undefined) return end;
        break;
      }
      case "route":
      case "reroute": {
        const end = routePacket(node, emitted);
        if (end !== undefined) return end;
        break;
      }
      case "ttl":
        if (!decrementTtl(batch, 0)) {
          const isV6 = batch.family[0] === 6;
          answerWith(node, isV6 ? Icmpv6Type.timeExceeded : Icmpv4Type.timeExceeded, emitted);
          return stopped("ttl-exceeded", -1);
        }
        break;
    }
  }
  return undefined;
}

/** Sets the interface that the packet leaves by: 0 where it came from another host to this one. */
function routePacket(node: NodeStack, emitted: SentBack[]): WalkEnd | undefined {
  const { family, dst, state } = node.batch;
  const iif = state.iif[0]!;
  const isFromWire = iif !== 0 && iif !== node.loopbackIndex();
  if (isFromWire && isMartian(node, node.batch)) return stopped("martian", -1);
  if (isFromWire && family[0] === 6 && isLoopback6(dst, 0)) {
    // translated to ::1, which is looked for behind the interface that it came by (ip6_route_input_lookup, RT6_LOOKUP_F_IFACE)
    if (!node.leadsBy(iif, 6, dst, 0)) {
      answerWith(node, Icmpv6Type.unreachable, emitted);
      return stopped("no-route", -1);
    }
    state.oif[0] = iif;
    return undefined;
  }
  if (node.isLocalAt(family[0]!, dst, 0)) {
    state.oif[0] = iif === 0 ? node.loopbackIndex() : 0;
    return undefined;
  }
  const oif = node.routeAt(family[0]!, dst, 0);
  if (oif === 0) return stopped("no-route", -1);
  state.oif[0] = oif;
  return undefined;
}

/** Sends an ICMP error of code 0 about the packet, unless it is one that nobody may be told of. */
function answerWith({ spec, batch }: NodeStack, type: number, emitted: SentBack[]): void {
  const from = spec.addresses.find((ip) => ip.family === batch.family[0]);
  if (from === undefined || isUnanswerable(batch.bytes, batch.offset[0]!, packetEnd(batch, 0))) return;
  emitted.push({
    bytes: icmpError(rowBytes(batch, 0), from, type, 0),
    kept: { mark: 0, ...relatedState(batch, 0), ctZone: 0 },
  });
}

function runHook(
  node: NodeStack,
  number: number,
  emitted: SentBack[],
  watcher: HookWatcher | undefined,
): WalkEnd | undefined {
  const { datapath, batch, results } = node;
  if (datapath === undefined || !datapath.hooks.includes(number)) return undefined;
  const observer = watcher?.before(node.spec.name, number, datapath, batch, 0);
  datapath.run(number, batch, 0, 1, results, observer);
  watcher?.after(node.spec.name, number, results, 0);
  for (let row = 0; row < results.emitted.length; row++)
    emitted.push({ bytes: rowBytes(results.emitted, row).slice(), kept: stateOf(results.emitted, row) });
  clearBatch(results.emitted);
  results.events.length = 0; // the watcher has seen them
  const verdict = results.verdict[0]!;
  if (verdict === Verdict.accept) return undefined;
  if (verdict === Verdict.redirect)
    return redirected(node, number, { oif: results.detail[0]!, way: results.way[0]! }, emitted, watcher);
  // A fragment that is held: its datagram goes on with the last one.
  const isReassembled = number === Hook.prerouting || number === Hook.input || number === Hook.output;
  if (verdict === Verdict.stolen && isReassembled) return stopped("held", number);
  return {
    kind: "stopped",
    reason: "denied",
    hook: number,
    verdict,
    rule: results.rule[0]!,
    oif: batch.state.oif[0]!,
  };
}

/**
 * A packet that a program sends elsewhere (net/core/filter.c, __bpf_redirect): what is handed to an interface passes what
 * is attached to its egress, what is put into one starts over from there.
 */
function redirected(
  node: NodeStack,
  from: number,
  { oif, way }: { readonly oif: number; readonly way: number },
  emitted: SentBack[],
  watcher: HookWatcher | undefined,
): WalkEnd {
  const { batch } = node;
  if (node.interfaceOf(oif) === undefined) return stopped("no-route", from);
  if (way === RedirectWay.receive) {
    const state = { ...stateOf(batch, 0), ctState: 0, ctEntry: 0 };
    return { kind: "reenter", iif: oif, bytes: rowBytes(batch, 0).slice(), state };
  }
  batch.state.oif[0] = oif;
  if (way === RedirectWay.bypass) return transmit(node);
  node.redirects++;
  if (node.redirects > redirectsMax) return stopped("circles", from);
  return runHook(node, Hook.tcEgress, emitted, watcher) ?? transmit(node);
}

function stopped(reason: Exclude<StopReason, "denied">, atHook: number): WalkEnd {
  return { kind: "stopped", reason, hook: atHook, verdict: Verdict.drop, rule: -1, oif: 0 };
}
