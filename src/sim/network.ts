/**
 * The running network: node stacks, pods and hosts outside, joined by links with latency. Packets travel hop by hop;
 * `send` schedules the hops on the event loop, `deliver` takes them at once (for truth tables). Both use one `hop`.
 */
import { AddressTable, formatIp, formatWords, type Ip } from "../addr/index.ts";
import { assert, createPrng, type Prng } from "../base/index.ts";
import { createHookResults, type Datapath, Hook, Verdict } from "../filter/index.ts";
import { createBatch } from "../packet/index.ts";
import { readU32 } from "../wire/index.ts";
import { Frontends } from "./frontends.ts";
import { createEventLoop, type EventLoop } from "./loop.ts";
import {
  type HookWatcher,
  type KeptState,
  NodeStack,
  type SentBack,
  type WalkEnd,
  walkNode,
} from "./path.ts";
import type { EndpointSpec, FrontendSpec, InterfaceSpec, NetworkSpec } from "./spec.ts";

/** What became of a packet. */
export type Disposition =
  | "delivered"
  | "denied-egress"
  | "denied-ingress"
  | "no-route"
  | "no-listener"
  | "lost"
  | "malformed";

export interface PacketFate {
  /** Number of the packet in this network, from 1, as in `TapEvent`. */
  readonly packet: number;
  readonly disposition: Disposition;
  /** Node and hook where it stopped, for denials. */
  readonly node: string | undefined;
  readonly hook: number | undefined;
  /** Of the hook where it stopped; accept where none stopped it. */
  readonly verdict: number;
  readonly rule: number;
  /** Receiver of a delivered packet, and the bytes it saw. */
  readonly receiver: string | undefined;
  readonly bytes: Uint8Array;
  /** A fragment that waits for the rest of its datagram: it counts as lost until the last one has come. */
  readonly isHeld?: true;
  /** Packets that hooks sent back on the way. */
  readonly emitted: readonly (SentBack & { readonly node: string })[];
}

/** A packet as it crosses an interface. */
export interface TapEvent {
  /** Number of the packet in this network, from 1: the same at every interface that it crosses. */
  readonly packet: number;
  /** Of what a hook sent back: the packet that it is about. */
  readonly answers?: number;
  readonly atNs: number;
  readonly node: string;
  readonly interface: InterfaceSpec;
  readonly direction: "in" | "out";
  /** From the network header on. */
  readonly bytes: Uint8Array;
}

export interface NetworkOptions {
  /** Of every hop; integer nanoseconds. */
  readonly linkLatencyNs?: number;
  readonly tap?: (event: TapEvent) => void;
  /** Told the end of every packet. */
  readonly fate?: (fate: PacketFate) => void;
  readonly loop?: EventLoop;
  /** Sees every hook that packets of `send` pass. */
  readonly watcher?: HookWatcher;
  /** Which node a load balancer hands a new connection to. Default: seeded with 0. */
  readonly random?: Prng;
}

/** Where a packet is and which way it goes. */
interface Transit {
  readonly bytes: Uint8Array;
  readonly node: NodeStack;
  /** 0: from the node's own stack. */
  readonly iif: number;
  /** What the node still knows of a packet that it sent to itself. */
  readonly kept?: KeptState;
}

/** What one packet carries along from its sending to its end. */
interface Journey {
  readonly packet: number;
  /** The packet that this one was sent back about. */
  readonly answers?: number;
  readonly emitted: PacketFate["emitted"][number][];
}

/** What an address leads to: a node's own stack, or a pod there. */
interface Owner {
  readonly node: NodeStack;
  readonly endpoint: EndpointSpec | undefined;
}

type HopFate = Omit<PacketFate, keyof Journey>;

type Hop =
  | { readonly kind: "next"; readonly transit: Transit }
  | { readonly kind: "end"; readonly fate: HopFate };

