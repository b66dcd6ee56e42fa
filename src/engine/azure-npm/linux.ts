/** Azure NPM on Linux: what its tables are in steady state. */
import type { IptablesTables, Ruleset, Table } from "../../filter/iptables/index.ts";
import { emptyTable } from "../../filter/iptables/index.ts";
import type { ClusterState } from "../../k8s/index.ts";
import type { CompiledNode, Diagnostic, Engine, NodeTables } from "../engine.ts";
import { forwardJump, jumpNumber, npmChains } from "./chains.ts";
import { SetCache } from "./sets.ts";
import { type TranslatedPolicy, type Translation, translatePolicy } from "./translate.ts";
import type { NpmVariant } from "./versions.ts";

/** As NPM logs it; the policy has no effect then. */
export function translationDiagnostic(key: string, failure: Extract<Translation, { ok: false }>): Diagnostic {
  return {
    code: failure.code,
    severity: "error",
    policy: key,
    message: `failed to translate NetworkPolicy ${key}: ${failure.message}`,
    origin: failure.origin,
  };
}

export function compileLinux(variant: NpmVariant): Engine["compile"] {
  return (state) => {
    const { cache, policies, diagnostics } = fillCache(state, variant);
    const sets = cache.toReprs();
    const chains = npmChains(policies, variant, (set) => cache.kernelName(set));
    const byBase = new Map<NodeTables, CompiledNode>();
    return (_node, base) => {
      let compiled = byBase.get(base);
      if (compiled === undefined) {
        compiled = Object.freeze({ tables: onTop(base, chains, sets, variant), diagnostics });
        byBase.set(base, compiled);
      }
      return compiled;
    };
  };
}

interface Filled {
  readonly cache: SetCache;
  readonly policies: readonly TranslatedPolicy[];
  readonly diagnostics: readonly Diagnostic[];
}

function fillCache(state: ClusterState, variant: NpmVariant): Filled {
  const cache = new SetCache(variant);
  for (const namespace of state.namespaces.values()) cache.addNamespace(namespace);
  for (const pod of state.pods.values()) cache.addPod(pod);
  const policies: TranslatedPolicy[] = [];
  const diagnostics: Diagnostic[] = [];
  for (const [key, policy] of state.networkPolicies) {
    const translation = translatePolicy(policy, variant);
    if (!translation.ok) {
      diagnostics.push(translationDiagnostic(key, translation));
      continue;
    }
    cache.addPolicy(translation.policy);
    policies.push(translation.policy);
  }
  return { cache, policies, diagnostics };
}

/** NPM works on IPv4 alone: the tables of IPv6 stay the platform's. */
function onTop(
  base: NodeTables,
  chains: Table["chains"],
  sets: IptablesTables["sets"],
  variant: NpmVariant,
): NodeTables {
  const tables = base.iptables;
  if (tables === undefined) return base;
  const filter = tables.v4.tables.filter ?? emptyTable("filter");
  const withJump = filter.chains.map((chain) => {
    if (chain.name !== "FORWARD") return chain;
    const at = jumpNumber(chain.rules, variant.placeFirst) - 1;
    return { ...chain, rules: [...chain.rules.slice(0, at), forwardJump, ...chain.rules.slice(at)] };
  });
  const v4: Ruleset = {
    family: 4,
    tables: { ...tables.v4.tables, filter: { name: "filter", chains: [...withJump, ...chains] } },
  };
  return Object.freeze({
    iptables: Object.freeze({ v4, v6: tables.v6, sets: new Map([...tables.sets, ...sets]) }),
  });
}
