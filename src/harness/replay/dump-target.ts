/**
 * Replay into one node of which only the tables are known, read from its iptables-save and ipset-save text or from a BPF
 * object: packets are forwarded from one interface to another, or one hook of iptables alone judges them with connection
 * tracking around it.
 */

import { localMac } from "../../addr/index.ts";
import { assert, createPrng, usageError } from "../../base/index.ts";
import type { NodeTables } from "../../engine/index.ts";
import {
  createHookResults,
  type Datapath,
  Hook,
  type HookResults,
  hookName,
  type RuleDescription,
  Verdict,
} from "../../filter/index.ts";
import { IptablesDatapath } from "../../filter/iptables/index.ts";
import { createBatch, type PacketBatch, rowBytes } from "../../packet/index.ts";
import { createEventLoop, type HookWatcher, NodeStack, type PacketFate, walkNode } from "../../sim/index.ts";
import { linkContext } from "../compose.ts";
import { linkTables } from "../kinds.ts";
import type { ReplayTarget } from "./network-target.ts";

export interface DumpPlace {
  readonly node: string;
  readonly inInterface: string;
  readonly outInterface: string;
  /** One of netfilter's in `hookName`, for iptables alone; undefined: the way of a forwarded packet. */
  readonly hook: string | undefined;
}

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
  readonly #iif: number;
  readonly #oif: number;
  readonly #hook: number | undefined;
  #packets = 0;

  constructor(tables: NodeTables, place: DumpPlace, seed: number) {
    const { inInterface, outInterface } = place;
    const names = [...new Set(["lo", inInterface, outInterface])];
    this.#hook = place.hook === undefined ? undefined : hookOf(place.hook);
    this.#iif = names.indexOf(inInterface) + 1;
    this.#oif = names.indexOf(outInterface) + 1;
    const spec = {
      name: place.node,
      os: "linux" as const,
      addresses: [],
      interfaces: names.map((name, i) => ({
        index: i + 1,
        name,
        mac: localMac(i),
        link: i === 0 ? ("loopback" as const) : ("fabric" as const),
        addresses: [],
      })),
      routes: everywhere.map((net) => ({ net, oif: this.#oif })),
    };
    this.#node = new NodeStack(spec, createBatch(1, 140_000), createHookResults(1));
    const linked = linkTables(tables, linkContext(this.#node, this.#loop, createPrng(seed)));
    assert(linked !== undefined, "there are tables");
    this.#datapath = linked.datapath;
    this.#node.datapath = this.#datapath;
  }

  advance(toNs: number): void {
    if (toNs > this.#loop.nowNs()) this.#loop.runUntil(toNs);
  }

  judge(batch: PacketBatch, watcher: HookWatcher): PacketFate {
    return this.#hook === undefined
      ? this.#forward(rowBytes(batch, 0).slice(), watcher)
      : this.#judgeAt(this.#hook, batch, watcher);
  }

  #forward(bytes: Uint8Array, watcher: HookWatcher): PacketFate {
    const { name } = this.#node;
    const end = walkNode(this.#node, bytes, this.#iif, [], watcher);
    if (end.kind !== "stopped") return { ...this.#fate(bytes), bytes: end.bytes };
    const { verdict, rule, hook } = end;
    const place = { node: name, hook, verdict, rule, receiver: undefined };
    if (end.reason === "denied") return { ...this.#fate(bytes), ...place, disposition: "denied-ingress" };
    const disposition =
      end.reason === "no-route" ? "no-route" : end.reason === "malformed" ? "malformed" : "lost";
    return { ...this.#fate(bytes), ...place, disposition };
  }

  #judgeAt(hook: number, batch: PacketBatch, watcher: HookWatcher): PacketFate {
    const { state } = batch;
    const results = this.#results;
    state.iif[0] = hook === Hook.output ? 0 : this.#iif;
    state.oif[0] = hook === Hook.prerouting || hook === Hook.input ? 0 : this.#oif;
    const tracksItself = hook === Hook.prerouting || hook === Hook.output;
    assert(this.#datapath instanceof IptablesDatapath, "hooks are of iptables");
    const { conntrack } = this.#datapath;
    if (!tracksItself) conntrack.lookup(batch, 0, true);
    const observer = watcher.before(this.#node.name, hook, this.#datapath, batch, 0);
    this.#datapath.run(hook, batch, 0, 1, results, observer);
    watcher.after(this.#node.name, hook, results, 0);
    results.emitted.length = 0;
    const verdict = results.verdict[0] ?? Verdict.accept;
    const bytes = rowBytes(batch, 0).slice();
    if (verdict === Verdict.accept) {
      if (hook !== Hook.postrouting && hook !== Hook.input) conntrack.confirm(batch, 0);
      return this.#fate(bytes);
    }
    const place = { node: this.#node.name, hook, verdict, rule: results.rule[0] ?? -1, receiver: undefined };
    return { ...this.#fate(bytes), ...place, disposition: "denied-ingress" };
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

  describeRule({ rule }: PacketFate): RuleDescription | undefined {
    return rule < 0 ? undefined : this.#datapath.describeRule(rule);
  }

  /** Which addresses the node translates is not known. */
  isTranslated(): boolean {
    return false;
  }

  stationOf(): undefined {
    return undefined;
  }
}

/** @throws InputError for a name that is no hook of netfilter. */
function hookOf(name: string): number {
  const hooks = [Hook.prerouting, Hook.input, Hook.forward, Hook.output, Hook.postrouting];
  const hook = hooks.find((one) => hookName[one] === name.toUpperCase());
  if (hook !== undefined) return hook;
  throw usageError(`--hook takes ${hooks.map((one) => hookName[one]).join(", ")}, not ${name}`);
}
