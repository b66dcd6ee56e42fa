/**
 * Replay into one node, read from its iptables-save and ipset-save text, from a dump of HNS or from a BPF object, and as
 * much of its addresses and routes as is known: packets to its own addresses go through INPUT, from them through OUTPUT,
 * others are forwarded; on Windows they go from one endpoint, or the uplink, to another. Or one hook alone judges them: of
 * iptables with connection tracking around it, of HNS with the flows that it knows.
 */
import { type Family, type Ip, localMac } from "../../addr/index.ts";
import { assert, createPrng, usageError } from "../../base/index.ts";
import type { NodeTables } from "../../engine/index.ts";
import type { HnsTables } from "../../filter/hns/index.ts";
import {
  createHookResults,
  type Datapath,
  Hook,
  type HookResults,
  hookName,
  Verdict,
} from "../../filter/index.ts";
import { IptablesDatapath } from "../../filter/iptables/index.ts";
import { createBatch, type PacketBatch, rowBytes } from "../../packet/index.ts";
import {
  createEventLoop,
  type Disposition,
  type HookWatcher,
  type InterfaceSpec,
  type KeptState,
  NodeStack,
  type PacketFate,
  walkNode,
} from "../../sim/index.ts";
import { linkContext } from "../compose.ts";
import { linkTables } from "../kinds.ts";
import type { Unjudged } from "./documents.ts";
import { hnsFacts, ownEndpoints, portCalled } from "./hns-facts.ts";
import type { DumpedNode } from "./node-facts.ts";
import { endsFamily, lanesAt, type PacketEnds } from "./packet-ends.ts";
import type { ReplayTarget } from "./target.ts";

export interface DumpPlace {
  readonly node: string;
  /** Where all forwarded packets come in and go on; `undefined`: as the routes say, else eth0. */
  readonly inInterface: string | undefined;
  readonly outInterface: string | undefined;
  /** One of netfilter's in `hookName`, or In or Out of HNS; undefined: the way that the addresses say. */
  readonly hook: string | undefined;
  /** Families that there are tables of; packets of others are not judged. */
  readonly families: readonly Family[];
}

const uplinkName = "eth0";
const everywhere = [
  { family: 4, words: [0], prefix: 0 },
  { family: 6, words: [0, 0, 0, 0], prefix: 0 },
] as const;

/** Judges packets by a node's dump, or by a program on its interfaces. */
export class DumpTarget implements ReplayTarget {
  readonly #node: NodeStack;
  readonly #datapath: Datapath;
  readonly #loop = createEventLoop();
  readonly #results: HookResults = createHookResults(1);
  readonly #families: readonly Family[];
  /** 0: by the route to the source. */
  readonly #iif: number;
  /** Towards everything that no nearer route leads to; 0: nowhere. */
  readonly #uplink: number;
  readonly #hook: number | undefined;
  readonly #hns: HnsTables | undefined;
  /** HNS: where all packets go to; 0: by the route to the destination. */
  readonly #oif: number;
  #packets = 0;

