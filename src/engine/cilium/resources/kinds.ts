/**
 * Cilium's API kinds for the loader. Of both policy kinds an object holds `spec`, `specs` or both; each is a rule of its
 * own. Governing source: cilium/cilium pkg/k8s/apis/cilium.io/v2/{cnp,ccnp}_types.go, v2alpha1/cidrgroups_types.go.
 */
import type { Fields, VendorKind } from "../../../k8s/index.ts";
import { decodeRule } from "./decode-rule.ts";
import { decodeCiliumCidr } from "./decode-selector.ts";
import { mentionsOfCiliumPolicy } from "./mentions.ts";
import type { CiliumCidrGroupSpec, CiliumPolicySpec } from "./spec.ts";

const apiGroup = "cilium.io";

type Decoded = ReturnType<VendorKind["decode"]>;
type RawFields = Readonly<Record<string, unknown>>;

function decodePolicy(fields: Fields, object: RawFields, isClusterWide: boolean): Decoded {
  const isThere = (name: string): boolean => object[name] !== undefined && object[name] !== null;
  if (!isThere("spec") && !isThere("specs")) fields.required("spec", "spec or specs must be given");
  const one = isThere("spec") ? [decodeRule(fields, object["spec"], "spec", isClusterWide)] : [];
  const more = fields
    .list(object["specs"], "specs")
    .map((item, i) => decodeRule(fields, item, `specs[${i}]`, isClusterWide));
  const spec: CiliumPolicySpec = { rules: [...one, ...more] };
  return { spec, mentions: mentionsOfCiliumPolicy(spec) };
}

function decodeCidrGroup(fields: Fields, value: unknown, object: RawFields): Decoded {
  const raw = fields.object(value, "spec") ?? {};
  fields.known(raw, "spec", ["externalCIDRs"]);
  const list = fields.list(raw["externalCIDRs"], "spec.externalCIDRs");
  const cidrs = list
    .map((item, i) => decodeCiliumCidr(fields, item, `spec.externalCIDRs[${i}]`))
    .filter((cidr) => cidr !== undefined);
  const meta = fields.object(object["metadata"], "metadata") ?? {};
  const spec: CiliumCidrGroupSpec = { cidrs, labels: fields.map(meta["labels"], "metadata.labels") };
  return {
    spec,
    mentions: { ports: [], blocks: cidrs, namespaces: [], podKeys: [], namespaceKeys: [] },
  };
}

export const ciliumKinds: readonly VendorKind[] = [
  {
    apiGroup,
    kind: "CiliumNetworkPolicy",
    namespaced: true,
    decode: (fields, _spec, object) => decodePolicy(fields, object, false),
  },
  {
    apiGroup,
    kind: "CiliumClusterwideNetworkPolicy",
    namespaced: false,
    decode: (fields, _spec, object) => decodePolicy(fields, object, true),
  },
  {
    apiGroup,
    kind: "CiliumCIDRGroup",
    namespaced: false,
    decode: decodeCidrGroup,
  },
];
