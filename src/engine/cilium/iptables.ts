/**
 * Cilium's chains on a node, of both families. Policy is not here: FORWARD accepts what comes from or goes to pods (the
 * programs have judged it), and OUTPUT marks what the host's own processes send, so that the program at the pod's
 * interface knows it as the host's. The magic in bits 8-11 of a mark: 0xa, 0x8 proxy, 0xc host, 0xd and 0xe encryption,
 * 0xf identity, 0x4 overlay.
 * Governing source: cilium/cilium pkg/datapath/iptables/iptables.go, bpf/lib/common.h (MARK_MAGIC_*). With AKS's
 * settings the layer 7 proxy is off, masquerading is ip-masq-agent's, and there is no tunnel: the other chains of
 * Cilium's stay empty.
 */
import type { Origin } from "../../base/index.ts";
import {
  type Chain,
  emptyTable,
  type IptablesTables,
  type Match,
  type Rule,
  type RuleCommand,
  type Ruleset,
  type Table,
  type TableName,
} from "../../filter/iptables/index.ts";
import type { CiliumVariant } from "./variant.ts";

const origin: Origin = { kind: "platform", name: "cilium", path: "", role: "base" };
const acceptTarget = { kind: "ACCEPT" } as const;
const comment = (text: string): Match => ({ kind: "comment", text });
const into = (name: string): Match => ({ kind: "in-interface", name });
const outOf = (name: string): Match => ({ kind: "out-interface", name });
const unmarked = (value: number, mask: number): Match => ({ kind: "mark", value, mask, not: true });

/** What of a mark says where a packet is from. */
export const magicMask = 0xf00;
export const hostMagic = 0xc00;

interface CiliumChain {
  readonly table: TableName;
  /** The built-in chain that it is jumped to from, in first place. */
  readonly hook: string;
  readonly name: string;
  readonly rules: readonly Rule[];
}

function ciliumChains(variant: CiliumVariant): readonly CiliumChain[] {
  const chain = (table: TableName, hook: string, name: string, rules: readonly Rule[] = []): CiliumChain => ({
    table,
    hook,
    name: `CILIUM_${name}`,
    rules,
  });
  return [
    chain("raw", "PREROUTING", "PRE_raw"),
    chain("raw", "OUTPUT", "OUTPUT_raw"),
    chain("mangle", "PREROUTING", "PRE_mangle"),
    chain("mangle", "POSTROUTING", "POST_mangle"),
    chain("nat", "PREROUTING", "PRE_nat"),
    chain("nat", "OUTPUT", "OUTPUT_nat"),
    chain("nat", "POSTROUTING", "POST_nat"),
    chain("filter", "INPUT", "INPUT"),
    chain("filter", "FORWARD", "FORWARD", forwardRules()),
    chain("filter", "OUTPUT", "OUTPUT", [markHost(variant)]),
  ];
}

function forwardRules(): readonly Rule[] {
  const accept = (match: Match, text: string): Rule => ({
    matches: [match, comment(`cilium: ${text}`)],
    target: acceptTarget,
    origin,
  });
  return [
    accept(outOf("cilium_host"), "any->cluster on cilium_host forward accept"),
    accept(into("cilium_host"), "cluster->any on cilium_host forward accept (nodeport)"),
    accept(into("lxc+"), "cluster->any on lxc+ forward accept"),
    accept(into("cilium_net"), "cluster->any on cilium_net forward accept (nodeport)"),
    // endpoint routes: pods are reached through their own interfaces
    accept(outOf("lxc+"), "any->cluster on lxc+ forward accept"),
    accept(into("lxc+"), "cluster->any on lxc+ forward accept (nodeport)"),
  ];
}

