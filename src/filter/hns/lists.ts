/**
 * The lists of HNS policies: strings with commas. HNS takes no word for any (`Any` is refused with 0x803b000d, hcsshim
 * issue 1059): a field is left out or empty.
 */
import { formatCidr, formatIp, parseCidr, parseIp } from "../../addr/index.ts";
import type { AclAddress, AclPorts } from "./acl.ts";

/** Protocol number that HNS reads as any. */
const anyProtocol = 256;

const elements = (text: string): readonly string[] =>
  text
    .split(",")
    .map((part) => part.trim())
    .filter((part) => part !== "");

/** Numbers 0..255; 256 is any, alone. A string is what is wrong with the text. */
export function readProtocols(text: string): readonly number[] | string {
  const numbers = elements(text).map(Number);
  const wrong = elements(text).find((part) => !/^[0-9]{1,3}$/.test(part) || Number(part) > anyProtocol);
  if (wrong !== undefined) return `${wrong} is no IP protocol number`;
  return numbers.includes(anyProtocol) ? [] : numbers;
}

/** Addresses, prefixes, and ids of sets (whatever is neither). */
export function readAddresses(text: string): readonly AclAddress[] | string {
  const read: AclAddress[] = [];
  for (const part of elements(text)) {
    if (/^any$/i.test(part)) return "HNS knows no word for any address (0x803b000d): leave the field empty";
    const ip = parseIp(part);
    const net = ip === undefined ? parseCidr(part) : { ...ip, prefix: ip.family === 4 ? 32 : 128 };
    if (net === undefined && /^[0-9.:/]+$/.test(part)) return `${part} is no address`;
    read.push(net === undefined ? { kind: "set", id: part } : { kind: "net", net });
  }
  return read;
}

/** `80`, `80,443` or `8000-8080`. */
export function readPorts(text: string): readonly AclPorts[] | string {
  const read: AclPorts[] = [];
  for (const part of elements(text)) {
    const [, first = "", last = first] = /^([0-9]{1,5})(?:-([0-9]{1,5}))?$/.exec(part) ?? [];
    if (first === "" || Number(first) > Number(last) || Number(last) > 65_535) return `${part} is no port`;
    read.push({ first: Number(first), last: Number(last) });
  }
  return read;
}

/** @param nameOf what to write for a set; default: its id */
export function printAddresses(
  addresses: readonly AclAddress[],
  nameOf: (id: string) => string = (id) => id,
): string {
  return addresses
    .map((one) => {
      if (one.kind === "set") return nameOf(one.id);
      const isHost = one.net.prefix === (one.net.family === 4 ? 32 : 128);
      return isHost ? formatIp(one.net) : formatCidr(one.net);
    })
    .join(",");
}

export function printPorts(ports: readonly AclPorts[]): string {
  return ports.map(({ first, last }) => (first === last ? `${first}` : `${first}-${last}`)).join(",");
}
