/**
 * `-m icmp --icmp-type` and `-m icmp6 --icmpv6-type`, by number or name. Linked as a code word.
 * Source: kernel net/netfilter/xt_tcpudp.c (icmp_match; before 6.10 net/ipv4/netfilter/ip_tables.c); names of libxt_icmp.
 */
import { IpProtocol } from "../../../wire/index.ts";
import type { Match, MatchOf } from "../match.ts";
import { bang, isOrNot, type MatchKinds, type MatchReader, type OptionValues } from "./extension.ts";

type IcmpName = readonly [name: string, type: number, code?: number];

/** Any type: IPv4 alone. */
export const anyIcmpType = 255;

const names4: readonly IcmpName[] = [
  ["any", anyIcmpType],
  ["echo-reply", 0],
  ["pong", 0],
  ["destination-unreachable", 3],
  ["network-unreachable", 3, 0],
  ["host-unreachable", 3, 1],
  ["protocol-unreachable", 3, 2],
  ["port-unreachable", 3, 3],
  ["fragmentation-needed", 3, 4],
  ["source-route-failed", 3, 5],
  ["network-unknown", 3, 6],
  ["host-unknown", 3, 7],
  ["network-prohibited", 3, 9],
  ["host-prohibited", 3, 10],
  ["TOS-network-unreachable", 3, 11],
  ["TOS-host-unreachable", 3, 12],
  ["communication-prohibited", 3, 13],
  ["host-precedence-violation", 3, 14],
  ["precedence-cutoff", 3, 15],
  ["source-quench", 4],
  ["redirect", 5],
  ["network-redirect", 5, 0],
  ["host-redirect", 5, 1],
  ["TOS-network-redirect", 5, 2],
  ["TOS-host-redirect", 5, 3],
  ["echo-request", 8],
  ["ping", 8],
  ["router-advertisement", 9],
  ["router-solicitation", 10],
  ["time-exceeded", 11],
  ["ttl-exceeded", 11],
  ["ttl-zero-during-transit", 11, 0],
  ["ttl-zero-during-reassembly", 11, 1],
  ["parameter-problem", 12],
  ["ip-header-bad", 12, 0],
  ["required-option-missing", 12, 1],
  ["timestamp-request", 13],
  ["timestamp-reply", 14],
  ["address-mask-request", 17],
  ["address-mask-reply", 18],
];

const names6: readonly IcmpName[] = [
  ["destination-unreachable", 1],
  ["no-route", 1, 0],
  ["communication-prohibited", 1, 1],
  ["beyond-scope", 1, 2],
  ["address-unreachable", 1, 3],
  ["port-unreachable", 1, 4],
  ["failed-policy", 1, 5],
  ["reject-route", 1, 6],
  ["packet-too-big", 2],
  ["time-exceeded", 3],
  ["ttl-exceeded", 3],
  ["ttl-zero-during-transit", 3, 0],
  ["ttl-zero-during-reassembly", 3, 1],
  ["parameter-problem", 4],
  ["bad-header", 4, 0],
  ["unknown-header-type", 4, 1],
  ["unknown-option", 4, 2],
  ["echo-request", 128],
  ["ping", 128],
  ["echo-reply", 129],
  ["pong", 129],
  ["mld-listener-query", 130],
  ["mld-listener-report", 131],
  ["mld-listener-done", 132],
  ["mld-listener-reduction", 132],
  ["router-solicitation", 133],
  ["router-advertisement", 134],
  ["neighbour-solicitation", 135],
  ["neighbor-solicitation", 135],
  ["neighbour-advertisement", 136],
  ["neighbor-advertisement", 136],
  ["redirect", 137],
];

function parseType(
  names: readonly IcmpName[],
  text: string,
): { readonly type: number; readonly code?: number } | undefined {
  const wanted = text.toLowerCase();
  const exact = names.filter(([name]) => name.toLowerCase() === wanted);
  // An unambiguous beginning of a name will do, as the tool has it.
  const found = exact.length > 0 ? exact : names.filter(([name]) => name.toLowerCase().startsWith(wanted));
  const [named] = found;
  if (named !== undefined && found.length === 1 && wanted !== "")
    return { type: named[1], ...(named[2] === undefined ? {} : { code: named[2] }) };
  const parts = /^([0-9]{1,3})(?:\/([0-9]{1,3}))?$/.exec(text);
  const [type, code] = [Number(parts?.[1]), parts?.[2] === undefined ? undefined : Number(parts[2])];
  if (parts === null || type > 255 || (code ?? 0) > 255) return undefined;
  return { type, ...(code === undefined ? {} : { code }) };
}

function reader(option: string, protocol: number, names: readonly IcmpName[]): MatchReader {
  return {
    options: { [option]: { values: 1, not: true } },
    protocols: [protocol],
    families: [protocol === IpProtocol.icmp ? 4 : 6],
    isImplied: true,
    read: (options: OptionValues): readonly Match[] => {
      const found = options.read(option, (text) => parseType(names, text), "a type, type/code or name");
      if (found === undefined) throw options.incomplete(`${option} is missing`);
      return [{ kind: "icmp-type", ...found, ...options.not(option) }];
    },
  };
}

export const icmpReaders: Readonly<Record<string, MatchReader>> = {
  icmp: reader("--icmp-type", IpProtocol.icmp, names4),
  icmp6: reader("--icmpv6-type", IpProtocol.icmpv6, names6),
};

function typeText({ type, code }: MatchOf<"icmp-type">, family: 4 | 6): string {
  const name = type === anyIcmpType && family === 4 ? "any" : type;
  return `${name}${code === undefined ? "" : `/${code}`}`;
}

export const icmpKinds: MatchKinds<"icmp-type"> = {
  "icmp-type": {
    text: (match, family) =>
      `${family === 6 ? "-m icmp6" : "-m icmp"} ${bang(match)}--icmp${family === 6 ? "v6" : ""}-type ${typeText(match, family)}`,
    explain: (match, { packet }) =>
      `ICMP type/code ${packet.dport >>> 8}/${packet.dport & 0xff} ${isOrNot(match)} ${typeText(match, packet.family === 6 ? 6 : 4)}`,
  },
};
