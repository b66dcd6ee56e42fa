/** The ipcache out of what `cilium bpf ipcache list -o json` prints: prefixes, each with one line of `name=value`. */
import { type Cidr, type Ip, parseCidr, parseIp } from "../../../addr/index.ts";
import type { MapEntry } from "../../../filter/bpf/index.ts";
import type { Fields } from "../../../k8s/index.ts";
import { ipcacheEntry, writeAddress } from "../entries.ts";
import { hostIdentity } from "../policy/identities.ts";
import { ipcacheFlags } from "./addresses.ts";

export interface ListedIpcache {
  readonly ipcache: readonly MapEntry[];
  /** Addresses with the identity of the node's own processes. */
  readonly hostIps: readonly Ip[];
  readonly hasFlags: boolean;
}

export function readIpcache(fields: Fields, value: unknown): ListedIpcache {
  if (value === undefined || value === null) fields.required("");
  const ipcache: MapEntry[] = [];
  const hostIps: Ip[] = [];
  let hasFlags = false;
  for (const [key, lines] of Object.entries(fields.object(value, "") ?? {})) {
    const at = `[${key}]`;
    const net = parseCidr(key);
    if (net === undefined)
      fields.invalid(
        "",
        key,
        "must be a prefix such as 10.224.0.5/32 (clusters of a mesh are not emulated)",
        at,
      );
    const [line, second] = fields.texts(lines, at);
    if (line === undefined || second !== undefined) fields.invalid(at, lines, "must be one line");
    if (net === undefined || line === undefined) continue;
    const words = wordsOf(line);
    hasFlags ||= words.has("flags");
    const entry = entryOf(fields, net, words, `${at}[0]`);
    if (entry === undefined) continue;
    ipcache.push(entry);
    if (Number(words.get("identity")) === hostIdentity)
      hostIps.push({ family: net.family, words: net.words });
  }
  return { ipcache, hostIps, hasFlags };
}

function wordsOf(line: string): ReadonlyMap<string, string> {
  return new Map(
    line
      .trim()
      .split(/ +/)
      .map((word) => {
        const equals = word.indexOf("=");
        return equals < 0 ? [word, ""] : [word.slice(0, equals), word.slice(equals + 1)];
      }),
  );
}

const known = ["identity", "encryptkey", "tunnelendpoint", "flags", "nodeid"];

function entryOf(
  fields: Fields,
  net: Cidr,
  words: ReadonlyMap<string, string>,
  at: string,
): MapEntry | undefined {
  const before = fields.issues.length;
  const line = [...words].map((pair) => pair.join("=")).join(" ");
  for (const name of words.keys())
    if (!known.includes(name)) fields.invalid(at, line, `"${name}" is not known; known: ${known.join(", ")}`);
  const number = (name: string, max: number): number => {
    const text = words.get(name) ?? "";
    if (/^[0-9]+$/.test(text) && Number(text) <= max) return Number(text);
    fields.invalid(at, line, `${name} must be a number up to ${max}`);
    return 0;
  };
  const identity = number("identity", 2 ** 32 - 1);
  const encryptKey = words.has("encryptkey") ? number("encryptkey", 255) : 0;
  const tunnel = parseIp(words.get("tunnelendpoint") ?? "0.0.0.0");
  if (tunnel?.family !== 4) fields.invalid(at, line, "tunnelendpoint must be an IPv4 address");
  const flags = flagsOf(fields, words.get("flags") ?? "<none>", line, at);
  if (fields.issues.length > before) return undefined;
  const entry = ipcacheEntry(net, identity);
  const view = new DataView(entry.value.buffer);
  writeAddress(view, 4, tunnel);
  view.setUint8(10, encryptKey);
  view.setUint8(11, flags);
  return entry;
}

function flagsOf(fields: Fields, text: string, line: string, at: string): number {
  if (text === "<none>") return 0;
  let flags = 0;
  for (const name of text.split(",")) {
    const bit = ipcacheFlags.indexOf(name);
    if (bit < 0) fields.invalid(at, line, `flag "${name}" is not known; known: ${ipcacheFlags.join(", ")}`);
    else flags |= 1 << bit;
  }
  return flags;
}
