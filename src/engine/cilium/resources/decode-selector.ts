/**
 * Selectors and CIDRs of Cilium's resources. Label keys may say which source the label is from (`k8s:app`); otherwise
 * they are spelled as Kubernetes' own.
 * Governing source: cilium/cilium pkg/policy/api/{selector,cidr,rule_validation}.go, pkg/k8s/apis/cilium.io/client/crds.
 */
import { type Cidr, cidrCovers, cidrOf, parseCidr, parseIp } from "../../../addr/index.ts";
import {
  type Fields,
  type LabelSelector,
  type LabelSelectorRequirement,
  labelKeyFaults,
  labelValueFaults,
} from "../../../k8s/index.ts";

const operators = ["In", "NotIn", "Exists", "DoesNotExist"] as const;

/** Absent (or null) gives `undefined`, which is not the same as the empty selector. */
export function decodeCiliumSelector(
  fields: Fields,
  value: unknown,
  path: string,
): LabelSelector | undefined {
  const raw = fields.object(value, path);
  if (raw === undefined) return undefined;
  fields.known(raw, path, ["matchLabels", "matchExpressions"]);
  const matchLabels = fields.map(raw["matchLabels"], `${path}.matchLabels`);
  for (const [key, text] of Object.entries(matchLabels)) {
    const at = `${path}.matchLabels[${key}]`;
    fields.check(`${path}.matchLabels`, key, labelKeyFaults(bareKey(key)), at);
    fields.check(`${path}.matchLabels`, text, labelValueFaults(text), at);
  }
  const matchExpressions = fields
    .list(raw["matchExpressions"], `${path}.matchExpressions`)
    .map((item, i) => decodeRequirement(fields, item, `${path}.matchExpressions[${i}]`));
  return { matchLabels, matchExpressions };
}

function decodeRequirement(fields: Fields, value: unknown, path: string): LabelSelectorRequirement {
  const raw = fields.object(value, path) ?? {};
  fields.known(raw, path, ["key", "operator", "values"]);
  const key = fields.text(raw["key"], `${path}.key`) ?? "";
  if (key === "") fields.required(`${path}.key`);
  else fields.check(`${path}.key`, key, labelKeyFaults(bareKey(key)));
  const operator = fields.oneOfExactly(raw["operator"], `${path}.operator`, operators) ?? "Exists";
  const values = fields.texts(raw["values"], `${path}.values`);
  const takesValues = operator === "In" || operator === "NotIn";
  if (takesValues && values.length === 0)
    fields.required(`${path}.values`, "must be specified when `operator` is 'In' or 'NotIn'");
  if (!takesValues && values.length > 0)
    fields.forbidden(`${path}.values`, "may not be specified when `operator` is 'Exists' or 'DoesNotExist'");
  values.forEach((item, i) => {
    fields.check(`${path}.values[${i}]`, item, labelValueFaults(item));
  });
  return { key, operator, values };
}

/** A key without the source that it may name. */
function bareKey(key: string): string {
  return key.slice(key.indexOf(":") + 1);
}

/** A CIDR, or an address that stands for itself alone. */
export function decodeCiliumCidr(fields: Fields, value: unknown, path: string): Cidr | undefined {
  const text = fields.text(value, path);
  if (text === undefined || text === "") {
    fields.required(path);
    return undefined;
  }
  const ip = parseIp(text);
  const cidr = ip === undefined ? parseCidr(text) : cidrOf(ip, ip.family === 4 ? 32 : 128);
  if (cidr === undefined) fields.invalid(path, text, "must be a CIDR or an IP address");
  return cidr;
}

/** Exceptions, each within `cidr` where that is known. */
export function decodeExceptions(
  fields: Fields,
  value: unknown,
  path: string,
  cidr: Cidr | undefined,
): readonly Cidr[] {
  return fields.list(value, path).flatMap((item, i) => {
    const at = `${path}[${i}]`;
    const hole = decodeCiliumCidr(fields, item, at);
    if (hole === undefined) return [];
    if (cidr !== undefined && !cidrCovers(cidr, hole)) fields.invalid(at, item, "must lie within `cidr`");
    return [hole];
  });
}