/** Everything that leaves the host's own stack and bears no other magic is the host's. */
function markHost({ version }: CiliumVariant): Rule {
  const knowsOverlay = version !== "1.14" && version !== "1.16";
  return {
    matches: [
      unmarked(0xd00, magicMask),
      unmarked(0xe00, magicMask),
      ...(knowsOverlay ? [unmarked(0x400, magicMask)] : []),
      unmarked(0xa00, 0xe00),
      unmarked(0x800, 0xe00),
      unmarked(0xf00, magicMask),
      comment("cilium: host->any mark as from host"),
    ],
    target: { kind: "MARK", value: hostMagic, mask: magicMask },
    origin,
  };
}

const feeder = (name: string): Rule => ({
  matches: [comment(`cilium-feeder: ${name}`)],
  target: { kind: "jump", chain: name },
  origin,
});

/** The platform's tables with Cilium's chains in them. */
export function withCiliumChains(base: IptablesTables, variant: CiliumVariant): IptablesTables {
  const chains = ciliumChains(variant);
  const on = ({ family, tables }: Ruleset): Ruleset => {
    const changed: { [K in TableName]?: Table } = { ...tables };
    for (const name of ["raw", "mangle", "nat", "filter"] as const)
      changed[name] = withChains(
        tables[name] ?? emptyTable(name),
        chains.filter(({ table }) => table === name),
      );
    return { family, tables: changed };
  };
  return Object.freeze({ v4: on(base.v4), v6: on(base.v6), sets: base.sets });
}

function withChains({ name, chains }: Table, added: readonly CiliumChain[]): Table {
  const fed = chains.map((chain): Chain => {
    const feeders = added.filter(({ hook }) => hook === chain.name);
    return { ...chain, rules: [...feeders.map((one) => feeder(one.name)), ...chain.rules] };
  });
  return { name, chains: [...fed, ...added.map(({ name: own, rules }): Chain => ({ name: own, rules }))] };
}

/** A table's commands, as the agent gives them. */
export interface ChainCommands {
  readonly table: TableName;
  readonly commands: readonly RuleCommand[];
}

/** Boot: what an earlier life left is taken away, then the chains are written. */
export function installCommands(variant: CiliumVariant, present: Ruleset): readonly ChainCommands[] {
  const chains = ciliumChains(variant);
  return commandsOf(chains, present, (own) => [
    ...own.map(({ name }): RuleCommand => ({ op: "chain", chain: name })),
    ...own.flatMap(({ name, rules }) =>
      rules.map((rule): RuleCommand => ({ op: "append", chain: name, rule })),
    ),
    ...own.map(
      ({ hook, name }): RuleCommand => ({ op: "insert", chain: hook, number: 1, rule: feeder(name) }),
    ),
  ]);
}

/** Uninstall: the jumps go first, then the chains. */
export function removeCommands(variant: CiliumVariant, present: Ruleset): readonly ChainCommands[] {
  const chains = ciliumChains(variant);
  return commandsOf(chains, present, (own) => {
    const there = own.filter(({ table, name }) => chainsOf(present, table).some((one) => one.name === name));
    return [
      ...there.map(({ name }): RuleCommand => ({ op: "flush", chain: name })),
      ...there.map(({ name }): RuleCommand => ({ op: "delete-chain", chain: name })),
    ];
  });
}

function commandsOf(
  chains: readonly CiliumChain[],
  present: Ruleset,
  then: (own: readonly CiliumChain[]) => readonly RuleCommand[],
): readonly ChainCommands[] {
  return (["raw", "mangle", "nat", "filter"] as const).flatMap((table) => {
    const own = chains.filter((chain) => chain.table === table);
    const commands = [...own.flatMap((chain) => feedersThere(chain, present)), ...then(own)];
    return commands.length === 0 ? [] : [{ table, commands }];
  });
}

function feedersThere({ table, hook, name }: CiliumChain, present: Ruleset): readonly RuleCommand[] {
  const rules = chainsOf(present, table).find((one) => one.name === hook)?.rules ?? [];
  return rules
    .filter(({ target }) => target?.kind === "jump" && target.chain === name)
    .map((rule): RuleCommand => ({ op: "delete", chain: hook, rule }));
}

function chainsOf({ tables }: Ruleset, table: TableName): readonly Chain[] {
  return tables[table]?.chains ?? [];
}
