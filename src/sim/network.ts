/**
 * The running network: node stacks, pods and hosts outside, joined by links with latency. Packets travel hop by hop;
 * `send` schedules the hops on the event loop, `deliver` takes them at once (for truth tables). Both use one `hop`.
 */
import { formatIp, type Ip } from "../addr/index.ts";
import { assert, createPrng, type Prng } from "../base/index.ts";
import { createHookResults, type Datapath, Hook, Verdict } from "../filter/index.ts";
import { createBatch } from "../packet/index.ts";
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

type HopFate = Omit<PacketFate, keyof Journey>;

type Hop =
  | { readonly kind: "next"; readonly transit: Transit }
  | { readonly kind: "end"; readonly fate: HopFate };

export class Network {
  readonly loop: EventLoop;
  readonly nodes: Map<string, NodeStack> = new Map();
  readonly #endpoints = new Map<string, EndpointSpec>();
  /** Node that an address is reached through: its own addresses and its pods'. */
  readonly #owners = new Map<
    string,
    { readonly node: NodeStack; readonly endpoint: EndpointSpec | undefined }
  >();
  readonly #externals = new Map<string, string>();
  readonly #frontends: Frontends;
  readonly #latencyNs: number;
  readonly #tap: ((event: TapEvent) => void) | undefined;
  readonly #fate: ((fate: PacketFate) => void) | undefined;
  readonly #watcher: HookWatcher | undefined;
  /** Called with every delivered packet of `send`: the receiving stack's way in. */
  onDeliver: ((receiver: string, bytes: Uint8Array) => void) | undefined;
  /** Called with the end of every packet of `send`. */
  onFate: ((fate: PacketFate) => void) | undefined;
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
      for (const ip of node.addresses) this.#owners.set(formatIp(ip), { node: stack, endpoint: undefined });
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
    for (const ip of endpoint.ips) {
      node.addRoute({ ...ip, prefix: ip.family === 4 ? 32 : 128 }, endpoint.interfaceIndex);
      this.#owners.set(formatIp(ip), { node, endpoint });
    }
  }

  removeEndpoint(id: string): void {
    const endpoint = this.#endpoints.get(id);
    if (endpoint === undefined) return;
    this.#endpoints.delete(id);
    for (const ip of endpoint.ips) {
      if (this.#owners.get(formatIp(ip))?.endpoint !== endpoint) continue; // the address has a new owner
      this.#owners.delete(formatIp(ip));
      this.node(endpoint.node).removeHostRoute(ip);
    }
  }

  endpoint(id: string): EndpointSpec | undefined {
    return this.#endpoints.get(id);
  }

  /** Makes an address outside the cluster exist, so that packets to it arrive. */
  addExternal(ip: Ip): string {
    const id = `ip:${formatIp(ip)}`;
    this.#externals.set(formatIp(ip), id);
    return id;
  }

  hasExternal(address: string): boolean {
    return this.#externals.has(address);
  }

  /** Sends from a pod, `node:NAME` or `ip:ADDRESS`; hops happen on the event loop. */
  send(from: string, bytes: Uint8Array): void {
    this.#send(from, bytes);
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
    this.onFate?.(fate);
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
    const dst = addressIn(bytes, "dst");
    if (dst === undefined) return ended("malformed", bytes);
    if (endpoint.ips.some((ip) => formatIp(ip) === dst)) return deliveredTo(from, bytes); // its own loopback
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
    const dst = addressIn(bytes, "dst");
    const owner = dst === undefined ? undefined : this.#owners.get(dst);
    if (owner?.node !== node || owner.endpoint?.interfaceIndex !== oif) return ended("no-route", bytes);
    return deliveredTo(owner.endpoint.id, bytes);
  }

  /** The virtual network: knows which node every address is behind. `from` undefined: from outside the cluster. */
  #overFabric(from: NodeStack | undefined, bytes: Uint8Array, journey: Journey): Hop {
    const dst = addressIn(bytes, "dst");
    if (dst === undefined) return ended("malformed", bytes);
    if (from !== undefined && this.#isSpoofed(from, bytes)) return ended("lost", bytes);
    const owner = this.#owners.get(dst);
    if (owner !== undefined) return this.#ontoNode(owner.node, bytes, journey);
    if (this.#frontends.has(dst)) {
      // what a node of the backend pool lets go to a frontend did not come from a client: Azure does not turn it round
      const name = from === undefined ? this.#frontends.nodeFor(dst, bytes) : undefined;
      return name === undefined ? ended("lost", bytes) : this.#ontoNode(this.node(name), bytes, journey);
    }
    const external = this.#externals.get(dst);
    return external === undefined ? ended("no-route", bytes) : deliveredTo(external, bytes);
  }

  #ontoNode(node: NodeStack, bytes: Uint8Array, journey: Journey): Hop {
    const uplink = node.spec.interfaces.find(({ link }) => link === "fabric");
    if (uplink === undefined) return ended("no-route", bytes);
    this.#report(node, uplink.index, "in", bytes, journey);
    return next(node, bytes, uplink.index);
  }

  /** Azure drops what leaves a node with an address that is neither the node's nor its pods' nor a frontend's. */
  #isSpoofed(node: NodeStack, bytes: Uint8Array): boolean {
    const src = addressIn(bytes, "src");
    if (src === undefined || this.#frontends.has(src)) return false;
    return this.#owners.get(src)?.node !== node;
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
      case "held":
      case "circles":
        return { ...place, disposition: "lost" };
      case "denied": {
        const origin = end.rule < 0 ? undefined : node.datapath?.describeRule(end.rule).origin;
        // what is stopped on its way into a pod is stopped for the pod's sake
        const link = node.interfaceOf(end.hook === Hook.tcEgress ? end.oif : transit.iif)?.link;
        const isIngress = end.hook === Hook.tcEgress ? link === "pod" : link === "fabric";
        const direction = origin?.direction ?? (isIngress ? "ingress" : "egress");
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

/** Source or destination address as text; `undefined` for what has none. */
function addressIn(bytes: Uint8Array, side: "src" | "dst"): string | undefined {
  const version = bytes.length > 0 ? bytes[0]! >>> 4 : 0;
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  if (version === 4 && bytes.length >= 20)
    return formatIp({ family: 4, words: [view.getUint32(side === "src" ? 12 : 16)] });
  if (version !== 6 || bytes.length < 40) return undefined;
  const start = side === "src" ? 8 : 24;
  return formatIp({ family: 6, words: [0, 4, 8, 12].map((at) => view.getUint32(start + at)) });
}
