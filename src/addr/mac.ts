/** Ethernet MAC addresses (IEEE 802, EUI-48) as six bytes. */

/** Six bytes. */
export type Mac = readonly number[];

/** `undefined` when the text is not six two-digit hexadecimal octets joined by `:` or `-`. */
export function parseMac(text: string): Mac | undefined {
  const parts = text.split(text.includes("-") ? "-" : ":");
  if (parts.length !== 6 || !parts.every((part) => /^[0-9a-fA-F]{2}$/.test(part))) return undefined;
  return parts.map((part) => Number.parseInt(part, 16));
}

export function formatMac(mac: Mac): string {
  return mac.map((octet) => octet.toString(16).padStart(2, "0")).join(":");
}

/** A locally administered unicast address that depends on `value` (uint32) alone. */
export function localMac(value: number): Mac {
  return [0x02, 0x50, (value >>> 24) & 255, (value >>> 16) & 255, (value >>> 8) & 255, value & 255];
}
