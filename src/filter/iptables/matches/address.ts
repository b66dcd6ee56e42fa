/**
 * Conditions on addresses: addrtype, iprange, rpfilter, mac, pkttype. Source: kernel net/netfilter/xt_addrtype.c,
 * xt_iprange.c, net/ipv4/netfilter/ipt_rpfilter.c, net/ipv6/netfilter/ip6t_rpfilter.c, xt_mac.c, xt_pkttype.c.
 * Left out: policy routing (`--validmark` changes nothing where all marks use one table). Packets here carry no link layer:
 * `mac` never matches, and `pkttype` goes by the destination address.
 */
import type { PacketBatch } from "../../../packet/index.ts";
import { rowAddress } from "../../../packet/index.ts";
import { AddressTypes, addrTypeBits, addrTypes } from "../address-type.ts";
import type { AddressMatch, AddrType, AddrTypeTest, IpRangeTest, Match, MatchOf } from "../match.ts";
import {
  Answer,
  bang,
  ipText,
  isOrNot,
  type MatchKinds,
  type MatchNode,
  type MatchReader,
  type OptionValues,
  parseIpOf,
  type RowTest,
  type RuleContext,
  rowAddressText,
} from "./extension.ts";

function parseTypes(text: string): AddrType | readonly AddrType[] | undefined {
  const wanted = text.toUpperCase().split(",");
  const found = addrTypes.filter((type) => wanted.includes(type));
  const [only] = found;
  if (only === undefined || wanted.some((name) => !found.some((type) => type === name))) return undefined;
  return found.length === 1 ? only : found;
}

/** Types that the kernel tells apart for IPv6. */
const addrTypes6 = ["UNSPEC", "UNICAST", "LOCAL", "ANYCAST", "MULTICAST", "UNREACHABLE"];

function readAddrType(options: OptionValues, { family }: RuleContext): readonly Match[] {
  const side = (name: string): AddrTypeTest | undefined => {
    const type = options.read(name, parseTypes, "types of address");
    const types = typeof type === "string" ? [type] : (type ?? []);
    if (family === 6 && types.some((one) => !addrTypes6.includes(one)))
      throw options.words.fail(
        "invalid",
        options.word(name),
        `${name} of IPv6 is one of ${addrTypes6.join(", ")}`,
      );
    return type === undefined ? undefined : { type, ...options.not(name) };
  };
  const [src, dst] = [side("--src-type"), side("--dst-type")];
  if (src === undefined && dst === undefined)
    throw options.incomplete("-m addrtype needs --src-type or --dst-type");
  const [isIn, isOut] = [options.has("--limit-iface-in"), options.has("--limit-iface-out")];
  if (isIn && isOut) throw options.incomplete("--limit-iface-in and --limit-iface-out exclude each other");
  return [
    {
      kind: "addrtype",
      ...(src === undefined ? {} : { src }),
      ...(dst === undefined ? {} : { dst }),
      ...(isIn || isOut ? { limitInterface: isIn ? ("in" as const) : ("out" as const) } : {}),
    },
  ];
}

function readIpRange(options: OptionValues, { family }: RuleContext): readonly Match[] {
  const side = (name: string): IpRangeTest | undefined => {
    const range = options.read(
      name,
      (text) => {
        const [low = "", high = low, ...rest] = text.split("-");
        const [from, to] = [parseIpOf(family, low), parseIpOf(family, high)];
        return from === undefined || to === undefined || rest.length > 0 ? undefined : { from, to };
      },
      `IPv${family} addresses as FROM-TO`,
    );
    return range === undefined ? undefined : { ...range, ...options.not(name) };
  };
  const [src, dst] = [side("--src-range"), side("--dst-range")];
  if (src === undefined && dst === undefined)
    throw options.incomplete("-m iprange needs --src-range or --dst-range");
  return [{ kind: "iprange", ...(src === undefined ? {} : { src }), ...(dst === undefined ? {} : { dst }) }];
}

const packetTypes = ["unicast", "broadcast", "multicast"] as const;

