/**
 * Every rule of a state that the agent takes, in an order that does not depend on that of creation, and what it says of
 * those that it does not take. Of Cilium's own policies one rule that is refused takes its whole object with it.
 * Governing source: cilium/cilium pkg/policy/api/rule_validation.go, pkg/policy/k8s; AKS "Advanced Container Networking
 * Services", which L7 and FQDN rules need.
 */
import type { ClusterState, VendorObject } from "../../../k8s/index.ts";
import type { Diagnostic } from "../../engine.ts";
import type { BeyondField, CiliumPolicySpec, CiliumRuleSpec } from "../resources/spec.ts";
import type { CiliumVariant } from "../variant.ts";
import { ruleOfCiliumPolicy } from "./cilium-policy-rule.ts";
import { ruleOfNetworkPolicy } from "./network-policy-rule.ts";
import type { CiliumRule } from "./rule.ts";

export interface TakenRules {
  readonly rules: readonly CiliumRule[];
  readonly diagnostics: readonly Diagnostic[];
}

export function rulesOf(state: ClusterState, variant: CiliumVariant): TakenRules {
  const rules = [...state.networkPolicies.values()]
    .sort(byName)
    .map((policy) => ruleOfNetworkPolicy(policy, variant));
  const diagnostics: Diagnostic[] = [];
  for (const kind of ["CiliumNetworkPolicy", "CiliumClusterwideNetworkPolicy"])
    for (const object of [...(state.vendor.get(kind)?.values() ?? [])].sort(byName)) {
      const specs = (object.spec as CiliumPolicySpec).rules;
      const found = answersOf(object, specs, variant);
      diagnostics.push(...found.map(({ diagnostic }) => diagnostic));
      if (found.some(({ isRefused }) => isRefused)) continue;
      for (const spec of specs) {
        const rule = ruleOfCiliumPolicy(state, object, spec, variant);
        diagnostics.push(...notKnown(object, spec, variant));
        if (!rule.isForNodes || variant.hostFirewall) rules.push(rule);
        else diagnostics.push(noHostFirewall(object, `${spec.path}.nodeSelector`));
      }
    }
  return { rules, diagnostics };
}

interface Named {
  readonly namespace: string | undefined;
  readonly name: string;
}

function nameOf({ namespace, name }: Named): string {
  return namespace === undefined ? name : `${namespace}/${name}`;
}

function byName(a: Named, b: Named): number {
  const [first, second] = [nameOf(a), nameOf(b)];
  return first < second ? -1 : first > second ? 1 : 0;
}

function diagnosticOf(
  object: VendorObject,
  path: string,
  code: string,
  severity: Diagnostic["severity"],
  what: string,
): Diagnostic {
  const { kind, source } = object;
  const name = nameOf(object);
  return {
    code,
    severity,
    policy: name,
    message: `${kind} ${name}: ${path}: ${what}`,
    origin: { kind, name, path, role: "base", ...(source === undefined ? {} : { source }) },
  };
}

function noHostFirewall(object: VendorObject, path: string): Diagnostic {
  const what = "the host firewall is not enabled: a rule for nodes has no effect";
  return diagnosticOf(object, path, "host-firewall-off", "warning", what);
}

/** What the CRD of an older version does not know: the API server drops it, and the rest of the rule stays. */
function notKnown(
  object: VendorObject,
  { path, defaultDeny, sections }: CiliumRuleSpec,
  { version, nonDefaultDeny, endPort }: CiliumVariant,
): readonly Diagnostic[] {
  const say = (at: string, what: string): Diagnostic =>
    diagnosticOf(object, at, "field-ignored", "warning", `not known to Cilium ${version}: ${what}`);
  const isSet = defaultDeny.ingress !== undefined || defaultDeny.egress !== undefined;
  const ranges = sections.flatMap(({ ports = [] }) => ports.filter((port) => port.endPort !== undefined));
  return [
    ...(isSet && !nonDefaultDeny
      ? [say(`${path}.enableDefaultDeny`, "a rule of a direction isolates in it")]
      : []),
    ...(endPort ? [] : ranges.map((port) => say(`${port.path}.endPort`, "the rule covers `port` alone"))),
  ];
}

const refused = "the whole policy is not enforced";

interface Answer {
  readonly diagnostic: Diagnostic;
  readonly isRefused: boolean;
}

/** The agent stops at the first reason to refuse: what is wrong with a rule matters where the setting that it needs is on. */
function answersOf(
  object: VendorObject,
  specs: readonly CiliumRuleSpec[],
  variant: CiliumVariant,
): readonly Answer[] {
  const fields = specs.flatMap(({ beyond }) => beyond);
  const bySettings = fields
    .filter(({ need }) => need !== "other")
    .map((field) => said(object, field, variant));
  if (bySettings.some(({ isRefused }) => isRefused)) return bySettings;
  const byRule = fields.filter(({ need }) => need === "other").map((field) => said(object, field, variant));
  return [...bySettings, ...byRule];
}

function said(object: VendorObject, field: BeyondField, { l7 }: CiliumVariant): Answer {
  const answer = (code: string, isRefused: boolean, what: string): Answer => ({
    diagnostic: diagnosticOf(object, field.path, code, isRefused ? "error" : "warning", what),
    isRefused,
  });
  switch (field.need) {
    case "l7":
      return l7
        ? answer(
            "l7-not-emulated",
            false,
            "with Advanced Container Networking Services the ports are redirected to a proxy, whose rules are not emulated: what the ports allow passes",
          )
        : answer(
            "l7-refused",
            true,
            `L7 policy is not supported since L7 proxy is not enabled (AKS: needs Advanced Container Networking Services); ${refused}`,
          );
    case "fqdn":
      return l7
        ? answer(
            "fqdn-not-emulated",
            false,
            "with Advanced Container Networking Services a DNS proxy learns the addresses of names from answers to pods; none is seen here: names select no address",
          )
        : answer(
            "fqdn-refused",
            true,
            `FQDN rules need the DNS proxy (AKS: Advanced Container Networking Services); ${refused}`,
          );
    case "node-labels":
      return answer(
        "node-labels-refused",
        true,
        `FromNodes/ToNodes rules can only be applied when enable-node-selector-labels is set (AKS: off); ${refused}`,
      );
    case "cloud-groups":
      return answer(
        "cloud-groups-refused",
        true,
        `groups of cloud providers are known for AWS alone; ${refused}`,
      );
    case "requirements":
      return answer(
        "requirements-not-emulated",
        true,
        `fromRequires/toRequires are not emulated; ${refused} here`,
      );
    case "other":
      return answer("policy-refused", true, `${field.why}; ${refused}`);
    case "authentication":
      return answer(
        "authentication-never",
        false,
        "no peer ever authenticates on AKS (mesh-auth-enabled is off, there is no SPIRE): what the rule allows is dropped (189, Authentication required); other rules that allow the same are not held to it here",
      );
  }
}
