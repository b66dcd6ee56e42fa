/**
 * Packet and byte counters of rules and policies, as iptables-save -c lists them: an observer of the one evaluator. A rule
 * counts when its matches hold, whatever its target does; a policy counts what no rule ended. Bytes are of the IP packet.
 */
import { type PacketBatch, packetEnd } from "../../packet/index.ts";
import type { FilterObserver } from "../datapath.ts";
import { type LinkedRuleset, linkRuleset } from "./link.ts";
import type { Ruleset, Table, TableName } from "./ruleset.ts";

type Count = [packets: number, bytes: number];

/** One batch at a time: `watch` it before it is run. */
export class RuleCounters implements FilterObserver {
  readonly #rules = new Map<number, Count>();
  readonly #policies = new Map<number, Count>();
  #batch: PacketBatch | undefined;
  #row = 0;

  watch(batch: PacketBatch): this {
    this.#batch = batch;
    return this;
  }

  enter(_point: number, row: number): void {
    this.#row = row;
  }

  rule(index: number, failedMatch: number): void {
    if (failedMatch < 0) this.#count(this.#rules, index, this.#row);
  }

  lookup(): void {}

  verdict(): void {}

  policy(point: number, row: number): void {
    this.#count(this.#policies, point, row);
  }

  /** The rule set with the counts in it, for `saveRuleset(..., { counters: true })`. */
  apply(ruleset: Ruleset): Ruleset {
    const linked = linkRuleset(ruleset);
    const tables: { [T in TableName]?: Table } = {};
    for (const table of Object.values(ruleset.tables)) tables[table.name] = this.#table(table, linked);
    return { family: ruleset.family, tables };
  }

  #table(table: Table, linked: LinkedRuleset): Table {
    const chains = table.chains.map((chain) => {
      const number = linked.chains.findIndex((one) => one.table === table.name && one.name === chain.name);
      const first = linked.rules.findIndex((one) => one.table === table.name && one.chain === chain.name);
      const rules = chain.rules.map((rule, i) => ({
        ...rule,
        counters: this.#rules.get(linked.indexBase + first + i) ?? ([0, 0] as const),
      }));
      const counters = this.#policies.get(linked.indexBase + number);
      return counters === undefined ? { ...chain, rules } : { ...chain, rules, counters };
    });
    return { ...table, chains };
  }

  #count(counts: Map<number, Count>, key: number, row: number): void {
    const batch = this.#batch;
    if (batch === undefined) return;
    const count = counts.get(key) ?? [0, 0];
    count[0]++;
    count[1] += packetEnd(batch, row) - batch.offset[row]!;
    counts.set(key, count);
  }
}
