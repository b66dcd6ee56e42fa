/**
 * What of a `toPorts` element a proxy would look at, and names instead of addresses: nothing of it decides here, but
 * nothing of it is passed over either. What the CRD refuses is a mistake of the manifest; what the agent alone refuses
 * takes the policy with it and is said where the policy is resolved.
 * Governing source: cilium/cilium pkg/policy/api/{l4,l7,http,kafka,fqdn,rule_validation}.go.
 */
import type { Fields } from "../../../k8s/index.ts";
import type { BeyondField } from "./spec.ts";

type RawFields = Readonly<Record<string, unknown>>;

/** Priorities of listeners (pkg/policy/types): of two redirects the lower number wins. */
const listener = { http: 101, kafka: 106, l7proto: 111, tls: 116, dns: 121, crd: 126 } as const;

/** Fields of a `toPorts` element, with the listener that they need. */
export const layer7: Readonly<Record<string, number>> = {
  terminatingTLS: listener.tls,
  originatingTLS: listener.tls,
  serverNames: listener.tls,
  listener: listener.crd,
};

const kinds = ["http", "kafka", "dns", "l7proto"] as const;

const has = (raw: RawFields, name: string): boolean => raw[name] !== undefined && raw[name] !== null;

/** Priority of the listener that the ports of this element are redirected to; 0: none. */
export function decodeLayer7(
  fields: Fields,
  raw: RawFields,
  path: string,
  isIngress: boolean,
  beyond: BeyondField[],
): number {
  let redirect = 0;
  const note = (at: string, priority: number): void => {
    beyond.push({ path: at, need: "l7" });
    redirect = redirect === 0 ? priority : Math.min(redirect, priority);
  };
  for (const [name, priority] of Object.entries(layer7))
    if (has(raw, name)) note(`${path}.${name}`, priority);
  const rules = fields.object(raw["rules"], `${path}.rules`) ?? {};
  const found = kinds.filter((kind) => has(rules, kind));
  for (const kind of found) note(`${path}.rules.${kind}`, listener[kind]);
  decodeRules(fields, rules, `${path}.rules`);
  for (const name of ["terminatingTLS", "originatingTLS"]) decodeTls(fields, raw[name], `${path}.${name}`);
  fields.texts(raw["serverNames"], `${path}.serverNames`);
  decodeListener(fields, raw["listener"], `${path}.listener`);
  beyond.push(...refusedByAgent(raw, path, isIngress, found));
  return redirect;
}

/** What the CRD lets through and the agent does not (PortRule.sanitize). */
function refusedByAgent(
  raw: RawFields,
  path: string,
  isIngress: boolean,
  found: readonly string[],
): readonly BeyondField[] {
  const [hasRules, isDns] = [found.length > 0, found.includes("dns")];
  const refused: BeyondField[] = [];
  const check = (isWrong: boolean, at: string, why: string): void => {
    if (isWrong) refused.push({ path: `${path}.${at}`, need: "other", why });
  };
  check(isDns && isIngress, "rules.dns", "DNS rules are not allowed on ingress");
  const names = Array.isArray(raw["serverNames"]) ? (raw["serverNames"] as readonly unknown[]) : [];
  check(names.includes(""), "serverNames", "Empty server name is not allowed");
  check(
    names.length > 0 && hasRules && !has(raw, "terminatingTLS"),
    "serverNames",
    "ServerNames are not allowed with L7 rules without TLS termination",
  );
  check(has(raw, "listener") && isIngress, "listener", "Listener is not allowed on ingress");
  check(has(raw, "listener") && hasRules, "listener", "Listener is not allowed with L7 rules");
  const ports = Array.isArray(raw["ports"]) ? (raw["ports"] as readonly (RawFields | null)[]) : [];
  check(isDns && ports.length === 0, "ports", "Port 53 must be specified for DNS rules");
  for (const [i, one] of ports.entries()) {
    const { port, endPort, protocol = "ANY" } = one ?? {};
    const at = `ports[${i}]`;
    const other = `L7 rules can only apply to TCP (not ${String(protocol)}) except for DNS rules`;
    check(hasRules && !isDns && protocol !== "TCP", `${at}.protocol`, other);
    check(hasRules && port === "0", `${at}.port`, "L7 rules can not be used when a port is 0");
    check(
      isDns && typeof endPort === "number" && endPort > Number(port),
      `${at}.endPort`,
      "DNS rules do not support port ranges",
    );
  }
  return refused;
}

