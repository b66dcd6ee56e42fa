/** Numbers of pcapng (draft-ietf-opsawg-pcapng) that its reader and its writer share. */

export const Block = {
  section: 0x0a0d0d0a,
  interface: 1,
  packetObsolete: 2,
  simplePacket: 3,
  enhancedPacket: 6,
} as const;

export const byteOrderMagic = 0x1a2b3c4d;

/** Codes are those of their block: 2 is a name on an interface and flags on a packet. */
export const Option = {
  end: 0,
  comment: 1,
  interfaceName: 2,
  packetFlags: 2,
  dropCount: 4,
  packetId: 5,
  packetQueue: 6,
  interfaceSpeed: 8,
  timeResolution: 9,
  timeOffset: 14,
} as const;

/** Blocks, data and options are padded to 32 bits. */
export function padded(length: number): number {
  return (length + 3) & ~3;
}
