/**
 * Names of ICMP types and codes in elements of sets with a port. The tool reads and prints them; a type without a name stands
 * as type/code. Source: ipset lib/icmp.c and lib/icmpv6.c, by experiment with ipset 7.17.
 */
import { IpProtocol } from "../../wire/index.ts";

type Names = readonly (readonly [name: string, type: number, code: number])[];

const names4: Names = [
  ["echo-reply", 0, 0],
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
  ["source-quench", 4, 0],
  ["network-redirect", 5, 0],
  ["host-redirect", 5, 1],
  ["TOS-network-redirect", 5, 2],
  ["TOS-host-redirect", 5, 3],
  ["echo-request", 8, 0],
  ["router-advertisement", 9, 0],
  ["router-solicitation", 10, 0],
  ["ttl-zero-during-transit", 11, 0],
  ["ttl-zero-during-reassembly", 11, 1],
  ["ip-header-bad", 12, 0],
  ["required-option-missing", 12, 1],
  ["timestamp-request", 13, 0],
  ["timestamp-reply", 14, 0],
  ["address-mask-request", 17, 0],
  ["address-mask-reply", 18, 0],
];

const names6: Names = [
  ["no-route", 1, 0],
  ["communication-prohibited", 1, 1],
  ["address-unreachable", 1, 3],
  ["port-unreachable", 1, 4],
  ["packet-too-big", 2, 0],
  ["ttl-zero-during-transit", 3, 0],
  ["ttl-zero-during-reassembly", 3, 1],
  ["bad-header", 4, 0],
  ["unknown-header-type", 4, 1],
  ["unknown-option", 4, 2],
  ["echo-request", 128, 0],
  ["echo-reply", 129, 0],
  ["router-solicitation", 133, 0],
  ["router-advertisement", 134, 0],
  ["neighbour-solicitation", 135, 0],
  ["neigbour-advertisement", 136, 0],
  ["redirect", 137, 0],
];

function namesOf(protocol: number): Names | undefined {
  if (protocol === IpProtocol.icmp) return names4;
  return protocol === IpProtocol.icmpv6 ? names6 : undefined;
}

/** `type * 256 + code`; `undefined` when the text is neither a name nor type/code, or the protocol has no such thing. */
export function parseIcmpPort(protocol: number, text: string): number | undefined {
  const named = namesOf(protocol)?.find(([name]) => name.toLowerCase() === text.toLowerCase());
  if (named !== undefined) return named[1] * 256 + named[2];
  const parts = /^([0-9]{1,3})\/([0-9]{1,3})$/.exec(text);
  const [type, code] = [Number(parts?.[1]), Number(parts?.[2])];
  return parts !== null && type < 256 && code < 256 ? type * 256 + code : undefined;
}

export function isIcmp(protocol: number): boolean {
  return namesOf(protocol) !== undefined;
}

export function icmpPortText(protocol: number, port: number): string {
  const [type, code] = [port >>> 8, port & 0xff];
  return namesOf(protocol)?.find((name) => name[1] === type && name[2] === code)?.[0] ?? `${type}/${code}`;
}
