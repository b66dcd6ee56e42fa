/**
 * The part of linked rules that belongs to one node: interface patterns against its interfaces, its sets, the functions that
 * its matches and targets become. Made again when rules, sets or interfaces change; what matches remember is kept.
 */
import { assert, InputError } from "../../base/index.ts";
import { CtState, lowerMss, type PacketBatch, setTos, setTtl } from "../../packet/index.ts";
import type { LinkContext, NodeFacts } from "../datapath.ts";
import { dimensionBits, internInterface, type SetCollection, type SetNode } from "../ipset/index.ts";
import { type Conntrack, ZoneReach } from "../netfilter/index.ts";
import type { NodeTablesAtRun, RowAction } from "./evaluate.ts";
import type { ActionTarget, LinkedRuleset } from "./link.ts";
import { ctStateBits } from "./matches/connection.ts";
import { kindOf, type MatchNode } from "./matches/index.ts";
import { tosOf, ttlOf } from "./matches/packet-header.ts";
import type { Rule } from "./ruleset.ts";
import { SkipIndex } from "./skip-index.ts";
import type { TargetOf } from "./target.ts";

/** What rules remember from packet to packet: each match of a rule its own, or under a name that rules share. */
export class RuleMemory {
  readonly #byRule = new WeakMap<Rule, Map<number, object>>();
  readonly #byName = new Map<string, object>();

