/**
 * Keys of set members in packed words: one to four words an address, one word each for a port (protocol in the upper half),
 * an interface (an interned number) and a mark. The same layout is filled from an entry and from a packet.
 */
import { type Cidr, maskWord } from "../../addr/index.ts";
import { assert } from "../../base/index.ts";
import { DecodeStatus, type PacketBatch } from "../../packet/index.ts";
import { IpProtocol } from "../../wire/index.ts";
import type { IpsetEntry } from "./repr.ts";
import type { SetShape } from "./shape.ts";
import { strideMax } from "./table.ts";

/** Filled by the functions here: read at once, it is reused. */
export const scratchKey: Uint32Array = new Uint32Array(strideMax);

const interfaceIds = new Map<string, number>();
const interfaceNames: string[] = [""];

/** One number for each name of an interface, from 1; the same in all sets. */
export function internInterface(name: string): number {
  const known = interfaceIds.get(name);
  if (known !== undefined) return known;
  interfaceIds.set(name, interfaceNames.length);
  return interfaceNames.push(name) - 1;
}

export function keyStride({ parts, addresses }: SetShape, family: 4 | 6): number {
  return parts.length + addresses * (family === 4 ? 0 : 3);
}

/** Prefix lengths of an entry's addresses, first * 256 + second; a host's where the type has no second. */
export function prefixesOf(entry: IpsetEntry, family: 4 | 6): number {
  const host = family === 4 ? 32 : 128;
  return (entry.net?.prefix ?? host) * 256 + (entry.net2?.prefix ?? host);
}

/** Writes the entry's key into `scratchKey`. */
export function fillFromEntry(shape: SetShape, family: 4 | 6, entry: IpsetEntry): void {
  let at = 0;
  let isSecond = false;
  for (const part of shape.parts) {
    switch (part) {
      case "ip":
      case "net": {
        const net: Cidr | undefined = isSecond ? entry.net2 : entry.net;
        assert(net !== undefined && net.family === family, "entry of another address family");
        for (const word of net.words) scratchKey[at++] = word;
        isSecond = true;
        break;
      }
      case "port":
        assert(entry.port !== undefined, "an entry with a port dimension has a port");
        scratchKey[at++] = (((entry.protocol ?? 0) << 16) | entry.port) >>> 0;
        break;
      case "iface":
        scratchKey[at++] = internInterface(entry.iface ?? "");
        break;
      case "mark":
        scratchKey[at++] = entry.mark ?? 0;
        break;
    }
  }
}

/** The key parts of an entry, read back from `key`. */
export function entryOfKey(shape: SetShape, family: 4 | 6, prefixes: number, key: Uint32Array): IpsetEntry {
  const words = family === 4 ? 1 : 4;
  const entry: { -readonly [K in keyof IpsetEntry]: IpsetEntry[K] } = {};
  let at = 0;
  for (const part of shape.parts) {
    switch (part) {
      case "ip":
      case "net": {
        const prefix = entry.net === undefined ? prefixes >>> 8 : prefixes & 0xff;
        const net: Cidr = { family, words: [...key.subarray(at, at + words)], prefix };
        if (entry.net === undefined) entry.net = net;
        else entry.net2 = net;
        at += words;
        break;
      }
      case "port":
        if (!shape.isBitmap) entry.protocol = key[at]! >>> 16;
        entry.port = key[at++]! & 0xffff;
        break;
      case "iface":
        entry.iface = interfaceNames[key[at++]!] ?? "";
        break;
      case "mark":
        entry.mark = key[at++]!;
        break;
    }
  }
  return entry;
}

/** Numbers of `internInterface` by interface number of the node. */
export type InterfaceIds = ArrayLike<number>;

/**
 * Writes the parts that no prefix length changes (all but addresses). Returns false where the packet lacks one of them: then
 * it is in no set of the type.
 */
export function fillFixedParts(
  shape: SetShape,
  family: 4 | 6,
  batch: PacketBatch,
  row: number,
  dimensions: number,
  interfaces: InterfaceIds,
): boolean {
  const words = family === 4 ? 1 : 4;
  let at = 0;
  for (let i = 0; i < shape.parts.length; i++) {
    const isSrc = ((dimensions >>> i) & 1) !== 0;
    switch (shape.parts[i]) {
      case "port": {
        const port = shape.isBitmap ? plainPort(batch, row, isSrc) : portWord(batch, row, isSrc);
        if (port < 0) return false;
        scratchKey[at++] = port;
        break;
      }
      case "iface": {
        const id = interfaces[isSrc ? batch.state.iif[row]! : batch.state.oif[row]!] ?? 0;
        if (id === 0) return false;
        scratchKey[at++] = id;
        break;
      }
      case "mark":
        scratchKey[at++] = batch.state.mark[row]!;
        break;
      default:
        at += words;
    }
  }
  return true;
}

/** Writes the packet's addresses, cut to the prefix lengths of `prefixesOf`. */
export function fillAddresses(
  shape: SetShape,
  family: 4 | 6,
  batch: PacketBatch,
  row: number,
  dimensions: number,
  prefixes: number,
): void {
  const words = family === 4 ? 1 : 4;
  let at = 0;
  let prefix = prefixes >>> 8;
  for (let i = 0; i < shape.parts.length; i++) {
    const part = shape.parts[i];
    if (part !== "ip" && part !== "net") {
      at++;
      continue;
    }
    const column = ((dimensions >>> i) & 1) !== 0 ? batch.src : batch.dst;
    for (let w = 0; w < words; w++) scratchKey[at++] = (column[row * 4 + w]! & maskWord(prefix, w)) >>> 0;
    prefix = prefixes & 0xff;
  }
}

/** Protocol and port as a key word; -1 where the header is missing. ICMP's port is type and code; others have port 0. */
function portWord(batch: PacketBatch, row: number, isSrc: boolean): number {
  const protocol = batch.protocol[row]!;
  if (protocol === 0) return -1;
  const isReadable = batch.status[row] === DecodeStatus.ok;
  if (!isReadable && (hasPortKey(protocol) || batch.status[row] !== DecodeStatus.laterFragment)) return -1;
  const isIcmp = protocol === IpProtocol.icmp || protocol === IpProtocol.icmpv6;
  return ((protocol << 16) | (isSrc && !isIcmp ? batch.sport[row]! : batch.dport[row]!)) >>> 0;
}

/** Port of a TCP or UDP packet, for `bitmap:port`; -1 for others. */
function plainPort(batch: PacketBatch, row: number, isSrc: boolean): number {
  const protocol = batch.protocol[row]!;
  const isKnown = protocol === IpProtocol.tcp || protocol === IpProtocol.udp;
  if (!isKnown || batch.status[row] !== DecodeStatus.ok) return -1;
  return isSrc ? batch.sport[row]! : batch.dport[row]!;
}

/** Protocols whose packets have a "port" for a set (ip_set_get_ip4_port): ICMP's is type and code; others count as 0. */
function hasPortKey(protocol: number): boolean {
  return (
    protocol === IpProtocol.tcp ||
    protocol === IpProtocol.udp ||
    protocol === IpProtocol.sctp ||
    protocol === IpProtocol.icmp ||
    protocol === IpProtocol.icmpv6
  );
}
