/**
 * IPv6 headers and the extension headers of RFC 8200 (hop-by-hop, routing, fragment, destination options) and the
 * Authentication Header's length rule (RFC 4302). `walkExtensions` is the one place that skips over them.
 */
import { formatWords } from "../addr/index.ts";
import { assert } from "../base/index.ts";
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

export const Ipv6Field = { payloadLength: 4, nextHeader: 6, hopLimit: 7, src: 8, dst: 24 } as const;

export const NextHeader = {
  hopByHop: 0,
  routing: 43,
  fragment: 44,
  authentication: 51,
  none: 59,
  destinationOptions: 60,
} as const;

/** An IPv6 extension header as it stands in a packet. */
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
  let protocol = bytes[start + Ipv6Field.nextHeader]!;
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
  const payloadEnd = start + ipv6HeaderSize + readU16(bytes, start + Ipv6Field.payloadLength);
  if (payloadEnd > end) return fault("truncated");
  const walk = walkExtensions(bytes, start, payloadEnd);
  if (!walk.ok) return walk;
  const extensions: ExtensionHeader[] = [];
  let type = bytes[start + Ipv6Field.nextHeader]!;
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
    hopLimit: bytes[start + Ipv6Field.hopLimit]!,
    src: readWords(bytes, start + Ipv6Field.src, 4),
    dst: readWords(bytes, start + Ipv6Field.dst, 4),
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

/**
 * The destination that transport checksums cover: with a routing header on its way (segments left), the last address
 * of its list (RFC 8200 section 8.1; types 0 and 2; type 4, RFC 8754, lists its segments in reverse).
 */
export function finalDestination(repr: Pick<Ipv6Repr, "dst" | "extensions">): readonly number[] {
  const routing = repr.extensions.find(({ type }) => type === NextHeader.routing)?.body;
  if (routing === undefined || routing.length < 7 + 16 || routing[2] === 0) return repr.dst;
  if (routing[1] === 0 || routing[1] === 2) return readWords(routing, routing.length - 16, 4);
  return routing[1] === 4 ? readWords(routing, 7, 4) : repr.dst;
}

/** A fragment header (RFC 8200 section 4.5); `offset` in bytes, a multiple of 8. */
export function fragmentHeader(offset: number, more: boolean, identification: number): ExtensionHeader {
  const body = new Uint8Array(7);
  writeU16(body, 1, offset | (more ? 1 : 0));
  writeU32(body, 3, identification);
  return { type: NextHeader.fragment, body };
}

/** An option of a hop-by-hop or destination options header. */
export interface Ipv6Option {
  readonly type: number;
  readonly data: Uint8Array;
}

/** A hop-by-hop or destination options header; padded with PadN and Pad1 to a multiple of eight bytes. */
export function optionsHeader(
  type: typeof NextHeader.hopByHop | typeof NextHeader.destinationOptions,
  options: readonly Ipv6Option[] = [],
): ExtensionHeader {
  const content = options.flatMap((option) => [option.type, option.data.length, ...option.data]);
  const padding = (8 - ((2 + content.length) % 8)) % 8;
  if (padding === 1) content.push(0);
  else if (padding > 1) content.push(1, padding - 2, ...new Array<number>(padding - 2).fill(0));
  const size = 2 + content.length;
  assert(size <= 2048, "options do not fit one header");
  return { type, body: Uint8Array.from([size / 8 - 1, ...content]) };
}

/** `data` follows the four fixed bytes: a multiple of eight bytes and four more (reserved word, then addresses). */
export function routingHeader(routingType: number, segmentsLeft: number, data: Uint8Array): ExtensionHeader {
  assert(data.length % 8 === 4 && data.length <= 2044, "a routing header is a multiple of eight bytes");
  const body = Uint8Array.from([(data.length + 4) / 8 - 1, routingType, segmentsLeft, ...data]);
  return { type: NextHeader.routing, body };
}

/** RFC 4302; `icv` must make the header a multiple of eight bytes (4, 12, 20...). */
export function authenticationHeader(spi: number, sequence: number, icv: Uint8Array): ExtensionHeader {
  assert(icv.length % 8 === 4 && icv.length <= 1012, "an authentication header is a multiple of eight bytes");
  const body = new Uint8Array(11 + icv.length);
  body[0] = (12 + icv.length) / 4 - 2;
  writeU32(body, 3, spi);
  writeU32(body, 7, sequence);
  body.set(icv, 11);
  return { type: NextHeader.authentication, body };
}

/** Each header as tcpdump prints it, a space behind each. `payloadSize`: bytes behind the headers. */
export function printExtensions(extensions: readonly ExtensionHeader[], payloadSize: number): string {
  return extensions.map((extension) => `${printExtension(extension, payloadSize)} `).join("");
}

function printExtension({ type, body }: ExtensionHeader, payloadSize: number): string {
  switch (type) {
    case NextHeader.hopByHop:
      return "HBH";
    case NextHeader.destinationOptions:
      return "DSTOPT";
    case NextHeader.routing:
      return printRouting(body);
    case NextHeader.fragment:
      return `frag (${readU16(body, 1) & 0xfff8}|${payloadSize})`;
    case NextHeader.authentication:
      return printAuthentication(body);
    default:
      return `extension ${type}`;
  }
}

/** tcpdump lists the addresses of types 0 and 2. */
function printRouting(body: Uint8Array): string {
  const [length, type, left] = body;
  let text = `RT6 (len=${length}, type=${type}${type === 0 ? " [Deprecated]" : ""}, segleft=${left}`;
  if (type === 0 || type === 2)
    for (let i = 0; 7 + 16 * (i + 1) <= body.length; i++)
      text += `, [${i}]${formatWords(6, readWords(body, 7 + 16 * i, 4))}`;
  return `${text})`;
}

function printAuthentication(body: Uint8Array): string {
  const hex = (bytes: Uint8Array): string =>
    [...bytes].map((byte) => byte.toString(16).padStart(2, "0")).join("");
  return `AH(spi=0x${hex(body.slice(3, 7))},seq=0x${readU32(body, 7).toString(16)},icv=0x${hex(body.slice(11))}):`;
}
