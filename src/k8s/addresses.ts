/**
 * IP addresses and CIDRs of the API's older fields, as an API server without StrictIPCIDRValidation reads them: leading
 * zeros are decimal digits, IPv4 may be written within IPv6, host bits of a CIDR are dropped.
 * Governing source: k8s.io/utils/net ParseIPSloppy and ParseCIDRSloppy.
 */
import { type Cidr, cidrOf, type Ip, ipv4, parseIp } from "../addr/index.ts";

export const ipFault = "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)";
export const cidrFault = "must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)";

/** `undefined` when the API server would not take it. IPv4-mapped IPv6 gives the IPv4 address. */
export function parseIpLoosely(text: string): Ip | undefined {
  if (!text.includes(":")) return parseIp(withoutLeadingZeros(text));
  const ip = parseIp(text) ?? parseIp(withHexTail(text));
  const mapped = ip === undefined ? undefined : mappedWord(ip);
  return mapped === undefined ? ip : ipv4(mapped);
}

/** Host bits are cleared. A prefix within `::ffff:0:0/96` gives the prefix of IPv4 that it stands for. */
export function parseCidrLoosely(text: string): Cidr | undefined {
  const slash = text.indexOf("/");
  if (slash < 0) return undefined;
  const [address, length] = [text.slice(0, slash), text.slice(slash + 1)];
  const ip = parseIpLoosely(address);
  if (ip === undefined || !/^[0-9]+$/.test(length)) return undefined;
  const isMapped = ip.family === 4 && address.includes(":");
  const prefix = Number(length) - (isMapped ? 96 : 0);
  return prefix < 0 || prefix > (ip.family === 4 ? 32 : 128) ? undefined : cidrOf(ip, prefix);
}

function withoutLeadingZeros(text: string): string {
  return text.replace(/(^|\.)0+(?=[0-9])/g, "$1");
}

/** `::ffff:10.0.0.1` -> `::ffff:a00:1` */
function withHexTail(text: string): string {
  const colon = text.lastIndexOf(":");
  const word = parseIp(withoutLeadingZeros(text.slice(colon + 1)))?.words[0];
  if (word === undefined) return text;
  return `${text.slice(0, colon + 1)}${(word >>> 16).toString(16)}:${(word & 0xffff).toString(16)}`;
}

function mappedWord({ family, words }: Ip): number | undefined {
  return family === 6 && words[0] === 0 && words[1] === 0 && words[2] === 0xffff ? words[3] : undefined;
}
