/**
 * `ipset save` text of sets: what ipset 7 prints, without `bucketsize` and `initval`, which no verdict depends on, and with
 * `forceadd`, which ipset 7.17 forgets to print, so that what is restored is the same set.
 * Lists stand after all other sets, so that the text can be restored. Governing source: ipset(8).
 */
import { formatIpv4 } from "../../addr/index.ts";
import { elementText } from "./element.ts";
import type { IpsetEntry, IpsetRepr } from "./repr.ts";
import { shapeOf } from "./shape.ts";

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
  const options = [
    set.netmask === undefined ? "" : ` netmask ${set.netmask}`,
    set.timeout === undefined ? "" : ` timeout ${set.timeout}`,
    set.counters ? " counters" : "",
    set.comment ? " comment" : "",
    set.skbinfo ? " skbinfo" : "",
    set.forceadd ? " forceadd" : "",
  ].join("");
  if (set.type === "list:set") return `create ${set.name} list:set size ${set.maxelem}${options}`;
  if (shapeOf(set.type).isBitmap) return `create ${set.name} ${set.type} range ${rangeText(set)}${options}`;
  const family = set.family === 4 ? "inet" : "inet6";
  return `create ${set.name} ${set.type} family ${family} hashsize ${set.hashsize} maxelem ${set.maxelem}${options}`;
}

function rangeText({ type, range = [0, 0] }: IpsetRepr): string {
  return range.map((value) => (type === "bitmap:port" ? String(value) : formatIpv4(value))).join("-");
}

/** One element with what it carries: `10.0.0.0/8 nomatch`, `10.0.0.1,tcp:80 timeout 5 packets 1 bytes 60`. */
export function entryText(entry: IpsetEntry): string {
  const hex = (value: number): string => `0x${value.toString(16)}`;
  return [
    elementText(entry),
    entry.timeout === undefined ? "" : ` timeout ${entry.timeout}`,
    entry.nomatch ? " nomatch" : "",
    entry.packets === undefined ? "" : ` packets ${entry.packets} bytes ${entry.bytes ?? 0}`,
    entry.comment === undefined ? "" : ` comment "${entry.comment}"`,
    entry.skbmark === undefined ? "" : ` skbmark ${markText(entry.skbmark, hex)}`,
    entry.skbprio === undefined ? "" : ` skbprio ${entry.skbprio.map((part) => part.toString(16)).join(":")}`,
    entry.skbqueue === undefined ? "" : ` skbqueue ${entry.skbqueue}`,
  ].join("");
}

function markText([value, mask]: readonly [number, number], hex: (value: number) => string): string {
  return mask === 0xffffffff ? hex(value) : `${hex(value)}/${hex(mask)}`;
}
