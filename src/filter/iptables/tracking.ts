/**
 * Which rules make a namespace track connections: the kernel registers its tracking hooks, and with them reassembly, for
 * the first rule of a family that asks for connections (nf_ct_netns_get in the checks of xt_conntrack, xt_connmark,
 * xt_connbytes, xt_CT, xt_CONNMARK, xt_nat, xt_MASQUERADE, xt_REDIRECT, xt_NETMAP).
 */
import type { Match } from "./match.ts";
import type { Rule, Ruleset } from "./ruleset.ts";
import type { Target } from "./target.ts";

const matches: ReadonlySet<Match["kind"]> = new Set(["ctstate", "conntrack", "connmark", "connbytes"]);
const targets: ReadonlySet<Target["kind"]> = new Set([
  "CONNMARK",
  "CT",
  "DNAT",
  "SNAT",
  "MASQUERADE",
  "REDIRECT",
  "NETMAP",
]);

const answers = new WeakMap<Ruleset, boolean>();

/** True if some rule of the family asks for connections, reachable or not. */
export function asksForConnections(ruleset: Ruleset): boolean {
  const known = answers.get(ruleset);
  if (known !== undefined) return known;
  const answer = Object.values(ruleset.tables).some((table) =>
    table.chains.some((chain) => chain.rules.some(asks)),
  );
  answers.set(ruleset, answer);
  return answer;
}

function asks({ matches: conditions, target }: Rule): boolean {
  if (target !== undefined && targets.has(target.kind)) return true;
  return conditions.some(({ kind }) => matches.has(kind));
}
