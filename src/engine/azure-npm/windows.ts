/** Azure NPM on Windows: what HNS holds in steady state. */
import { formatIp } from "../../addr/index.ts";
import type { AclPolicy, HnsEndpoint } from "../../filter/hns/index.ts";
import type { ClusterState, NetworkPolicy, Node, Pod } from "../../k8s/index.ts";
import type { CompiledNode, Diagnostic, Engine, NodeTables } from "../engine.ts";
import { azureNetwork } from "../platform/index.ts";
import { nodeAcl, policyAcls, refusesNegation, setPolicies } from "./hns.ts";
import { collisionDiagnostic, translationDiagnostic } from "./linux.ts";
import { ChainOwners } from "./owners.ts";
import { perNode } from "./pods.ts";
import { SetCache } from "./sets.ts";
import { namespaceSet, negationMessage, type TranslatedPolicy, translatePolicy } from "./translate.ts";
import type { NpmVariant } from "./versions.ts";

/** A policy that HNS conversion refuses: it is tried again for ever, and its pods stay open. */
export function negationDiagnostic(
  policy: NetworkPolicy,
  translated: TranslatedPolicy,
): Diagnostic | undefined {
  const acl = refusesNegation(translated);
  if (acl === undefined) return undefined;
  return {
    code: "windows-negation",
    severity: "error",
    policy: translated.key,
    message: `[DataPlane] error while adding policy ${policy.namespace}/${policy.name}: ${negationMessage}`,
    origin: acl.origin,
  };
}

interface Programmed {
  readonly policy: TranslatedPolicy;
  readonly acls: readonly AclPolicy[];
}

/** By the namespace that they are of. */
type ByNamespace = ReadonlyMap<string, readonly Programmed[]>;

export function compileWindows(variant: NpmVariant): Engine["compile"] {
  return (state) => {
    const programs = perNode(state, variant, (pods) => {
      const filled = program(state, pods, variant);
      const sets = setPolicies(filled.cache.toReprs(), variant.naming.setName);
      return { ...filled, networks: [{ ...azureNetwork, sets }] };
    });
    return (node, base): CompiledNode => {
      const { cache, programmed, diagnostics, networks } = programs(node);
      const { hns } = base;
      if (hns === undefined) return { tables: base, diagnostics };
      const endpoints = hns.endpoints.map((one) => withPolicies(one, node, programmed, cache));
      const tables: NodeTables = {
        ...base,
        hns: { ...hns, networks, endpoints, flowsOnChange: variant.vfpFlows },
      };
      return Object.freeze({ tables, diagnostics });
    };
  };
}

interface Program {
  readonly cache: SetCache;
  readonly programmed: ByNamespace;
  readonly diagnostics: readonly Diagnostic[];
}

function program(state: ClusterState, pods: Iterable<Pod>, variant: NpmVariant): Program {
  const cache = new SetCache(variant);
  const owners = new ChainOwners(variant);
  for (const namespace of state.namespaces.values()) cache.addNamespace(namespace);
  for (const pod of pods) cache.addPod(pod);
  const programmed = new Map<string, Programmed[]>();
  const diagnostics: Diagnostic[] = [];
  for (const source of state.networkPolicies.values()) {
    const translation = translatePolicy(source, variant);
    if (!translation.ok) {
      diagnostics.push(translationDiagnostic(source, translation));
      continue;
    }
    const { policy } = translation;
    const collision = owners.claim(policy, cache);
    if (collision !== undefined) {
      diagnostics.push(collisionDiagnostic(policy, collision));
      continue;
    }
    cache.addPolicy(policy);
    const refusal = negationDiagnostic(source, policy);
    if (refusal !== undefined) {
      diagnostics.push(refusal);
      continue;
    }
    const list = programmed.get(policy.namespace) ?? [];
    list.push({ policy, acls: policyAcls(policy, variant, (set) => cache.kernelName(set)) });
    programmed.set(policy.namespace, list);
  }
  return { cache, programmed, diagnostics };
}

/** An endpoint's own ACLs, then those of each policy whose selector's sets all hold its address. */
function withPolicies(
  endpoint: HnsEndpoint,
  node: Node,
  programmed: ByNamespace,
  cache: SetCache,
): HnsEndpoint {
  const ip = endpoint.addresses.find(({ family }) => family === 4);
  if (ip === undefined || endpoint.isRemote) return endpoint;
  const address = formatIp(ip);
  const selecting = [...programmed]
    .filter(([namespace]) => cache.holdsAll([{ set: namespaceSet(namespace), isIncluded: true }], address))
    .flatMap(([, list]) => list)
    .filter(({ policy }) => cache.holdsAll(policy.selector, address));
  if (selecting.length === 0) return endpoint;
  const own = selecting.flatMap(({ policy, acls }) => aclsOn(node, policy, acls));
  return { ...endpoint, acls: [...endpoint.acls, ...own] };
}

/** The ACLs of a policy on one node's endpoints. */
export function aclsOn(
  node: Node,
  policy: TranslatedPolicy,
  acls: readonly AclPolicy[],
): readonly AclPolicy[] {
  const address = node.addresses.find(({ family }) => family === 4);
  return address === undefined ? acls : [...acls, nodeAcl(policy, address)];
}