export class Network {
  readonly loop: EventLoop;
  readonly nodes: Map<string, NodeStack> = new Map();
  readonly #endpoints = new Map<string, EndpointSpec>();
  /** Where an address is reached, its owner's number in the list by address: nodes' own addresses and pods'. */
  readonly #owners: Owner[] = [];
  readonly #ownerOf = new AddressTable();
  readonly #externals = new AddressTable();
  #isOutside: (family: number, words: ArrayLike<number>) => boolean = () => false;
  readonly #frontends: Frontends;
  readonly #latencyNs: number;
  readonly #tap: ((event: TapEvent) => void) | undefined;
  readonly #fate: ((fate: PacketFate) => void) | undefined;
  readonly #watcher: HookWatcher | undefined;
  /** Called with every delivered packet of `send`: the receiving stack's way in. */
  onDeliver: ((receiver: string, bytes: Uint8Array) => void) | undefined;
  /** The packet whose end `sendToEnd` waits for. */
  #awaited: { readonly packet: number; fate: PacketFate | undefined } | undefined;
  readonly counts: { sent: number; delivered: number; dropped: number; inFlight: number } = {
    sent: 0,
    delivered: 0,
    dropped: 0,
    inFlight: 0,
  };

  constructor(spec: NetworkSpec, options: NetworkOptions = {}) {
    this.loop = options.loop ?? createEventLoop();
    this.#latencyNs = options.linkLatencyNs ?? 50_000;
    this.#tap = options.tap;
    this.#fate = options.fate;
    this.#watcher = options.watcher;
    const [batch, results] = [createBatch(1, 140_000), createHookResults(1)]; // one walk runs at a time
    for (const node of spec.nodes) {
      const stack = new NodeStack(node, batch, results);
      this.nodes.set(node.name, stack);
      this.#own(node.addresses, { node: stack, endpoint: undefined });
    }
    for (const endpoint of spec.endpoints) this.addEndpoint(endpoint);
    this.#frontends = new Frontends(options.random ?? createPrng(0));
    this.#frontends.set(spec.frontends);
  }

  /** The load balancers as they are from now on; connections stay where they are as long as their node is healthy. */
  setFrontends(frontends: readonly FrontendSpec[]): void {
    this.#frontends.set(frontends);
  }

  /** Load balancers forget which node they gave a connection to. */
  forgetBalancing(): void {
    this.#frontends.forget();
  }

  setDatapath(node: string, datapath: Datapath | undefined): void {
    this.node(node).datapath = datapath;
  }

  /** Plugs a pod in. `newInterface` is its host-side interface when the node has none of that number yet. */
  addEndpoint(endpoint: EndpointSpec, newInterface?: InterfaceSpec): void {
    const node = this.node(endpoint.node);
    if (newInterface !== undefined) node.addInterface(newInterface);
    this.#endpoints.set(endpoint.id, endpoint);
    for (const ip of endpoint.ips)
      node.addRoute({ ...ip, prefix: ip.family === 4 ? 32 : 128 }, endpoint.interfaceIndex);
    this.#own(endpoint.ips, { node, endpoint });
  }