  shared<T extends object>(name: string, make: () => T): T {
    return remembered(this.#byName, name, make);
  }

  /** Of match `number` of a rule: two rules may hold the very same match, and each counts for itself. */
  own<T extends object>(rule: Rule, number: number, make: () => T): T {
    let memory = this.#byRule.get(rule);
    if (memory === undefined) {
      memory = new Map();
      this.#byRule.set(rule, memory);
    }
    return remembered(memory, number, make);
  }

  /** Empties what remembers clients: named memories that know how. */
  forgetClients(): void {
    for (const memory of this.#byName.values()) if (isOfClients(memory)) memory.forgetClients();
  }
}

function remembered<K, T extends object>(memory: Map<K, object>, key: K, make: () => T): T {
  const known = memory.get(key);
  if (known !== undefined) return known as T; // one key is always used with one maker
  const made = make();
  memory.set(key, made);
  return made;
}

interface ClientMemory {
  forgetClients(): void;
}

function isOfClients(memory: object): memory is ClientMemory {
  return "forgetClients" in memory;
}

export interface NodeParts {
  readonly context: LinkContext;
  readonly sets: SetCollection;
  readonly conntrack: Conntrack;
  readonly memory: RuleMemory;
  /** Rule `rule` (an index of the linked rules) reports a row. */
  report(rule: number, row: number): void;
}

export function bindNode(linked: LinkedRuleset, parts: NodeParts): NodeTablesAtRun {
  const { context, sets, conntrack, memory } = parts;
  const { facts } = context;
  const { interfaces } = facts;
  const count = interfaces.reduce((max, { index }) => Math.max(max, index), 0) + 1;
  const fits = new Uint8Array(linked.interfacePatterns.length * count);
  linked.interfacePatterns.forEach((pattern, p) => {
    const prefix = pattern.endsWith("+") ? pattern.slice(0, -1) : undefined;
    for (const { index, name } of interfaces)
      if (prefix === undefined ? name === pattern : name.startsWith(prefix)) fits[p * count + index] = 1;
  });
  const interfaceIds = new Uint32Array(count);
  for (const { index, name } of interfaces) interfaceIds[index] = internInterface(name);
  const backend = context.iptablesBackend ?? "nft";
  const node: Omit<MatchNode, "memory"> = {
    facts,
    backend,
    nowNs: () => context.nowNs(),
    epochS: context.epochS ?? 0,
    random: context.random,
    conntrack,
    interfaceIds,
    set: (name) => sets.get(name),
    compileProgram: (program) => {
      if (context.compileClassic !== undefined) return context.compileClassic(program);
      const message = "-m bpf needs an interpreter of classic BPF, and none was given";
      throw new InputError([{ code: "not-supported", path: "", message }]);
    },
    shared: (name, make) => memory.shared(name, make),
  };
  for (const target of linked.actions)
    if (target.kind === "SET" && target.action !== "map") sets.makeOwn(target.set);
  const ownSets = linked.setNames.map((name) => sets.get(name));
  return {
    interfaceFits: fits,
    interfaceCount: count,
    isNft: backend === "nft",
    sets: ownSets,
    skipIndex: linked.runs.length === 0 ? undefined : new SkipIndex(linked, ownSets, sets),
    setNode: node,
    tests: linked.tests.map(({ match, rule, number }) => {
      const { bind } = kindOf(match);
      assert(bind !== undefined, `a match of kind ${match.kind} has no test`);
      return bind(match, { ...node, memory: (make) => memory.own(rule, number, make) });
    }),
    actions: linked.actions.map((target) => bindTarget(target, node, parts)),
    ctBits: (batch, row) => ctStateBits(batch, row, conntrack.entryOf(batch, row)),
    report: (rule, row) => parts.report(rule, row),
  };
}

function zoneReach(direction: "orig" | "reply" | undefined): number {
  if (direction === undefined) return ZoneReach.both;
  return direction === "orig" ? ZoneReach.original : ZoneReach.reply;
}

function bindTarget(target: ActionTarget, node: SetNode, parts: NodeParts): RowAction {
  if (target.kind === "TCPMSS") return bindMss(target, parts.context.facts);
  const act = bindAction(target, node, parts);
  return (batch, row) => {
    act(batch, row);
    return true;
  };
}

const mtu = { wire: 1500, loopback: 65_536 } as const;

/** Clamped to what the interface takes that the packet leaves by, less both headers without options. */
function bindMss({ mss }: TargetOf<"TCPMSS">, { interfaces }: NodeFacts): RowAction {
  const loopback = interfaces.find(({ isLoopback }) => isLoopback)?.index;
  return (batch, row) => {
    if (mss !== "clamp") return lowerMss(batch, row, mss);
    const room = batch.state.oif[row] === loopback ? mtu.loopback : mtu.wire;
    return lowerMss(batch, row, room - (batch.family[row] === 6 ? 60 : 40));
  };
}

function bindAction(
  target: Exclude<ActionTarget, { kind: "TCPMSS" }>,
  node: SetNode,
  { sets, conntrack }: NodeParts,
): (batch: PacketBatch, row: number) => void {
  switch (target.kind) {
    case "CONNMARK":
      return bindConnmark(target, conntrack);
    case "CT": {
      const { zone, zoneDirection } = target;
      const reach = zoneReach(zoneDirection) | (zone === "mark" ? ZoneReach.ofMark : 0);
      const template = conntrack.template(target);
      return (batch, row) => {
        const { ctState, ctEntry, ctZone, ctZoneReach } = batch.state;
        if (ctState[row] !== CtState.none || ctEntry[row] !== 0) return; // seen already: the target leaves it alone
        ctEntry[row] = template;
        if (zone === undefined) return;
        ctZone[row] = zone === "mark" ? 0 : zone;
        ctZoneReach[row] = reach;
      };
    }
    case "SET": {
      const dimensions = dimensionBits(target.flags);
      const { action, set, exist = false, timeout } = target;
      if (action !== "map")
        return (batch, row) =>
          sets.changeByRow(action, set, batch, row, dimensions, node, { exist, timeout });
      return (batch, row) => {
        const member = sets.get(set)?.carriedBy(batch, row, dimensions, node);
        if (!target.mapMark || member === undefined) return; // priority and queue change no verdict
        const [value, mask] = member.skbmark ?? [0, 0];
        batch.state.mark[row] = (batch.state.mark[row]! & ~mask) ^ value;
      };
    }
    case "TTL":
      return (batch, row) => {
        const ttl = ttlOf(batch, row);
        const changed =
          target.action === "set"
            ? target.value
            : target.action === "inc"
              ? Math.min(255, ttl + target.value)
              : Math.max(0, ttl - target.value);
        setTtl(batch, row, changed);
      };
    case "TOS":
      return (batch, row) => setTos(batch, row, (tosOf(batch, row) & ~target.mask & 0xff) ^ target.value);
    case "DSCP":
      return (batch, row) => setTos(batch, row, (tosOf(batch, row) & 3) | (target.value << 2));
  }
}

/** Source: kernel net/netfilter/xt_connmark.c (connmark_tg_shift without shift). */
function bindConnmark(
  target: TargetOf<"CONNMARK">,
  conntrack: Conntrack,
): (batch: PacketBatch, row: number) => void {
  return (batch, row) => {
    const entry = conntrack.entryOf(batch, row);
    if (entry === undefined) return;
    const { mark } = batch.state;
    if (target.action === "set") entry.mark = ((entry.mark & ~target.mask) ^ target.value) >>> 0;
    else if (target.action === "save")
      entry.mark = ((entry.mark & ~target.ctMask) ^ (mark[row]! & target.nfMask)) >>> 0;
    else mark[row] = (mark[row]! & ~target.nfMask) ^ (entry.mark & target.ctMask);
  };
}