function decodeRules(fields: Fields, raw: RawFields, path: string): void {
  fields.known(raw, path, ["http", "kafka", "dns", "l7", "l7proto"]);
  const found = kinds.filter((kind) => has(raw, kind));
  if (found.length > 1) fields.invalid(path, found, "may hold rules of one protocol only");
  if (has(raw, "l7") && !has(raw, "l7proto"))
    fields.required(`${path}.l7proto`, "must be specified when `l7` is");
  fields.text(raw["l7proto"], `${path}.l7proto`);
  each(fields, raw["http"], `${path}.http`, (rule, at) => {
    fields.known(rule, at, ["path", "method", "host", "headers", "headerMatches"]);
    for (const name of ["path", "method", "host"]) fields.text(rule[name], `${at}.${name}`);
    fields.texts(rule["headers"], `${at}.headers`);
    each(fields, rule["headerMatches"], `${at}.headerMatches`, (match, where) => {
      fields.known(match, where, ["mismatch", "name", "secret", "value"]);
      if (!has(match, "name")) fields.required(`${where}.name`);
    });
  });
  each(fields, raw["kafka"], `${path}.kafka`, (rule, at) => {
    fields.known(rule, at, ["role", "apiKey", "apiVersion", "clientID", "topic"]);
    if (has(rule, "role") && has(rule, "apiKey"))
      fields.forbidden(`${at}.apiKey`, "may not be specified together with role");
  });
  each(fields, raw["dns"], `${path}.dns`, (rule, at) => decodeName(fields, rule, at));
  each(fields, raw["l7"], `${path}.l7`, (rule, at) => fields.map(rule, at));
}

function each(
  fields: Fields,
  value: unknown,
  path: string,
  decode: (raw: RawFields, at: string) => void,
): void {
  fields.list(value, path).forEach((item, i) => {
    const raw = fields.object(item, `${path}[${i}]`);
    if (raw !== undefined) decode(raw, `${path}[${i}]`);
  });
}

/** Of `toFQDNs`, and of `dns`: a name, or a pattern of names. */
export function decodeName(fields: Fields, raw: RawFields, path: string): void {
  fields.known(raw, path, ["matchName", "matchPattern"]);
  const [name, pattern] = [raw["matchName"], raw["matchPattern"]].map((one) => one ?? "");
  if (name === "" && pattern === "") fields.required(path, "one of matchName or matchPattern is needed");
  if (name !== "" && pattern !== "")
    fields.forbidden(`${path}.matchPattern`, "only one of matchName or matchPattern is allowed");
  const check = (field: string, allowed: RegExp): void => {
    const text = fields.text(raw[field], `${path}.${field}`) ?? "";
    if (text !== "" && !allowed.test(text))
      fields.invalid(`${path}.${field}`, text, `must match ${allowed.source}`);
  };
  check("matchName", /^([-a-zA-Z0-9_]+[.]?)+$/);
  check("matchPattern", /^([-a-zA-Z0-9_*]+[.]?)+$/);
}

function decodeTls(fields: Fields, value: unknown, path: string): void {
  const raw = fields.object(value, path);
  if (raw === undefined) return;
  fields.known(raw, path, ["secret", "trustedCA", "certificate", "privateKey"]);
  const secret = fields.object(raw["secret"], `${path}.secret`);
  if (secret === undefined) fields.required(`${path}.secret`);
  else fields.known(secret, `${path}.secret`, ["namespace", "name"]);
}

function decodeListener(fields: Fields, value: unknown, path: string): void {
  const raw = fields.object(value, path);
  if (raw === undefined) return;
  fields.known(raw, path, ["envoyConfig", "name", "priority"]);
  if (!has(raw, "name")) fields.required(`${path}.name`);
  const config = fields.object(raw["envoyConfig"], `${path}.envoyConfig`);
  if (config === undefined) fields.required(`${path}.envoyConfig`);
  else fields.known(config, `${path}.envoyConfig`, ["kind", "name"]);
  const priority = fields.integer(raw["priority"], `${path}.priority`) ?? 0;
  if (priority < 0 || priority > 100)
    fields.invalid(`${path}.priority`, priority, "must be between 0 and 100");
}