  #own(ips: readonly Ip[], owner: Owner): void {
    for (const ip of ips) {
      const known = this.#ownerOf.get(ip.family, ip.words);
      if (known >= 0) this.#owners[known] = owner;
      else this.#ownerOf.set(ip, this.#owners.push(owner) - 1);
    }
  }

  #ownerAt(family: number, words: ArrayLike<number>): Owner | undefined {
    const number = this.#ownerOf.get(family, words);
    return number < 0 ? undefined : this.#owners[number];
  }

  removeEndpoint(id: string): void {
    const endpoint = this.#endpoints.get(id);
    if (endpoint === undefined) return;
    this.#endpoints.delete(id);
    for (const ip of endpoint.ips) {
      if (this.#ownerAt(ip.family, ip.words)?.endpoint !== endpoint) continue; // the address has a new owner
      this.#ownerOf.delete(ip);
      this.node(endpoint.node).removeHostRoute(ip);
    }
  }

  endpoint(id: string): EndpointSpec | undefined {
    return this.#endpoints.get(id);
  }

  /** Makes an address outside the cluster exist, so that packets to it arrive. */
  addExternal(ip: Ip): string {
    this.#externals.set(ip, 1);
    return `ip:${formatIp(ip)}`;
  }

  hasExternal(ip: Ip): boolean {
    return this.#externals.get(ip.family, ip.words) >= 0;
  }

  /** Makes every address outside the cluster exist of which `isOutside` says so. */
  openOutside(isOutside: (family: number, words: ArrayLike<number>) => boolean): void {
    this.#isOutside = isOutside;
  }

  /** Sends from a pod, `node:NAME` or `ip:ADDRESS`; hops happen on the event loop. */
  send(from: string, bytes: Uint8Array): void {
    this.#send(from, bytes);
  }

  /** Sends, and lets the event loop run until the packet has come to its end; answers may still be on their way. */
  sendToEnd(from: string, bytes: Uint8Array): PacketFate {
    const awaited = { packet: this.counts.sent + 1, fate: undefined as PacketFate | undefined };
    this.#awaited = awaited;
    this.send(from, bytes);
    this.loop.runWhile(() => awaited.fate === undefined, Number.MAX_SAFE_INTEGER);
    assert(awaited.fate !== undefined, "every packet comes to an end");
    return awaited.fate;
  }

  /** `sentBack`: a packet about another one, and what the node knows of it. */
  #send(
    from: string,
    bytes: Uint8Array,
    sentBack?: { readonly kept: KeptState; readonly answers: number },
  ): void {
    const journey = this.#depart(sentBack?.answers);
    this.counts.inFlight++;
    const first = this.#leave(from, bytes, journey, sentBack?.kept);
    if (first.kind === "end") this.#arrive({ ...first.fate, ...journey });
    else this.#schedule(first.transit, journey);
  }

  /** Sends and follows the packet to its end at once, leaving the clock alone. */
  deliver(from: string, bytes: Uint8Array, watcher?: HookWatcher): PacketFate {
    const journey = this.#depart();
    return this.#follow(this.#leave(from, bytes, journey), journey, watcher);
  }

  /**
   * As `deliver`, for a packet that comes in by an interface of a node (0: from the node's own stack, which may know
   * something of it: `kept`).
   */
  deliverAt(
    node: string,
    iif: number,
    bytes: Uint8Array,
    watcher?: HookWatcher,
    kept?: KeptState,
  ): PacketFate {
    const journey = this.#depart();
    if (iif !== 0) this.#report(this.node(node), iif, "in", bytes, journey);
    return this.#follow(next(this.node(node), bytes, iif, kept), journey, watcher);
  }

  #depart(answers?: number): Journey {
    const journey = { packet: ++this.counts.sent, emitted: [] };
    return answers === undefined ? journey : { ...journey, answers };
  }

  #follow(first: Hop, journey: Journey, watcher: HookWatcher | undefined): PacketFate {
    let hop = first;
    for (let hops = 0; hop.kind === "next"; hops++) {
      assert(hops < 64, "a packet circles");
      hop = this.#hop(hop.transit, journey, watcher);
    }
    return this.#count({ ...hop.fate, ...journey });
  }

  #schedule(transit: Transit, journey: Journey): void {
    this.loop.after(this.#latencyNs, () => {
      const before = journey.emitted.length;
      const hop = this.#hop(transit, journey, this.#watcher);
      for (const packet of journey.emitted.slice(before))
        this.#send(`node:${packet.node}`, packet.bytes, { kept: packet.kept, answers: journey.packet });
      if (hop.kind === "next") this.#schedule(hop.transit, journey);
      else this.#arrive({ ...hop.fate, ...journey });
    });
  }

  #arrive(fate: PacketFate): void {
    this.counts.inFlight--;
    this.#count(fate);
    if (this.#awaited?.packet === fate.packet) this.#awaited.fate = fate;
    if (fate.disposition === "delivered" && fate.receiver !== undefined)
      this.onDeliver?.(fate.receiver, fate.bytes);
  }

  #count(fate: PacketFate): PacketFate {
    if (fate.disposition === "delivered") this.counts.delivered++;
    else this.counts.dropped++;
    this.#fate?.(fate);
    return fate;
  }

  /** The first hop: out of a pod's namespace, a node's stack, or a host outside. */
  #leave(from: string, bytes: Uint8Array, journey: Journey, kept?: KeptState): Hop {
    if (from.startsWith("node:")) return next(this.node(from.slice(5)), bytes, 0, kept);
    if (from.startsWith("ip:")) return this.#overFabric(undefined, bytes, journey);
    const endpoint = this.#endpoints.get(from);
    if (endpoint === undefined) return ended("lost", bytes);
    const family = readAddress(bytes, "dst", address);
    if (family === 0) return ended("malformed", bytes);
    if (this.#ownerAt(family, address)?.endpoint === endpoint) return deliveredTo(from, bytes); // its own loopback
    const node = this.node(endpoint.node);
    this.#report(node, endpoint.interfaceIndex, "in", bytes, journey);
    return next(node, bytes, endpoint.interfaceIndex);
  }

  #hop(transit: Transit, journey: Journey, watcher: HookWatcher | undefined): Hop {
    const { node } = transit;
    const sentBack: SentBack[] = [];
    const end = walkNode(node, transit.bytes, transit.iif, sentBack, watcher, transit.kept);
    for (const packet of sentBack) journey.emitted.push({ node: node.spec.name, ...packet });
    switch (end.kind) {
      case "local":
        return deliveredTo(`node:${node.spec.name}`, end.bytes);
      case "stopped":
        return { kind: "end", fate: this.#stoppedFate(node, transit, end) };
      case "reenter":
        return next(node, end.bytes, end.iif, end.state);
      case "transmit": {
        this.#report(node, end.oif, "out", end.bytes, journey);
        const link = node.interfaceOf(end.oif)?.link;
        if (link === "loopback") return next(node, end.bytes, end.oif, end.state);
        if (link === "fabric") return this.#overFabric(node, end.bytes, journey);
        return this.#toPod(node, end.oif, end.bytes);
      }
    }
  }

  #toPod(node: NodeStack, oif: number, bytes: Uint8Array): Hop {
    const owner = this.#ownerAt(readAddress(bytes, "dst", address), address);
    if (owner?.node !== node || owner.endpoint?.interfaceIndex !== oif) return ended("no-route", bytes);
    return deliveredTo(owner.endpoint.id, bytes);
  }

  /** The virtual network: knows which node every address is behind. `from` undefined: from outside the cluster. */
  #overFabric(from: NodeStack | undefined, bytes: Uint8Array, journey: Journey): Hop {
    if (from !== undefined && this.#isSpoofed(from, bytes)) return ended("lost", bytes);
    const family = readAddress(bytes, "dst", address);
    if (family === 0) return ended("malformed", bytes);
    const owner = this.#ownerAt(family, address);
    if (owner !== undefined) return this.#ontoNode(owner.node, bytes, journey);
    if (this.#frontends.has(family, address)) {
      // what a node of the backend pool lets go to a frontend did not come from a client: Azure does not turn it round
      const name = from === undefined ? this.#frontends.nodeFor(family, address, bytes) : undefined;
      return name === undefined ? ended("lost", bytes) : this.#ontoNode(this.node(name), bytes, journey);
    }
    if (this.#externals.get(family, address) < 0 && !this.#isOutside(family, address))
      return ended("no-route", bytes);
    const words = family === 4 ? address.subarray(0, 1) : address;
    return deliveredTo(`ip:${formatWords(family, [...words])}`, bytes);
  }

  #ontoNode(node: NodeStack, bytes: Uint8Array, journey: Journey): Hop {
    const uplink = node.spec.interfaces.find(({ link }) => link === "fabric");
    if (uplink === undefined) return ended("no-route", bytes);
    this.#report(node, uplink.index, "in", bytes, journey);
    return next(node, bytes, uplink.index);
  }

  /** Azure drops what leaves a node with an address that is neither the node's nor its pods' nor a frontend's. */
  #isSpoofed(node: NodeStack, bytes: Uint8Array): boolean {
    const family = readAddress(bytes, "src", address);
    if (family === 0 || this.#frontends.has(family, address)) return false;
    return this.#ownerAt(family, address)?.node !== node;
  }

  #stoppedFate(node: NodeStack, transit: Transit, end: Extract<WalkEnd, { kind: "stopped" }>): HopFate {
    const place = {
      node: node.spec.name,
      hook: end.hook,
      verdict: end.verdict,
      rule: end.rule,
      receiver: undefined,
      bytes: transit.bytes,
    };
    switch (end.reason) {
      case "no-route":
        return { ...place, disposition: "no-route" };
      case "malformed":
        return { ...place, disposition: "malformed" };
      case "ttl-exceeded":
      case "martian":
      case "circles":
        return { ...place, disposition: "lost" };
      case "held":
        return { ...place, disposition: "lost", isHeld: true };
      case "denied": {
        const { datapath } = node;
        const said = end.rule < 0 ? undefined : datapath?.describeRule(end.rule).origin?.direction;
        // what is stopped on its way into a pod is stopped for the pod's sake
        const link = node.interfaceOf(end.hook === Hook.tcEgress ? end.oif : transit.iif)?.link;
        const isIngress = end.hook === Hook.tcEgress ? link === "pod" : link === "fabric";
        const direction = datapath?.droppedDirection?.() ?? said ?? (isIngress ? "ingress" : "egress");
        return { ...place, disposition: direction === "egress" ? "denied-egress" : "denied-ingress" };
      }
    }
  }

  #report(
    node: NodeStack,
    index: number,
    direction: "in" | "out",
    bytes: Uint8Array,
    { packet, answers }: Journey,
  ): void {
    if (this.#tap === undefined) return;
    const crossed = node.interfaceOf(index);
    assert(crossed !== undefined, `${node.spec.name} has no interface ${index}`);
    this.#tap({
      packet,
      ...(answers === undefined ? {} : { answers }),
      atNs: this.loop.nowNs(),
      node: node.spec.name,
      interface: crossed,
      direction,
      bytes,
    });
  }

  /** @throws when there is no such node. */
  node(name: string): NodeStack {
    const node = this.nodes.get(name);
    assert(node !== undefined, `no node ${name}`);
    return node;
  }
}

