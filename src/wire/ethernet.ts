/** Ethernet II frames with 802.1Q tags (IEEE 802.3 clause 3, 802.1Q clause 9). No FCS: captures do not carry it. */
import { formatMac, type Mac } from "../addr/index.ts";
import { fault, type Parsed, parsed, readU16, writeU16 } from "./bytes.ts";

export const EtherType = { ipv4: 0x0800, arp: 0x0806, vlan: 0x8100, ipv6: 0x86dd } as const;

export interface VlanTag {
  /** Priority code point, 0..7. */
  readonly priority: number;
  readonly dropEligible: boolean;
  /** 0..4095. */
  readonly id: number;
}

export interface EthernetRepr {
  readonly dst: Mac;
  readonly src: Mac;
  /** Outermost first; at most two (802.1ad stacks use the same layout here). */
  readonly vlans: readonly VlanTag[];
  readonly etherType: number;
}

const addressesSize = 12;
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
  while (readU16(bytes, at) === EtherType.vlan && vlans.length < tagsMax) {
    if (at + 6 > end) return fault("truncated");
    const control = readU16(bytes, at + 2);
    vlans.push({ priority: control >>> 13, dropEligible: (control & 0x1000) !== 0, id: control & 0xfff });
    at += 4;
  }
  const repr: EthernetRepr = {
    dst: [...bytes.subarray(start, start + 6)],
    src: [...bytes.subarray(start + 6, start + 12)],
    vlans,
    etherType: readU16(bytes, at),
  };
  return parsed({ repr, headerSize: at + 2 - start });
}

export function sizeEthernet(repr: EthernetRepr): number {
  return addressesSize + 4 * repr.vlans.length + 2;
}

export function emitEthernet(repr: EthernetRepr, bytes: Uint8Array, start = 0): number {
  bytes.set(repr.dst, start);
  bytes.set(repr.src, start + 6);
  let at = start + addressesSize;
  for (const tag of repr.vlans) {
    writeU16(bytes, at, EtherType.vlan);
    writeU16(bytes, at + 2, (tag.priority << 13) | (tag.dropEligible ? 0x1000 : 0) | tag.id);
    at += 4;
  }
  writeU16(bytes, at, repr.etherType);
  return at + 2 - start;
}

export function printEthernet(repr: EthernetRepr): string {
  const tags = repr.vlans.map((tag) => `, vlan ${tag.id}, p ${tag.priority}`).join("");
  const type = repr.etherType.toString(16).padStart(4, "0");
  return `${formatMac(repr.src)} > ${formatMac(repr.dst)}${tags}, ethertype 0x${type}`;
}
