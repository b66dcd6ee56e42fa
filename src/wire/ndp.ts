/**
 * Neighbor Discovery for IPv6 (RFC 4861 section 4): the bodies of ICMPv6 types 133..137, and the checks that a receiver
 * makes before it believes one (sections 6.1 and 7.1). Options are kept as type and data.
 */
import { formatWords } from "../addr/index.ts";
import { unreachable } from "../base/index.ts";
import { fault, type Parsed, parsed, readU32, readWords, writeU32, writeWords } from "./bytes.ts";
import type { IcmpRepr } from "./icmpv4.ts";

export const NdpType = {
  routerSolicitation: 133,
  routerAdvertisement: 134,
  neighborSolicitation: 135,
  neighborAdvertisement: 136,
  redirect: 137,
} as const;

export const NdpOptionType = {
  sourceLinkAddress: 1,
  targetLinkAddress: 2,
  prefixInformation: 3,
  redirectedHeader: 4,
  mtu: 5,
} as const;

export interface NdpOption {
  readonly type: number;
  /** What follows type and length: 6, 14, 22... bytes. */
  readonly data: Uint8Array;
}

/** A neighbour discovery message. */
export type NdpRepr = { readonly options: readonly NdpOption[] } & (
  | { readonly kind: "router-solicitation" }
  | {
      readonly kind: "router-advertisement";
      readonly hopLimit: number;
      /** Managed 0x80, other configuration 0x40. */
      readonly flags: number;
      readonly lifetimeSeconds: number;
      readonly reachableMs: number;
      readonly retransmitMs: number;
    }
  | { readonly kind: "neighbor-solicitation"; readonly target: readonly number[] }
  /** `flags`: router 0x80, solicited 0x40, override 0x20. */
  | { readonly kind: "neighbor-advertisement"; readonly flags: number; readonly target: readonly number[] }
  | { readonly kind: "redirect"; readonly target: readonly number[]; readonly destination: readonly number[] }
);

/** `bad-type` for other ICMPv6 messages. */
export function parseNdp({ type, rest, data }: IcmpRepr): Parsed<NdpRepr> {
  const fixedSize = fixedSizes[type];
  if (fixedSize === undefined) return fault("bad-type");
  if (data.length < fixedSize) return fault("truncated");
  const options = parseOptions(data, fixedSize);
  if (!options.ok) return options;
  const shared = { options: options.value };
  switch (type) {
    case NdpType.routerSolicitation:
      return parsed({ ...shared, kind: "router-solicitation" });
    case NdpType.routerAdvertisement:
      return parsed({
        ...shared,
        kind: "router-advertisement",
        hopLimit: rest >>> 24,
        flags: (rest >>> 16) & 0xff,
        lifetimeSeconds: rest & 0xffff,
        reachableMs: readU32(data, 0),
        retransmitMs: readU32(data, 4),
      });
    case NdpType.neighborSolicitation:
      return parsed({ ...shared, kind: "neighbor-solicitation", target: readWords(data, 0, 4) });
    case NdpType.neighborAdvertisement:
      return parsed({
        ...shared,
        kind: "neighbor-advertisement",
        flags: rest >>> 24,
        target: readWords(data, 0, 4),
      });
    default:
      return parsed({
        ...shared,
        kind: "redirect",
        target: readWords(data, 0, 4),
        destination: readWords(data, 16, 4),
      });
  }
}

/** Bytes between the ICMPv6 header and the options. */
const fixedSizes: Readonly<Record<number, number>> = {
  [NdpType.routerSolicitation]: 0,
  [NdpType.routerAdvertisement]: 8,
  [NdpType.neighborSolicitation]: 16,
  [NdpType.neighborAdvertisement]: 16,
  [NdpType.redirect]: 32,
};

function parseOptions(data: Uint8Array, start: number): Parsed<readonly NdpOption[]> {
  const options: NdpOption[] = [];
  for (let at = start; at < data.length; ) {
    const size = at + 1 < data.length ? data[at + 1]! * 8 : 0;
    if (size === 0 || at + size > data.length) return fault("bad-length");
    options.push({ type: data[at]!, data: data.slice(at + 2, at + size) });
    at += size;
  }
  return parsed(options);
}

