/**
 * Long runs of rules that do the same for one address each, as one rule a list of services: what kube-proxy writes for
 * thousands of Services asks one map.
 */
import type { AddressBlock, AddressMap, DecisionRule, ServiceRange } from "../../base/index.ts";
import { everyService, type Services, servicesOf, servicesText } from "../service-ranges.ts";

const runMin = 8;

type Side = "source" | "destination";

/** A rule that asks for one address and perhaps services, and ends the packet's way. */
interface PlainRule {
  readonly side: Side;
  readonly block: AddressBlock;
  readonly services: Services;
}

export function mergeRuns(rules: readonly DecisionRule[]): readonly DecisionRule[] {
  if (rules.length < runMin) return rules;
  const merged: DecisionRule[] = [];
  for (let at = 0; at < rules.length; ) {
    const run = runFrom(rules, at);
    if (run.length >= runMin) merged.push(...mergeRun(run, rules[at] as DecisionRule));
    else merged.push(...rules.slice(at, at + Math.max(1, run.length)));
    at += Math.max(1, run.length);
  }
  return merged;
}

/** Of one side and one action, in whatever order: whichever matches does the same. */
function runFrom(rules: readonly DecisionRule[], from: number): readonly PlainRule[] {
  const run: PlainRule[] = [];
  for (let at = from; at < rules.length; at++) {
    const rule = rules[at] as DecisionRule;
    const plain = rule.action.kind === rules[from]?.action.kind ? plainOf(rule) : undefined;
    if (plain === undefined || (run[0] ?? plain).side !== plain.side) break;
    run.push(plain);
  }
  return run;
}

function plainOf({ source, destination, services, marks, action }: DecisionRule): PlainRule | undefined {
  if (action.kind !== "accept" && action.kind !== "drop" && action.kind !== "ask") return undefined;
  if (marks !== undefined || (source === undefined) === (destination === undefined)) return undefined;
  const [test, ...more] = source ?? destination ?? [];
  if (test === undefined || more.length > 0 || test.not === true || test.value !== 1) return undefined;
  const [[block] = [], ...others] = test.map.entries;
  const isHost = block !== undefined && block.prefix === (block.family === 4 ? 32 : 128);
  if (!isHost || others.length > 0) return undefined;
  return { side: source === undefined ? "destination" : "source", block, services: services ?? everyService };
}

function mergeRun(run: readonly PlainRule[], { action }: DecisionRule): readonly DecisionRule[] {
  const byAddress = new Map<string, { readonly block: AddressBlock; readonly ranges: ServiceRange[] }>();
  for (const { block, services } of run) {
    const key = block.words.join(" ");
    const own = byAddress.get(key) ?? { block, ranges: [] };
    byAddress.set(key, own);
    own.ranges.push(...services);
  }
  const lists = new Map<string, Services>();
  const numbers = new Map<string, number>();
  const entries: (readonly [AddressBlock, number])[] = [];
  for (const { block, ranges } of byAddress.values()) {
    const services = servicesOf(ranges);
    const text = servicesText(services);
    lists.set(text, services);
    const number = numbers.get(text) ?? lists.size;
    numbers.set(text, number);
    entries.push([block, number]);
  }
  const map: AddressMap = { entries };
  const everything = servicesText(everyService);
  const side = run[0]?.side ?? "destination";
  return [...lists].map(([text, services], i) => ({
    [side]: [{ map, value: i + 1 }],
    ...(text === everything ? {} : { services }),
    action,
  }));
}