function next(node: NodeStack, bytes: Uint8Array, iif: number, kept?: KeptState): Hop {
  return { kind: "next", transit: { node, bytes, iif, ...(kept === undefined ? {} : { kept }) } };
}

function ended(disposition: Disposition, bytes: Uint8Array): Extract<Hop, { kind: "end" }> {
  return {
    kind: "end",
    fate: {
      disposition,
      node: undefined,
      hook: undefined,
      verdict: Verdict.accept,
      rule: -1,
      receiver: undefined,
      bytes,
    },
  };
}

function deliveredTo(receiver: string, bytes: Uint8Array): Hop {
  const { fate } = ended("delivered", bytes);
  return { kind: "end", fate: { ...fate, receiver } };
}

/** The address that was read last. */
const address = new Uint32Array(4);

/** Writes the words of a packet's source or destination and returns its family; 0 for what has none. */
function readAddress(bytes: Uint8Array, side: "src" | "dst", words: Uint32Array): 4 | 6 | 0 {
  const version = bytes.length > 0 ? bytes[0]! >>> 4 : 0;
  if (version === 4 && bytes.length >= 20) {
    words[0] = readU32(bytes, side === "src" ? 12 : 16);
    return 4;
  }
  if (version !== 6 || bytes.length < 40) return 0;
  const start = side === "src" ? 8 : 24;
  for (let i = 0; i < 4; i++) words[i] = readU32(bytes, start + 4 * i);
  return 6;
}
