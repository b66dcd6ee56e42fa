/**
 * `ipset save` text of sets: what ipset 7 prints, without `bucketsize` and `initval`, which no verdict depends on.
 * Lists stand after all other sets, so that the text can be restored. Governing source: ipset(8).
 */
import { formatWords } from "../../addr/index.ts";
import { assert } from "../../base/index.ts";
import { IpProtocol, protocolName } from "../../wire/index.ts";
import type { IpsetEntry, IpsetRepr } from "./repr.ts";

/** Titles are no part of the text. */
export function saveIpsets(sets: Iterable<IpsetRepr>): string {
  const all = [...sets];
  const ordered = [
    ...all.filter(({ type }) => type !== "list:set"),
    ...all.filter(({ type }) => type === "list:set"),
  ];
  const lines: string[] = [];
  for (const set of ordered) {
    lines.push(createText(set));
    for (const entry of set.entries) lines.push(`add ${set.name} ${entryText(entry)}`);
  }
  return lines.map((line) => `${line}\n`).join("");
}

function createText(set: IpsetRepr): string {
  if (set.type === "list:set") return `create ${set.name} list:set size ${set.maxelem}`;
  const family = set.family === 4 ? "inet" : "inet6";
  return `create ${set.name} ${set.type} family ${family} hashsize ${set.hashsize} maxelem ${set.maxelem}`;
}

/** One element as ipset(8) writes it: `10.0.0.0/8 nomatch`, `10.0.0.1,tcp:80`, a set's name. */
export function entryText(entry: IpsetEntry): string {
  if (entry.set !== undefined) return entry.set;
  const nomatch = entry.nomatch ? " nomatch" : "";
  const { net } = entry;
  assert(net !== undefined, "an entry has an address or names a set");
  const address = formatWords(net.family, net.words);
  const host = net.prefix === (net.family === 4 ? 32 : 128) ? address : `${address}/${net.prefix}`;
  if (entry.protocol === undefined || entry.port === undefined) return `${host}${nomatch}`;
  return `${host},${protocolName(entry.protocol)}:${portText(entry.protocol, entry.port)}${nomatch}`;
}

/** Types of echo in the "port" (type * 256 + code) of an ICMP element, as ipset prints them. */
export const icmpNames: Readonly<Record<number, Readonly<Record<string, number>>>> = {
  [IpProtocol.icmp]: { "echo-request": 0x0800, "echo-reply": 0x0000 },
  [IpProtocol.icmpv6]: { "echo-request": 0x8000, "echo-reply": 0x8100 },
};

function portText(protocol: number, port: number): string {
  const names = icmpNames[protocol];
  if (names === undefined) return String(port);
  return Object.keys(names).find((name) => names[name] === port) ?? `${port >>> 8}/${port & 0xff}`;
}
