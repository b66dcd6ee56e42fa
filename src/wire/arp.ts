/** ARP for IPv4 over Ethernet (RFC 826). Other hardware or protocol types are a `bad-type` fault. */
import { formatIpv4, formatMac, type Mac } from "../addr/index.ts";
import { fault, type Parsed, parsed, readU16, readU32, writeU16, writeU32 } from "./bytes.ts";

export const ArpOperation = { request: 1, reply: 2 } as const;

export interface ArpRepr {
  readonly operation: number;
  readonly senderMac: Mac;
  /** IPv4 address as an unsigned word. */
  readonly senderIp: number;
  readonly targetMac: Mac;
  readonly targetIp: number;
}

export const arpSize = 28;

export function parseArp(bytes: Uint8Array, start = 0, end: number = bytes.length): Parsed<ArpRepr> {
  if (end - start < arpSize) return fault("truncated");
  const isIpv4OverEthernet =
    readU16(bytes, start) === 1 &&
    readU16(bytes, start + 2) === 0x0800 &&
    bytes[start + 4] === 6 &&
    bytes[start + 5] === 4;
  if (!isIpv4OverEthernet) return fault("bad-type");
  return parsed({
    operation: readU16(bytes, start + 6),
    senderMac: [...bytes.subarray(start + 8, start + 14)],
    senderIp: readU32(bytes, start + 14),
    targetMac: [...bytes.subarray(start + 18, start + 24)],
    targetIp: readU32(bytes, start + 24),
  });
}

export function emitArp(repr: ArpRepr, bytes: Uint8Array, start = 0): number {
  writeU16(bytes, start, 1);
  writeU16(bytes, start + 2, 0x0800);
  bytes[start + 4] = 6;
  bytes[start + 5] = 4;
  writeU16(bytes, start + 6, repr.operation);
  bytes.set(repr.senderMac, start + 8);
  writeU32(bytes, start + 14, repr.senderIp);
  bytes.set(repr.targetMac, start + 18);
  writeU32(bytes, start + 24, repr.targetIp);
  return arpSize;
}

/** `length`: bytes of the frame behind the Ethernet header, padding included. */
export function printArp(repr: ArpRepr, length: number = arpSize): string {
  return `ARP, ${describe(repr)}, length ${length}`;
}

function describe({ operation, senderIp, senderMac, targetIp, targetMac }: ArpRepr): string {
  const [sender, target] = [formatIpv4(senderIp), formatIpv4(targetIp)];
  if (operation === ArpOperation.reply) return `Reply ${sender} is-at ${formatMac(senderMac)}`;
  if (operation !== ArpOperation.request) return `operation ${operation}, ${sender} > ${target}`;
  const knownMac = targetMac.every((octet) => octet === 0) ? "" : ` (${formatMac(targetMac)})`;
  return `Request who-has ${target}${knownMac} tell ${sender}`;
}
