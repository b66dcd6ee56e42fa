/** Descriptions of linked rules for traces: made when first asked for, and shared by all nodes with the same rules. */
import type { RuleDescription } from "../datapath.ts";
import type { LinkedRuleset } from "./link.ts";
import { ruleText } from "./save.ts";

const known = new WeakMap<LinkedRuleset, (RuleDescription | undefined)[]>();

/** `index`: of `linked.rules`. */
export function describeLinkedRule(linked: LinkedRuleset, index: number): RuleDescription {
  let descriptions = known.get(linked);
  if (descriptions === undefined) {
    descriptions = [];
    known.set(linked, descriptions);
  }
  let description = descriptions[index];
  if (description === undefined) {
    const { table, chain, number, rule } = linked.rules[index]!;
    const text = ruleText(chain, rule, linked.ruleset.family);
    description = { table, chain, number, text, origin: rule.origin };
    descriptions[index] = description;
  }
  return description;
}
