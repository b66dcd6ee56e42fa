/** Keys, values and records as text, field by field, as `bpftool map dump` does with BTF: `saddr=10.0.0.5 dport=80`. */
import { formatIp } from "../../addr/index.ts";
import type { FieldLayout } from "./maps/shape.ts";

/** Fields that lie in the bytes; without a layout the bytes in hex. */
export function fieldsText(layout: readonly FieldLayout[] | undefined, bytes: Uint8Array): string {
  if (layout === undefined) return [...bytes].map((byte) => byte.toString(16).padStart(2, "0")).join("");
  return layout.map((field) => `${field.name}=${fieldText(field, bytes)}`).join(" ");
}

export function fieldText(
  { offset, size, format, bits, names = {} }: FieldLayout,
  bytes: Uint8Array,
): string {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const isV4 = format === "ip" && bytes.subarray(offset + 4, offset + 16).every((byte) => byte === 0);
  if (format === "ip4" || isV4) return formatIp({ family: 4, words: [view.getUint32(offset)] });
  if (format === "ip6" || format === "ip")
    return formatIp({ family: 6, words: [0, 4, 8, 12].map((at) => view.getUint32(offset + at)) });
  const whole = numberAt(bytes.subarray(offset, offset + size), format === "be");
  const number =
    bits === undefined ? whole : (whole >> BigInt(bits.shift)) & ((1n << BigInt(bits.count)) - 1n);
  if (format === "hex") return `0x${number.toString(16)}`;
  if (format === "flags") return flagsText(number, names);
  return format === "enum" ? (names[Number(number)] ?? String(number)) : String(number);
}

/** Up to 16 bytes. */
function numberAt(bytes: Uint8Array, isNetworkOrder: boolean): bigint {
  const order = isNetworkOrder ? [...bytes] : [...bytes].reverse();
  return order.reduce((sum, byte) => (sum << 8n) | BigInt(byte), 0n);
}

function flagsText(number: bigint, names: Readonly<Record<number, string>>): string {
  let rest = number;
  const set: string[] = [];
  for (const [bit, name] of Object.entries(names)) {
    const mask = BigInt(bit);
    if ((rest & mask) === 0n) continue;
    set.push(name);
    rest &= ~mask;
  }
  if (rest !== 0n) set.push(`0x${rest.toString(16)}`);
  return set.length === 0 ? "0" : set.join("|");
}
