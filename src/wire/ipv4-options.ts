/**
 * Options of IPv4 headers (RFC 791 section 3.1; router alert RFC 2113) as type and data. Filters look at their length
 * only, so that `Ipv4Repr` keeps them raw; this module makes and reads them.
 */
import { fault, type Parsed, parsed } from "./bytes.ts";

export const Ipv4OptionType = {
  end: 0,
  nop: 1,
  recordRoute: 7,
  timestamp: 68,
  looseSourceRoute: 131,
  strictSourceRoute: 137,
  routerAlert: 148,
} as const;

/** One option of an IPv4 header. */
export interface Ipv4Option {
  /** Copied flag, class and number, as one byte. */
  readonly type: number;
  /** Without type and length bytes; empty for `end` and `nop`. */
  readonly data: Uint8Array;
}

export const ipv4OptionsSizeMax = 40;

/** What follows `end` is padding. */
export function parseIpv4Options(bytes: Uint8Array): Parsed<readonly Ipv4Option[]> {
  const options: Ipv4Option[] = [];
  for (let at = 0; at < bytes.length; ) {
    const type = bytes[at]!;
    if (type <= Ipv4OptionType.nop) {
      options.push({ type, data: new Uint8Array(0) });
      if (type === Ipv4OptionType.end) break;
      at++;
      continue;
    }
    const size = at + 1 < bytes.length ? bytes[at + 1]! : 0;
    if (size < 2 || at + size > bytes.length) return fault("bad-length");
    options.push({ type, data: bytes.slice(at + 2, at + size) });
    at += size;
  }
  return parsed(options);
}

/** The bytes for `Ipv4Repr.options`, filled with zeros (`end`) up to a multiple of four. */
export function emitIpv4Options(options: readonly Ipv4Option[]): Uint8Array {
  const bytes: number[] = [];
  for (const { type, data } of options)
    if (type <= Ipv4OptionType.nop) bytes.push(type);
    else bytes.push(type, data.length + 2, ...data);
  while (bytes.length % 4 !== 0) bytes.push(Ipv4OptionType.end);
  return Uint8Array.from(bytes);
}
