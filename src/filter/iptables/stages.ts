/**
 * What netfilter runs at each hook, in the order of its priorities (include/uapi/linux/netfilter_ipv4.h: reassembly -400,
 * raw -300, tracking -200, mangle -150, nat destinations -100, filter 0, security 50, nat sources 100, confirmation last),
 * and the steps of it that one node's tables leave to be done.
 */
import { Hook } from "../datapath.ts";
import type { Manip } from "../netfilter/index.ts";
import { entryKey, type LinkedRuleset } from "./link.ts";
import type { TableName } from "./ruleset.ts";

type Stage =
  | { readonly kind: "table"; readonly table: TableName; readonly chain: string }
  | { readonly kind: "nat"; readonly chain: string; readonly manip: Manip }
  | { readonly kind: "defragment" }
  | { readonly kind: "conntrack" }
  | { readonly kind: "confirm" };

const table = (name: TableName, chain: string): Stage => ({ kind: "table", table: name, chain });

const stages: { readonly [hook: number]: readonly Stage[] } = {
  [Hook.prerouting]: [
    { kind: "defragment" },
    table("raw", "PREROUTING"),
    { kind: "conntrack" },
    table("mangle", "PREROUTING"),
    { kind: "nat", chain: "PREROUTING", manip: "dst" },
  ],
  [Hook.input]: [
    { kind: "defragment" },
    table("mangle", "INPUT"),
    table("filter", "INPUT"),
    table("security", "INPUT"),
    { kind: "nat", chain: "INPUT", manip: "src" },
    { kind: "confirm" },
  ],
  [Hook.forward]: [table("mangle", "FORWARD"), table("filter", "FORWARD"), table("security", "FORWARD")],
  [Hook.output]: [
    { kind: "defragment" },
    table("raw", "OUTPUT"),
    { kind: "conntrack" },
    table("mangle", "OUTPUT"),
    { kind: "nat", chain: "OUTPUT", manip: "dst" },
    table("filter", "OUTPUT"),
    table("security", "OUTPUT"),
  ],
  [Hook.postrouting]: [
    table("mangle", "POSTROUTING"),
    { kind: "nat", chain: "POSTROUTING", manip: "src" },
    { kind: "confirm" },
  ],
};

/** Tables of a hook in the order in which a new connection's packet meets them, each with its chain. */
export function tablesOf(hook: number): readonly { readonly table: TableName; readonly chain: string }[] {
  return (stages[hook] ?? []).flatMap((stage): readonly { table: TableName; chain: string }[] => {
    if (stage.kind === "table") return [{ table: stage.table, chain: stage.chain }];
    return stage.kind === "nat" ? [{ table: "nat", chain: stage.chain }] : [];
  });
}

export const netfilterHooks: readonly number[] = Object.keys(stages).map(Number);

export type Step =
  | { readonly kind: "table"; readonly chain: number }
  /** `chain` -1: no rules, but clashes of ports are settled. */
  | { readonly kind: "nat"; readonly chain: number; readonly manip: Manip; readonly isPostrouting: boolean }
  | { readonly kind: "defragment" }
  | { readonly kind: "conntrack" }
  | { readonly kind: "confirm" };

/** By hook number, the steps that do something. `tracks`: connections are tracked in this family. */
export function stepsOf(linked: LinkedRuleset, tracks: boolean): readonly (readonly Step[])[] {
  const steps: (readonly Step[])[] = [];
  for (const hook of netfilterHooks)
    steps[hook] = (stages[hook] ?? []).flatMap((stage) => {
      const step = stepOf(stage, hook, linked, tracks);
      return step === undefined ? [] : [step];
    });
  return steps;
}

function stepOf(stage: Stage, hook: number, linked: LinkedRuleset, tracks: boolean): Step | undefined {
  switch (stage.kind) {
    case "table": {
      const chain = linked.entry.get(entryKey(stage.table, stage.chain)) ?? -1;
      return chain < 0 ? undefined : { kind: "table", chain };
    }
    case "nat": {
      if (!tracks || linked.ruleset.tables.nat === undefined) return undefined;
      const chain = linked.entry.get(entryKey("nat", stage.chain)) ?? -1;
      return { kind: "nat", chain, manip: stage.manip, isPostrouting: hook === Hook.postrouting };
    }
    case "defragment": {
      // Without tracking, an IPv4 datagram to the node is still made whole before INPUT (ip_local_deliver).
      const isLocal = hook === Hook.input && linked.ruleset.family === 4;
      return isLocal || (tracks && hook !== Hook.input) ? stage : undefined;
    }
    case "conntrack":
    case "confirm":
      return tracks ? stage : undefined;
  }
}