export const addressReaders: Readonly<Record<string, MatchReader>> = {
  addrtype: {
    options: {
      "--src-type": { values: 1, not: true },
      "--dst-type": { values: 1, not: true },
      "--limit-iface-in": { values: 0 },
      "--limit-iface-out": { values: 0 },
    },
    read: readAddrType,
  },
  iprange: {
    options: { "--src-range": { values: 1, not: true }, "--dst-range": { values: 1, not: true } },
    read: readIpRange,
  },
  rpfilter: {
    options: {
      "--loose": { values: 0 },
      "--validmark": { values: 0 },
      "--accept-local": { values: 0 },
      "--invert": { values: 0 },
    },
    tables: ["raw", "mangle"],
    read: (options) => [
      {
        kind: "rpfilter",
        ...(options.has("--loose") ? { loose: true } : {}),
        ...(options.has("--validmark") ? { validMark: true } : {}),
        ...(options.has("--accept-local") ? { acceptLocal: true } : {}),
        ...(options.has("--invert") ? { invert: true } : {}),
      },
    ],
  },
  mac: {
    options: { "--mac-source": { values: 1, not: true } },
    read: (options) => {
      const source = options.read(
        "--mac-source",
        (text) => (/^([0-9a-f]{2}:){5}[0-9a-f]{2}$/i.test(text) ? text.toLowerCase() : undefined),
        "a MAC address",
      );
      if (source === undefined) throw options.incomplete("-m mac needs --mac-source");
      return [{ kind: "mac", source, ...options.not("--mac-source") }];
    },
  },
  pkttype: {
    options: { "--pkt-type": { values: 1, not: true } },
    read: (options) => {
      const type = options.read(
        "--pkt-type",
        (text) => packetTypes.find((candidate) => candidate === text),
        packetTypes.join(", "),
      );
      if (type === undefined) throw options.incomplete("-m pkttype needs --pkt-type");
      return [{ kind: "pkttype", type, ...options.not("--pkt-type") }];
    },
  },
};

const typesText = (types: AddrType | readonly AddrType[]): string =>
  typeof types === "string" ? types : types.join(",");

const flag = (isSet: boolean | undefined, option: string): string => (isSet ? ` ${option}` : "");

export const addressKinds: MatchKinds<AddressMatch["kind"]> = {
  addrtype: {
    text: ({ src, dst, limitInterface }) => {
      const side = (name: string, test: AddrTypeTest | undefined): string =>
        test === undefined ? "" : ` ${bang(test)}--${name}-type ${typesText(test.type)}`;
      const limit = limitInterface === undefined ? "" : ` --limit-iface-${limitInterface}`;
      return `-m addrtype${side("src", src)}${side("dst", dst)}${limit}`;
    },
    explain: ({ src, dst }, context) => {
      const side = (name: "src" | "dst", word: string, test: AddrTypeTest | undefined): string =>
        test === undefined
          ? ""
          : `${word} ${rowAddressText(context, name)} is of type ${typesText(test.type)}: must be ${test.not ? "false" : "true"}`;
      return [side("src", "source", src), side("dst", "destination", dst)].filter(Boolean).join(", ");
    },
    bind: bindAddrType,
  },
  iprange: {
    text: ({ src, dst }) => {
      const side = (name: string, test: IpRangeTest | undefined): string =>
        test === undefined ? "" : ` ${bang(test)}--${name}-range ${ipText(test.from)}-${ipText(test.to)}`;
      return `-m iprange${side("src", src)}${side("dst", dst)}`;
    },
    explain: ({ src, dst }, context) => {
      const side = (name: "src" | "dst", word: string, test: IpRangeTest | undefined): string =>
        test === undefined
          ? ""
          : `${word} ${rowAddressText(context, name)} in ${ipText(test.from)}-${ipText(test.to)} must be ${test.not ? "false" : "true"}`;
      return [side("src", "source", src), side("dst", "destination", dst)].filter(Boolean).join(", ");
    },
    bind: bindIpRange,
  },
  rpfilter: {
    text: (match) =>
      `-m rpfilter${flag(match.loose, "--loose")}${flag(match.validMark, "--validmark")}${flag(match.acceptLocal, "--accept-local")}${flag(match.invert, "--invert")}`,
    explain: (match, context) =>
      `the way back to source ${rowAddressText(context, "src")} ${match.invert ? "leads" : "does not lead"} through incoming interface ${context.interfaceName(context.batch.state.iif[context.row]!)}`,
    bind: bindRpFilter,
  },
  mac: {
    text: (match) => `-m mac ${bang(match)}--mac-source ${match.source}`,
    explain: (match) => `the packet's link layer source ${isOrNot(match)} ${match.source}`,
    bind: () => () => Answer.no, // xt_mac: no Ethernet header, no match, negated or not
  },
  pkttype: {
    text: (match) => `-m pkttype ${bang(match)}--pkt-type ${match.type}`,
    explain: (match) => `the packet ${isOrNot(match)} ${match.type}`,
    bind: bindPacketType,
  },
};