  constructor(tables: NodeTables, asked: DumpPlace, known: DumpedNode, seed: number) {
    this.#hook = asked.hook === undefined ? undefined : hookOf(asked.hook, tables);
    this.#families = asked.families;
    this.#hns = tables.hns;
    const facts = tables.hns === undefined ? known : hnsFacts(tables.hns, known, uplinkName);
    const place = tables.hns === undefined ? asked : placeInHns(tables.hns, facts, asked);
    for (const name of [place.inInterface, place.outInterface]) checkInterface(name, facts);
    const interfaces = interfacesOf(place, facts);
    const indexOf = (name: string | undefined): number =>
      interfaces.find((one) => one.name === name)?.index ?? 0;
    // endpoints are found by the routes to their addresses
    const onward = tables.hns === undefined ? place.outInterface : undefined;
    const outInterface = onward ?? (facts.routes.length === 0 ? uplinkName : undefined);
    const isGuided = outInterface === undefined;
    const routes = isGuided
      ? facts.routes.map(({ net, interface: name }) => ({ net, oif: indexOf(name) }))
      : everywhere.map((net) => ({ net, oif: indexOf(outInterface) }));
    this.#iif = indexOf(place.inInterface ?? (isGuided ? undefined : uplinkName));
    this.#uplink = routes.find(({ net }) => net.prefix === 0)?.oif ?? 0;
    this.#oif = indexOf(tables.hns === undefined ? undefined : place.outInterface);
    const os = tables.hns === undefined ? ("linux" as const) : ("windows" as const);
    const spec = { name: place.node, os, addresses: facts.addresses, interfaces, routes };
    this.#node = new NodeStack(spec, createBatch(1, 140_000), createHookResults(1));
    const linked = linkTables(tables, linkContext(this.#node, this.#loop, createPrng(seed)));
    assert(linked !== undefined, "there are tables");
    this.#datapath = linked.datapath;
    this.#node.datapath = this.#datapath;
  }

  advance(toNs: number): void {
    if (toNs > this.#loop.nowNs()) this.#loop.runUntil(toNs);
  }

  judge(batch: PacketBatch, ends: PacketEnds, watcher: HookWatcher): PacketFate | Unjudged {
    if (!this.#families.includes(endsFamily(ends))) return "no-tables";
    if (this.#hns !== undefined && !this.#isKnown(ends)) return "unknown-address";
    const iif = this.#entry(ends);
    return this.#hook === undefined
      ? this.#walk(rowBytes(batch, 0), iif, ends, watcher)
      : this.#judgeAt(this.#hook, batch, iif, ends, watcher);
  }

  /** HNS: is one end an endpoint's or the node's, or do all packets go through one? */
  #isKnown(ends: PacketEnds): boolean {
    if (this.#iif !== 0 || this.#oif !== 0) return true;
    return this.stationOf(ends, "src") !== undefined || this.stationOf(ends, "dst") !== undefined;
  }

  /** Where a packet comes in; 0: the node's own stack. */
  #entry(ends: PacketEnds): number {
    const family = endsFamily(ends);
    if (this.#node.isLocalAt(family, ends, lanesAt("src"))) return 0;
    if (this.#iif !== 0) return this.#iif;
    const towards = this.#node.routeAt(family, ends, lanesAt("src"));
    return towards === 0 ? this.#uplink : towards;
  }

  #walk(packet: Uint8Array, entry: number, ends: PacketEnds, watcher: HookWatcher): PacketFate {
    const node = this.#node;
    let [bytes, iif] = [packet, entry];
    let kept: KeptState | undefined;
    for (;;) {
      const end = walkNode(node, bytes, iif, [], watcher, kept);
      if (end.kind === "local") return this.#fate(end.bytes);
      if (end.kind === "reenter") {
        [bytes, iif, kept] = [end.bytes, end.iif, end.state];
        continue;
      }
      if (end.kind === "transmit") {
        if (end.oif !== node.loopbackIndex()) return this.#fate(end.bytes);
        [bytes, iif, kept] = [end.bytes, end.oif, end.state]; // to itself: once more, from loopback
        continue;
      }
      const place = {
        node: node.name,
        hook: end.hook,
        verdict: end.verdict,
        rule: end.rule,
        receiver: undefined,
      };
      const fate = { ...this.#fate(bytes), ...place };
      switch (end.reason) {
        case "denied":
          return { ...fate, disposition: this.#denial(end.hook, iif, ends) };
        case "held":
          return { ...fate, disposition: "lost", isHeld: true };
        case "no-route":
        case "malformed":
          return { ...fate, disposition: end.reason };
        case "ttl-exceeded":
        case "martian":
        case "circles":
          return { ...fate, disposition: "lost" };
      }
    }
  }

  #judgeAt(
    hook: number,
    batch: PacketBatch,
    iif: number,
    ends: PacketEnds,
    watcher: HookWatcher,
  ): PacketFate {
    const { state } = batch;
    const results = this.#results;
    state.iif[0] = hook === Hook.output ? 0 : iif;
    const oif = this.#oif === 0 ? this.#node.routeAt(endsFamily(ends), ends, lanesAt("dst")) : this.#oif;
    state.oif[0] = hook === Hook.prerouting || hook === Hook.input ? 0 : oif;
    const tracksItself = hook === Hook.prerouting || hook === Hook.output;
    // VFP's own flows are HNS's business
    const conntrack = this.#datapath instanceof IptablesDatapath ? this.#datapath.conntrack : undefined;
    if (!tracksItself) conntrack?.lookup(batch, 0, true);
    const observer = watcher.before(this.#node.name, hook, this.#datapath, batch, 0);
    this.#datapath.run(hook, batch, 0, 1, results, observer);
    watcher.after(this.#node.name, hook, results, 0);
    results.emitted.length = 0;
    results.emitted.used = 0;
    results.events.length = 0;
    const verdict = results.verdict[0] ?? Verdict.accept;
    const bytes = rowBytes(batch, 0);
    if (verdict === Verdict.accept) {
      if (hook !== Hook.postrouting && hook !== Hook.input) conntrack?.confirm(batch, 0);
      return this.#fate(bytes);
    }
    const place = { node: this.#node.name, hook, verdict, rule: results.rule[0] ?? -1, receiver: undefined };
    const fate = { ...this.#fate(bytes), ...place };
    if (verdict === Verdict.stolen) return { ...fate, disposition: "lost", isHeld: true };
    return { ...fate, disposition: this.#denial(hook, iif, ends) };
  }

  /** A node denies the way out to what is its own or behind it and leaves by the uplink; all else is the way in. */
  #denial(hook: number, iif: number, ends: PacketEnds): Disposition {
    if (hook === Hook.endpointOut) return "denied-egress";
    if (hook === Hook.endpointIn) return "denied-ingress";
    if (hook === Hook.output || iif === 0) return "denied-egress";
    if (hook === Hook.input || iif === this.#uplink) return "denied-ingress";
    const family = endsFamily(ends);
    if (this.#node.isLocalAt(family, ends, lanesAt("dst"))) return "denied-egress";
    const oif = this.#node.routeAt(family, ends, lanesAt("dst"));
    return oif === this.#uplink ? "denied-egress" : "denied-ingress";
  }

  #fate(bytes: Uint8Array): PacketFate {
    return {
      packet: ++this.#packets,
      disposition: "delivered",
      node: undefined,
      hook: undefined,
      verdict: Verdict.accept,
      rule: -1,
      receiver: this.#node.name,
      bytes,
      emitted: [],
    };
  }

  datapathOf(): Datapath {
    return this.#datapath;
  }

  /** NAT takes the node's own addresses into packets, and Services' out of them: of those HNS lists its own. */
  isTranslated(family: number, words: Uint32Array, at: number): boolean {
    if (this.#node.isLocalAt(family, words, at)) return true;
    const balancers = this.#hns?.loadBalancers ?? [];
    return balancers.some(({ frontendVips }) => frontendVips.some((ip) => isAt(ip, family, words, at)));
  }

  stationOf(ends: PacketEnds, side: "src" | "dst"): string | undefined {
    const [family, at] = [endsFamily(ends), lanesAt(side)];
    if (this.#node.isLocalAt(family, ends, at)) return `node:${this.#node.name}`;
    const own = this.#hns === undefined ? [] : ownEndpoints(this.#hns);
    return own.find(({ addresses }) => addresses.some((ip) => isAt(ip, family, ends, at)))?.name;
  }
}

/** Endpoints by what they are called; a hook's own side is where `--at` says. */
function placeInHns(hns: HnsTables, facts: DumpedNode, place: DumpPlace): DumpPlace {
  const port = (word: string | undefined): string | undefined =>
    word === undefined ? undefined : portCalled(hns, facts, word);
  const isIn = place.hook !== undefined && hookOf(place.hook, { hns }) === Hook.endpointIn;
  const [first, last] = [port(place.inInterface), port(place.outInterface)];
  return isIn && last === undefined
    ? { ...place, inInterface: undefined, outInterface: first }
    : { ...place, inInterface: first, outInterface: last };
}

function isAt(ip: Ip, family: number, words: Uint32Array, at: number): boolean {
  return ip.family === family && ip.words.every((word, i) => word >>> 0 === words[at + i]);
}

/** @throws InputError for an interface that a node whose interfaces are known does not have. */
function checkInterface(name: string | undefined, { interfaces }: DumpedNode): void {
  if (name === undefined || interfaces.length === 0) return;
  if (interfaces.some((one) => one.name === name)) return;
  throw usageError(
    `the node has no interface ${name}; it has ${interfaces.map((one) => one.name).join(", ")}`,
  );
}

/** Loopback, the node's own, and those that are named. */
function interfacesOf(place: DumpPlace, facts: DumpedNode): readonly InterfaceSpec[] {
  const known = new Map(facts.interfaces.map((one) => [one.name, one] as const));
  const loopback = facts.interfaces.find(({ isLoopback }) => isLoopback)?.name ?? "lo";
  const named = [place.inInterface, place.outInterface, ...facts.routes.map((route) => route.interface)];
  const names = new Set([loopback, ...known.keys(), ...named.filter((name) => name !== undefined)]);
  if (facts.routes.length === 0) names.add(uplinkName);
  return [...names].map((name, i) => ({
    index: i + 1,
    name,
    mac: localMac(i),
    link: name === loopback ? ("loopback" as const) : ("fabric" as const),
    addresses: known.get(name)?.addresses ?? [],
  }));
}

/** @throws InputError for a name that is no hook of netfilter, or of HNS. */
function hookOf(name: string, tables: NodeTables): number {
  if (tables.hns !== undefined) {
    const hook = { IN: Hook.endpointIn, OUT: Hook.endpointOut }[name.toUpperCase()];
    if (hook !== undefined) return hook;
    throw usageError(`--hook takes In or Out with --hns, not ${name}`);
  }
  const hooks = [Hook.prerouting, Hook.input, Hook.forward, Hook.output, Hook.postrouting];
  const hook = hooks.find((one) => hookName[one] === name.toUpperCase());
  if (hook !== undefined) return hook;
  throw usageError(`--hook takes ${hooks.map((one) => hookName[one]).join(", ")}, not ${name}`);
}
