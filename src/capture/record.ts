/** Captured packets as records, whatever the file's format. */

/** Link-layer types (tcpdump.org/linktypes.html) that podwire writes or knows how to strip. */
export const LinkType = { ethernet: 1, raw: 101, linuxSll: 113, linuxSll2: 276 } as const;

export interface CaptureInterface {
  readonly name: string;
  /** A number of `LinkType`, or any other that a file holds. */
  readonly linkType: number;
}

export interface CaptureRecord {
  /** Index in the capture's interfaces, from 0. */
  readonly interfaceIndex: number;
  /** Since 1970 (or the start of virtual time). */
  readonly timestampNs: number;
  /** Length on the wire, where it was cut; otherwise that of `bytes`. */
  readonly originalLength?: number;
  readonly bytes: Uint8Array;
  readonly comments?: readonly string[];
}
