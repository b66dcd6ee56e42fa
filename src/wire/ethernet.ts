/**
 * Ethernet II frames with VLAN tags (IEEE 802.3 clause 3; 802.1Q clause 9, whose service tags were 802.1ad). No FCS:
 * captures do not carry it.
 */
import { formatMac, type Mac } from "../addr/index.ts";
import { fault, type Parsed, parsed, readU16, writeU16 } from "./bytes.ts";

export const EtherType = {
  ipv4: 0x0800,
  arp: 0x0806,
  vlan: 0x8100,
  ipv6: 0x86dd,
  /** 802.1ad: the outer tag of a QinQ frame. */
  serviceVlan: 0x88a8,
} as const;

export interface VlanTag {
  /** Tag protocol identifier. */
  readonly protocol: typeof EtherType.vlan | typeof EtherType.serviceVlan;
  /** Priority code point, 0..7. */
  readonly priority: number;
  readonly dropEligible: boolean;
  /** 0..4095. */
  readonly id: number;
}

export interface EthernetRepr {
  readonly dst: Mac;
  readonly src: Mac;
  /** Outermost first; at most two. A third tag is left to the payload, as `etherType` says. */
  readonly vlans: readonly VlanTag[];
  readonly etherType: number;
}

const addressesSize = 12;
const tagSize = 4;
const tagsMax = 2;

/** `headerSize` is the offset of the payload. */
export function parseEthernet(
  bytes: Uint8Array,
  start = 0,
  end: number = bytes.length,
): Parsed<{ readonly repr: EthernetRepr; readonly headerSize: number }> {
  if (end - start < addressesSize + 2) return fault("truncated");
  const vlans: VlanTag[] = [];
  let at = start + addressesSize;
  let type = readU16(bytes, at);
  while ((type === EtherType.vlan || type === EtherType.serviceVlan) && vlans.length < tagsMax) {
    if (at + tagSize + 2 > end) return fault("truncated");
    const control = readU16(bytes, at + 2);
    vlans.push({
      protocol: type,
      priority: control >>> 13,
      dropEligible: (control & 0x1000) !== 0,
      id: control & 0xfff,
    });
    at += tagSize;
    type = readU16(bytes, at);
  }
  const repr: EthernetRepr = {
    dst: [...bytes.subarray(start, start + 6)],
    src: [...bytes.subarray(start + 6, start + 12)],
    vlans,
    etherType: type,
  };
  return parsed({ repr, headerSize: at + 2 - start });
}

export function sizeEthernet(repr: EthernetRepr): number {
  return addressesSize + tagSize * repr.vlans.length + 2;
}

export function emitEthernet(repr: EthernetRepr, bytes: Uint8Array, start = 0): number {
  bytes.set(repr.dst, start);
  bytes.set(repr.src, start + 6);
  let at = start + addressesSize;
  for (const tag of repr.vlans) {
    writeU16(bytes, at, tag.protocol);
    writeU16(bytes, at + 2, (tag.priority << 13) | (tag.dropEligible ? 0x1000 : 0) | tag.id);
    at += tagSize;
  }
  writeU16(bytes, at, repr.etherType);
  return at + 2 - start;
}

const typeNames: Readonly<Record<number, string>> = {
  [EtherType.ipv4]: "IPv4",
  [EtherType.arp]: "ARP",
  [EtherType.vlan]: "802.1Q",
  [EtherType.ipv6]: "IPv6",
  [EtherType.serviceVlan]: "802.1Q-QinQ",
};

/** `length`: bytes of the whole frame. */
export function printEthernet(repr: EthernetRepr, length: number): string {
  let text = `${formatMac(repr.src)} > ${formatMac(repr.dst)}`;
  const types = [...repr.vlans.map((tag) => tag.protocol), repr.etherType];
  types.forEach((type, i) => {
    const hex = type.toString(16).padStart(4, "0");
    text += `, ethertype ${typeNames[type] ?? "Unknown"} (0x${hex})`;
    if (i === 0) text += `, length ${length}`;
    const tag = repr.vlans[i];
    if (tag !== undefined)
      text += `${i === 0 ? ":" : ","} vlan ${tag.id}, p ${tag.priority}${tag.dropEligible ? ", DEI" : ""}`;
  });
  return text;
}
