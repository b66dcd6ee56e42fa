/**
 * IPv4 and IPv6 addresses and prefixes as unsigned 32-bit words, most significant first (one word for IPv4, four
 * for IPv6). Text is validated by ip-num, which is strict and slow; it is used once, when text enters, and for IPv6
 * only: dotted quads are the hot case of set dumps and have a parser here that a property test holds to ip-num's.
 * Governing sources: RFC 4291 section 2.2, RFC 5952 (canonical text), RFC 4632.
 */
import { IPv6 } from "ip-num";
import { assert } from "../base/index.ts";

/** IP version. */
export type Family = 4 | 6;

/** An address as 32-bit words, the first most significant: one for IPv4, four for IPv6. */
export interface Ip {
  readonly family: Family;
  readonly words: readonly number[];
}

/** A prefix; host bits may be set, as in manifests. */
export interface Cidr {
  readonly family: Family;
  /** Network address; host bits are zero after `parseCidr`. */
  readonly words: readonly number[];
  /** 0..32 or 0..128. */
  readonly prefix: number;
}

/**
 * `undefined` when the text is not an address. Leading zeros of a dotted quad and zone ids are refused; a dotted tail
 * (`::ffff:10.0.0.1`) is read as the IPv6 address it stands for.
 */
export function parseIp(text: string): Ip | undefined {
  if (!text.includes(":")) {
    const word = parseIpv4Word(text);
    return word === undefined ? undefined : { family: 4, words: [word] };
  }
  if (text.includes("%")) return undefined;
  if (text.includes(".") && parseIpv4Word(text.slice(text.lastIndexOf(":") + 1)) === undefined)
    return undefined;
  try {
    const value = new IPv6(text).getValue();
    const words = [96n, 64n, 32n, 0n].map((shift) => Number((value >> shift) & 0xffffffffn));
    return { family: 6, words };
  } catch {
    return undefined;
  }
}

function parseIpv4Word(text: string): number | undefined {
  const length = text.length;
  if (length < 7 || length > 15) return undefined;
  let word = 0;
  let octet = -1;
  let digits = 0;
  let dots = 0;
  for (let i = 0; i < length; i++) {
    const c = text.charCodeAt(i);
    if (c === 46) {
      if (octet < 0 || ++dots > 3) return undefined;
      word = word * 256 + octet;
      octet = -1;
      digits = 0;
      continue;
    }
    if (c < 48 || c > 57) return undefined;
    if (digits === 1 && octet === 0) return undefined;
    octet = octet < 0 ? c - 48 : octet * 10 + c - 48;
    digits++;
    if (digits > 3 || octet > 255) return undefined;
  }
  return dots === 3 && octet >= 0 ? word * 256 + octet : undefined;
}

/** Canonical text: dotted quad, or RFC 5952 (with the dotted tail of its section 5 for IPv4-mapped addresses). */
export function formatIp(ip: Ip): string {
  return formatWords(ip.family, ip.words);
}

export function formatWords(family: Family, words: readonly number[]): string {
  if (family === 4) return formatIpv4(words[0] ?? 0);
  if (words[0] === 0 && words[1] === 0 && words[2] === 0xffff) return `::ffff:${formatIpv4(words[3] ?? 0)}`;
  const groups: number[] = [];
  for (const word of words) groups.push(word >>> 16, word & 0xffff);
  let bestStart = -1;
  let bestLength = 1; // a single zero group is not compressed
  for (let i = 0; i < 8; ) {
    let j = i;
    while (j < 8 && groups[j] === 0) j++;
    if (j - i > bestLength) {
      bestStart = i;
      bestLength = j - i;
    }
    i = j > i ? j : i + 1;
  }
  const hex = (part: readonly number[]): string => part.map((g) => g.toString(16)).join(":");
  if (bestStart < 0) return hex(groups);
  return `${hex(groups.slice(0, bestStart))}::${hex(groups.slice(bestStart + bestLength))}`;
}

/** Dotted quad of one unsigned 32-bit word. */
export function formatIpv4(word: number): string {
  return `${word >>> 24}.${(word >>> 16) & 255}.${(word >>> 8) & 255}.${word & 255}`;
}

/** An IPv4 address from its 32-bit word. */
export function ipv4(word: number): Ip {
  return { family: 4, words: [word >>> 0] };
}

export function ipEquals(a: Ip, b: Ip): boolean {
  return a.family === b.family && a.words.every((word, i) => word === b.words[i]);
}

/** The address `offset` after `ip`; carries over all words. `offset` may exceed 2^32 for IPv6 (up to 2^53). */
export function ipAdd(ip: Ip, offset: number): Ip {
  const words = [...ip.words];
  let carry = offset;
  for (let i = words.length - 1; i >= 0 && carry > 0; i--) {
    const sum = (words[i] ?? 0) + (carry % 0x1_0000_0000);
    words[i] = sum % 0x1_0000_0000;
    carry = Math.floor(carry / 0x1_0000_0000) + Math.floor(sum / 0x1_0000_0000);
  }
  assert(carry === 0, "address arithmetic left the address space");
  return { family: ip.family, words };
}

/** Mask word `index` (0-based, most significant first) of a prefix length. */
export function maskWord(prefix: number, index: number): number {
  const bits = Math.max(0, Math.min(32, prefix - 32 * index));
  return bits === 0 ? 0 : (0xffffffff << (32 - bits)) >>> 0;
}

/**
 * `undefined` when the text is not `address/prefix`. Host bits are cleared (the lax reading of the API server);
 * `hasHostBits` tells whether there were any.
 */
export function parseCidr(text: string): Cidr | undefined {
  const slash = text.indexOf("/");
  if (slash < 0) return undefined;
  const ip = parseIp(text.slice(0, slash));
  const prefixText = text.slice(slash + 1);
  if (ip === undefined || !/^(0|[1-9][0-9]{0,2})$/.test(prefixText)) return undefined;
  const prefix = Number(prefixText);
  if (prefix > (ip.family === 4 ? 32 : 128)) return undefined;
  return cidrOf(ip, prefix);
}

/** The prefix of length `prefix` that holds `ip`. */
export function cidrOf(ip: Ip, prefix: number): Cidr {
  const words = ip.words.map((word, i) => (word & maskWord(prefix, i)) >>> 0);
  return { family: ip.family, words, prefix };
}

export function hasHostBits(text: string): boolean {
  const ip = parseIp(text.slice(0, text.indexOf("/")));
  const cidr = parseCidr(text);
  return ip !== undefined && cidr !== undefined && !ip.words.every((word, i) => word === cidr.words[i]);
}

/** `address/length`; host bits are kept. */
export function formatCidr(cidr: Cidr): string {
  return `${formatWords(cidr.family, cidr.words)}/${cidr.prefix}`;
}

/** True if the prefix holds the address. */
export function cidrContains(cidr: Cidr, ip: Ip): boolean {
  return cidr.family === ip.family && cidrContainsWords(cidr, ip.words, 0);
}

/** As `cidrContains`, for an address of the prefix's family whose words are `words[at..]`. */
export function cidrContainsWords(cidr: Cidr, words: ArrayLike<number>, at: number): boolean {
  const own = cidr.words;
  for (let i = 0; i < own.length; i++)
    if (((words[at + i] ?? 0) & maskWord(cidr.prefix, i)) >>> 0 !== own[i]) return false;
  return true;
}

/** True if every address of `inner` is in `outer` (equal prefixes included). */
export function cidrCovers(outer: Cidr, inner: Cidr): boolean {
  return outer.prefix <= inner.prefix && cidrContains(outer, { family: inner.family, words: inner.words });
}
