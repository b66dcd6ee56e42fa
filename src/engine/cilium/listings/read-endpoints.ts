/**
 * Endpoints out of what `cilium endpoint list -o json` prints. Of the agent's large model only that is read which says
 * who an endpoint is; other fields are left alone.
 */
import { type Ip, parseIp } from "../../../addr/index.ts";
import type { Fields } from "../../../k8s/index.ts";
import type { ListedEndpoint } from "./read.ts";

type RawFields = Readonly<Record<string, unknown>>;

/** `policies`: what has a policy map; `undefined` where that is not known. */
export function readEndpoints(
  fields: Fields,
  value: unknown,
  policies: ReadonlyMap<number, unknown> | undefined,
): readonly ListedEndpoint[] {
  if (value === undefined || value === null) fields.required("");
  const ids = new Set<number>();
  return fields.list(value, "").flatMap((item, i): ListedEndpoint[] => {
    const at = `[${i}]`;
    const raw = fields.object(item, at) ?? {};
    const id = number(fields, raw["id"], `${at}.id`, 65_535);
    if (ids.has(id)) fields.duplicate(`${at}.id`, id);
    ids.add(id);
    const status = child(fields, raw, at, "status");
    const { path } = status;
    const identity = child(fields, status.raw, path, "identity");
    const networking = child(fields, status.raw, path, "networking");
    const ips = addresses(fields, networking.raw["addressing"], `${networking.path}.addressing`);
    if (ips.length > 0 && policies?.has(id) === false)
      fields.invalid(
        `${at}.id`,
        id,
        "has addresses and no policy map: list it too (--all, or policy-ID.json)",
      );
    return [
      {
        id,
        identity: number(fields, identity.raw["id"], `${identity.path}.id`, 2 ** 32 - 1),
        ips,
        interface: fields.text(networking.raw["interface-name"], `${networking.path}.interface-name`) ?? "",
      },
    ];
  });
}

function child(
  fields: Fields,
  raw: RawFields,
  at: string,
  name: string,
): { readonly raw: RawFields; readonly path: string } {
  const path = `${at}.${name}`;
  const value = fields.object(raw[name], path);
  if (raw[name] === undefined || raw[name] === null) fields.required(path);
  return { raw: value ?? {}, path };
}

/** 1 to `max`. */
function number(fields: Fields, value: unknown, at: string, max: number): number {
  const read = fields.integer(value, at);
  if (value === undefined || value === null) fields.required(at);
  else if (read !== undefined && (read < 1 || read > max)) fields.invalid(at, read, `must be 1 to ${max}`);
  return read ?? 0;
}

function addresses(fields: Fields, value: unknown, at: string): readonly Ip[] {
  return fields.list(value, at).flatMap((item, i) => {
    const raw = fields.object(item, `${at}[${i}]`) ?? {};
    return (["ipv4", "ipv6"] as const).flatMap((name): Ip[] => {
      const path = `${at}[${i}].${name}`;
      const text = fields.text(raw[name], path) ?? "";
      if (text === "") return [];
      const ip = parseIp(text);
      if (ip === undefined) fields.invalid(path, text, "must be an IP address");
      return ip === undefined ? [] : [ip];
    });
  });
}
