/** Azure NPM on Linux: what its tables are in steady state. */
import type { IptablesTables, Ruleset, Table } from "../../filter/iptables/index.ts";
import { emptyTable } from "../../filter/iptables/index.ts";
import type { ClusterState, NetworkPolicy, Pod } from "../../k8s/index.ts";
import type { CompiledNode, Diagnostic, Engine, NodeTables } from "../engine.ts";
import { forwardJump, jumpNumber, npmChains } from "./chains.ts";
import { ChainOwners, type Collision } from "./owners.ts";
import { perNode } from "./pods.ts";
import { SetCache } from "./sets.ts";
import { type TranslatedPolicy, type Translation, translatePolicy } from "./translate.ts";
import type { NpmVariant } from "./versions.ts";

/** As NPM's policy controller logs it; the policy has no effect then. */
export function translationDiagnostic(
  policy: NetworkPolicy,
  failure: Extract<Translation, { ok: false }>,
): Diagnostic {
  const { namespace, name } = policy;
  return {
    code: failure.code,
    severity: "error",
    policy: `${namespace}/${name}`,
    message: `Failed to translate podSelector in NetworkPolicy ${name} in namespace ${namespace}: ${failure.message}`,
    origin: failure.origin,
  };
}

/** The second policy (or set) of one kernel name: nothing of it is programmed. */
export function collisionDiagnostic(policy: TranslatedPolicy, { name, owner }: Collision): Diagnostic {
  return {
    code: "name-collision",
    severity: "error",
    policy: policy.key,
    message: `[DataPlane] error while adding policy: ${policy.key} needs the kernel name ${name}, which ${owner} has`,
    origin: policy.selectOrigin,
  };
}

export function compileLinux(variant: NpmVariant): Engine["compile"] {
  return (state) => {
    const prepared = perNode(state, variant, (pods) => {
      const { cache, policies, diagnostics } = fillCache(state, pods, variant);
      const chains = npmChains(policies, variant, (set) => cache.kernelName(set));
      return { sets: cache.toReprs(), chains, diagnostics, byBase: new Map<NodeTables, CompiledNode>() };
    });
    return (node, base) => {
      const { sets, chains, diagnostics, byBase } = prepared(node);
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

function fillCache(state: ClusterState, pods: Iterable<Pod>, variant: NpmVariant): Filled {
  const cache = new SetCache(variant);
  const owners = new ChainOwners(variant);
  for (const namespace of state.namespaces.values()) cache.addNamespace(namespace);
  for (const pod of pods) cache.addPod(pod);
  const policies: TranslatedPolicy[] = [];
  const diagnostics: Diagnostic[] = [];
  for (const policy of state.networkPolicies.values()) {
    const translation = translatePolicy(policy, variant);
    if (!translation.ok) {
      diagnostics.push(translationDiagnostic(policy, translation));
      continue;
    }
    const collision = owners.claim(translation.policy, cache);
    if (collision !== undefined) {
      diagnostics.push(collisionDiagnostic(translation.policy, collision));
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
  const all = tables.sets.size === 0 ? sets : new Map([...tables.sets, ...sets]);
  return Object.freeze({ iptables: Object.freeze({ v4, v6: tables.v6, sets: all }) });
}