function bindAddrType({ src, dst, limitInterface }: MatchOf<"addrtype">, node: MatchNode): RowTest {
  const types = node.shared("address types", () => new AddressTypes(node.facts));
  const sides = [
    { test: src, name: "src" as const },
    { test: dst, name: "dst" as const },
  ].flatMap(({ test, name }) =>
    test === undefined ? [] : [{ name, bits: addrTypeBits(test.type), wanted: test.not !== true }],
  );
  return (batch, row) => {
    const { iif, oif } = batch.state;
    const device = limitInterface === undefined ? 0 : limitInterface === "in" ? iif[row]! : oif[row]!;
    for (const { name, bits, wanted } of sides) {
      const column = name === "src" ? batch.src : batch.dst;
      const holds =
        batch.family[row] === 4
          ? (types.bitOf4(column[row * 4]!, device) & bits) !== 0
          : types.is6([...column.subarray(row * 4, row * 4 + 4)], device, bits);
      if (holds !== wanted) return Answer.no;
    }
    return Answer.yes;
  };
}

function bindIpRange({ src, dst }: MatchOf<"iprange">): RowTest {
  const inside = (column: Uint32Array, row: number, test: IpRangeTest): boolean => {
    const compare = (words: readonly number[]): number => {
      for (let i = 0; i < words.length; i++) {
        const difference = column[row * 4 + i]! - (words[i] ?? 0);
        if (difference !== 0) return difference;
      }
      return 0;
    };
    return (compare(test.from.words) >= 0 && compare(test.to.words) <= 0) !== (test.not === true);
  };
  return (batch, row) =>
    (src === undefined || inside(batch.src, row, src)) && (dst === undefined || inside(batch.dst, row, dst))
      ? Answer.yes
      : Answer.no;
}

/** Reverse path: would a packet to this source leave by the interface that this one came in on? */
function bindRpFilter(match: MatchOf<"rpfilter">, node: MatchNode): RowTest {
  const { facts } = node;
  const types = node.shared("address types", () => new AddressTypes(facts));
  const [local, unicast] = [addrTypeBits("LOCAL"), addrTypeBits("UNICAST")];
  const holds = (batch: PacketBatch, row: number): boolean => {
    const iif = batch.state.iif[row]!;
    if (facts.interfaces.some(({ index, isLoopback }) => index === iif && isLoopback)) return true;
    const src = rowAddress(batch, row, "src");
    if (src.family === 4) {
      const [word, dst] = [src.words[0] ?? 0, batch.dst[row * 4]!];
      const isLinkLocalBroadcast = dst === 0xffffffff || dst >>> 8 === 0xe00000;
      if (word >>> 24 === 0 && isLinkLocalBroadcast) return true;
      const type = word >>> 24 === 0 ? unicast : types.bitOf4(word, 0);
      if (type === local)
        return match.acceptLocal === true && (match.loose === true || types.bitOf4(word, iif) === local);
      if (type !== unicast) return false;
    } else {
      const [first = 0] = src.words;
      if (first >>> 24 === 0xff || src.words.every((part) => part === 0))
        return src.words.every((part) => part === 0);
      if (types.is6(src.words, 0, local)) return match.acceptLocal === true;
    }
    const towards = facts.routeTo(src);
    return towards !== 0 && (towards === iif || match.loose === true);
  };
  return (batch, row) => (holds(batch, row) !== (match.invert === true) ? Answer.yes : Answer.no);
}

function bindPacketType(match: MatchOf<"pkttype">, node: MatchNode): RowTest {
  const types = node.shared("address types", () => new AddressTypes(node.facts));
  const broadcast = addrTypeBits("BROADCAST");
  const typeOf = (batch: PacketBatch, row: number): string => {
    const word = batch.dst[row * 4]!;
    if (batch.family[row] === 6) return word >>> 24 === 0xff ? "multicast" : "unicast";
    if (word >>> 28 === 14) return "multicast";
    return types.bitOf4(word, 0) === broadcast ? "broadcast" : "unicast";
  };
  return (batch, row) =>
    (typeOf(batch, row) === match.type) !== (match.not === true) ? Answer.yes : Answer.no;
}
