/**
 * IPv6 headers and the extension headers of RFC 8200 (hop-by-hop, routing, fragment, destination options) and the
 * Authentication Header's length rule (RFC 4302). `walkExtensions` is the one place that skips over them.
 */
import { formatWords } from "../addr/index.ts";
import {
  fault,
  type Parsed,
  parsed,
  readU16,
  readU32,
  readWords,
  writeU16,
  writeU32,
  writeWords,
} from "./bytes.ts";

export const ipv6HeaderSize = 40;

export const NextHeader = {
  hopByHop: 0,
  routing: 43,
  fragment: 44,
  authentication: 51,
  none: 59,
  destinationOptions: 60,
} as const;

export interface ExtensionHeader {
  readonly type: number;
  /** The whole header but its first byte (next header): length byte and data. */
  readonly body: Uint8Array;
}

export interface Ipv6Repr {
  /** DSCP in the upper six bits, ECN in the lower two. */
  readonly trafficClass: number;
  /** 20 bits. */
  readonly flowLabel: number;
  readonly hopLimit: number;
  readonly src: readonly number[];
  readonly dst: readonly number[];
  readonly extensions: readonly ExtensionHeader[];
  /** Protocol of the payload, after the extension headers. */
  readonly protocol: number;
  readonly payload: Uint8Array;
}

export interface Ipv6Overrides {
  readonly payloadLength?: number;
}

/** Where the extension headers of a packet end. */
export interface ExtensionWalk {
  readonly protocol: number;
  /** Offset of the transport header from the start of the packet. */
  readonly offset: number;
  /** Offset of the fragment header; 0 when there is none. */
  readonly fragmentAt: number;
  /** In bytes. A later fragment's walk ends at its fragment header. */
  readonly fragmentOffset: number;
  readonly moreFragments: boolean;
}

/** Length in bytes of the extension header of `type` at `at`, or 0 if `type` is none that can be skipped. */
export function extensionSize(type: number, bytes: Uint8Array, at: number): number {
  switch (type) {
    case NextHeader.hopByHop:
    case NextHeader.routing:
    case NextHeader.destinationOptions:
      return (bytes[at + 1]! + 1) * 8;
    case NextHeader.fragment:
      return 8;
    case NextHeader.authentication:
      return (bytes[at + 1]! + 2) * 4;
    default:
      return 0;
  }
}

export function walkExtensions(bytes: Uint8Array, start: number, end: number): Parsed<ExtensionWalk> {
  let protocol = bytes[start + 6]!;
  let at = start + ipv6HeaderSize;
  let fragmentAt = 0;
  let fragmentOffset = 0;
  let moreFragments = false;
  for (;;) {
    const known = protocol === NextHeader.fragment || extensionSize(protocol, bytes, start) > 0;
    if (!known) break;
    if (at + 8 > end) return fault("truncated");
    const size = extensionSize(protocol, bytes, at);
    if (at + size > end) return fault("truncated");
    if (protocol === NextHeader.fragment) {
      const field = readU16(bytes, at + 2);
      fragmentAt = at - start;
      fragmentOffset = field & 0xfff8;
      moreFragments = (field & 1) !== 0;
    }
    protocol = bytes[at]!;
    at += size;
    if (fragmentOffset > 0) break; // what follows is the middle of something
  }
  return parsed({ protocol, offset: at - start, fragmentAt, fragmentOffset, moreFragments });
}

export function parseIpv6(bytes: Uint8Array, start = 0, end: number = bytes.length): Parsed<Ipv6Repr> {
  if (end - start < ipv6HeaderSize) return fault("truncated");
  if (bytes[start]! >>> 4 !== 6) return fault("bad-version");
  const payloadEnd = start + ipv6HeaderSize + readU16(bytes, start + 4);
  if (payloadEnd > end) return fault("truncated");
  const walk = walkExtensions(bytes, start, payloadEnd);
  if (!walk.ok) return walk;
  const extensions: ExtensionHeader[] = [];
  let type = bytes[start + 6]!;
  let at = start + ipv6HeaderSize;
  while (at < start + walk.value.offset) {
    const size = extensionSize(type, bytes, at);
    extensions.push({ type, body: bytes.slice(at + 1, at + size) });
    type = bytes[at]!;
    at += size;
  }
  const first = readU32(bytes, start);
  return parsed({
    trafficClass: (first >>> 20) & 0xff,
    flowLabel: first & 0xfffff,
    hopLimit: bytes[start + 7]!,
    src: readWords(bytes, start + 8, 4),
    dst: readWords(bytes, start + 24, 4),
    extensions,
    protocol: walk.value.protocol,
    payload: bytes.slice(start + walk.value.offset, payloadEnd),
  });
}

export function sizeIpv6(repr: Ipv6Repr): number {
  return repr.extensions.reduce((size, e) => size + e.body.length + 1, ipv6HeaderSize) + repr.payload.length;
}

export function emitIpv6(
  repr: Ipv6Repr,
  bytes: Uint8Array,
  start = 0,
  overrides: Ipv6Overrides = {},
): number {
  const size = sizeIpv6(repr);
  writeU32(bytes, start, ((6 << 28) | (repr.trafficClass << 20) | repr.flowLabel) >>> 0);
  writeU16(bytes, start + 4, overrides.payloadLength ?? size - ipv6HeaderSize);
  bytes[start + 6] = repr.extensions[0]?.type ?? repr.protocol;
  bytes[start + 7] = repr.hopLimit;
  writeWords(bytes, start + 8, repr.src);
  writeWords(bytes, start + 24, repr.dst);
  let at = start + ipv6HeaderSize;
  repr.extensions.forEach((extension, i) => {
    bytes[at] = repr.extensions[i + 1]?.type ?? repr.protocol;
    bytes.set(extension.body, at + 1);
    at += extension.body.length + 1;
  });
  bytes.set(repr.payload, at);
  return size;
}

/** A fragment header (RFC 8200 section 4.5); `offset` in bytes, a multiple of 8. */
export function fragmentHeader(offset: number, more: boolean, identification: number): ExtensionHeader {
  const body = new Uint8Array(7);
  writeU16(body, 1, offset | (more ? 1 : 0));
  writeU32(body, 3, identification);
  return { type: NextHeader.fragment, body };
}

/** A hop-by-hop or destination options header that holds only padding: `units` of 8 bytes, from 1. */
export function optionsHeader(type: number, units = 1): ExtensionHeader {
  const body = new Uint8Array(units * 8 - 1);
  body[0] = units - 1;
  body[1] = 1; // PadN
  body[2] = units * 8 - 4;
  return { type, body };
}

export function printIpv6(repr: Ipv6Repr): string {
  const [src, dst] = [formatWords(6, repr.src), formatWords(6, repr.dst)];
  return `IP6 ${src} > ${dst}: next-header ${repr.protocol}, hlim ${repr.hopLimit}`;
}