/** The ICMPv6 message; `emitIcmp` writes it. */
export function ndpMessage(repr: NdpRepr): IcmpRepr {
  switch (repr.kind) {
    case "router-solicitation":
      return message(NdpType.routerSolicitation, 0, new Uint8Array(0), repr.options);
    case "router-advertisement": {
      const fixed = new Uint8Array(8);
      writeU32(fixed, 0, repr.reachableMs);
      writeU32(fixed, 4, repr.retransmitMs);
      const rest = ((repr.hopLimit << 24) | (repr.flags << 16) | repr.lifetimeSeconds) >>> 0;
      return message(NdpType.routerAdvertisement, rest, fixed, repr.options);
    }
    case "neighbor-solicitation":
      return message(NdpType.neighborSolicitation, 0, addresses(repr.target), repr.options);
    case "neighbor-advertisement":
      return message(
        NdpType.neighborAdvertisement,
        (repr.flags << 24) >>> 0,
        addresses(repr.target),
        repr.options,
      );
    case "redirect":
      return message(NdpType.redirect, 0, addresses(repr.target, repr.destination), repr.options);
    default:
      return unreachable(repr);
  }
}

function addresses(...words: readonly (readonly number[])[]): Uint8Array {
  const bytes = new Uint8Array(16 * words.length);
  words.forEach((one, i) => {
    writeWords(bytes, 16 * i, one);
  });
  return bytes;
}

function message(type: number, rest: number, fixed: Uint8Array, options: readonly NdpOption[]): IcmpRepr {
  const tail = options.flatMap((one) => [one.type, (one.data.length + 2) / 8, ...one.data]);
  return { type, code: 0, rest, data: Uint8Array.from([...fixed, ...tail]) };
}

/**
 * True if a receiver takes the message as neighbour discovery (RFC 4861 sections 6.1 and 7.1): hop limit 255, code 0,
 * whole, no option of length zero, no multicast target, and what holds for an unspecified source. The checksum is not
 * looked at here.
 */
export function isValidNdp(
  icmp: IcmpRepr,
  ip: { readonly hopLimit: number; readonly src: readonly number[]; readonly dst: readonly number[] },
): boolean {
  const ndp = parseNdp(icmp);
  if (!ndp.ok || ip.hopLimit !== 255 || icmp.code !== 0) return false;
  const isUnspecified = ip.src.every((word) => word === 0);
  const isLinkLocal = ((ip.src[0] ?? 0) & 0xffc00000) >>> 0 === 0xfe800000;
  const { kind, options } = ndp.value;
  const sourceIsNamed = options.some(({ type }) => type === NdpOptionType.sourceLinkAddress);
  switch (kind) {
    case "router-solicitation":
      return !(isUnspecified && sourceIsNamed);
    case "router-advertisement":
      return isLinkLocal;
    case "neighbor-solicitation":
      if (isMulticast(ndp.value.target)) return false;
      return !isUnspecified || (isSolicitedNode(ip.dst) && !sourceIsNamed);
    case "neighbor-advertisement":
      return !isMulticast(ndp.value.target) && !(isMulticast(ip.dst) && (ndp.value.flags & 0x40) !== 0);
    case "redirect":
      return isLinkLocal && !isMulticast(ndp.value.destination);
    default:
      return unreachable(kind);
  }
}

function isMulticast(words: readonly number[]): boolean {
  return (words[0] ?? 0) >>> 24 === 0xff;
}

/** ff02::1:ff00:0/104 (RFC 4291 section 2.7.1). */
function isSolicitedNode(words: readonly number[]): boolean {
  return words[0] === 0xff020000 && words[1] === 0 && words[2] === 1 && (words[3] ?? 0) >>> 24 === 0xff;
}

export function printNdp(repr: NdpRepr): string {
  switch (repr.kind) {
    case "router-solicitation":
      return "router solicitation";
    case "router-advertisement":
      return "router advertisement";
    case "neighbor-solicitation":
      return `neighbor solicitation, who has ${formatWords(6, repr.target)}`;
    case "neighbor-advertisement":
      return `neighbor advertisement, tgt is ${formatWords(6, repr.target)}`;
    case "redirect":
      return `redirect, ${formatWords(6, repr.destination)} to ${formatWords(6, repr.target)}`;
    default:
      return unreachable(repr);
  }
}
