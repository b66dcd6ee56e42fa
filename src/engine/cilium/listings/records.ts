/**
 * Entries of policy maps as the structs that `cilium bpf policy get -o json` prints (PolicyEntryDump of
 * pkg/maps/policymap/policymap.go), field by field with where it stands in the entry's bytes. Numbers are the machine's:
 * a port in network order comes out with its bytes swapped, as it does from the real command.
 */
import type { MapEntry } from "../../../filter/bpf/index.ts";
import { policyKeyBytes, policyValueBytes } from "../layouts.ts";
import type { MapGeneration } from "../variant.ts";

export interface RecordField {
  readonly name: string;
  /** `undefined`: not in the entry. */
  readonly offset: number | undefined;
  readonly bytes: 1 | 2 | 4 | 8;
}

const field = (name: string, bytes: RecordField["bytes"], offset?: number): RecordField => ({
  name,
  bytes,
  offset,
});

export const keyFields: readonly RecordField[] = [
  field("Prefixlen", 4, 0),
  field("Identity", 4, 4),
  field("TrafficDirection", 1, 8),
  field("Nexthdr", 1, 9),
  field("DestPortNetwork", 2, 10),
];

/** In the order of the struct. From 1.17 on the counters are kept elsewhere, and there are none before the first packet. */
export const entryFields: Readonly<Record<MapGeneration, readonly RecordField[]>> = {
  G1: [
    field("ProxyPortNetwork", 2, 0),
    field("Flags", 1, 2),
    field("AuthType", 1, 3),
    field("Pad1", 2, 4),
    field("Pad2", 2, 6),
    field("Packets", 8, 8),
    field("Bytes", 8, 16),
  ],
  G2: [
    field("ProxyPortNetwork", 2, 0),
    field("Flags", 1, 2),
    field("AuthRequirement", 1, 3),
    field("ProxyPortPriority", 1, 4),
    field("Pad1", 1, 5),
    field("Pad2", 2, 6),
    field("Packets", 8),
    field("Bytes", 8),
  ],
  G3: [
    field("ProxyPortNetwork", 2, 0),
    field("Flags", 1, 2),
    field("AuthRequirement", 1, 3),
    field("Precedence", 4, 4),
    field("Cookie", 4, 8),
    field("Packets", 8),
    field("Bytes", 8),
  ],
};

/** The field by which a record tells its generation. */
export const tellingField: Readonly<Record<MapGeneration, string>> = {
  G1: "AuthType",
  G2: "ProxyPortPriority",
  G3: "Precedence",
};

/** What the counters of an entry say that no packet has met yet. */
export const noCounter: bigint = 2n ** 64n - 1n;

export type PolicyRecord = Readonly<Record<string, number | bigint>>;

export function readRecord(bytes: Uint8Array, fields: readonly RecordField[]): PolicyRecord {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  return Object.fromEntries(
    fields.map(({ name, offset, bytes: size }) => [
      name,
      offset === undefined ? noCounter : readNumber(view, offset, size),
    ]),
  );
}

function readNumber(view: DataView, offset: number, size: RecordField["bytes"]): number | bigint {
  switch (size) {
    case 1:
      return view.getUint8(offset);
    case 2:
      return view.getUint16(offset, true);
    case 4:
      return view.getUint32(offset, true);
    case 8:
      return view.getBigUint64(offset, true);
  }
}

/** The entry that a record was read from; fields that it lacks are zero. Numbers are in range. */
export function recordEntry(
  generation: MapGeneration,
  key: Readonly<Record<string, number>>,
  value: Readonly<Record<string, number>>,
): Pick<MapEntry, "key" | "value"> {
  return {
    key: written(policyKeyBytes, keyFields, key),
    value: written(policyValueBytes[generation], entryFields[generation], value),
  };
}

function written(
  size: number,
  fields: readonly RecordField[],
  record: Readonly<Record<string, number>>,
): Uint8Array {
  const bytes = new Uint8Array(size);
  const view = new DataView(bytes.buffer);
  for (const { name, offset, bytes: width } of fields) {
    if (offset === undefined) continue;
    const number = record[name] ?? 0;
    if (width === 1) view.setUint8(offset, number);
    else if (width === 2) view.setUint16(offset, number, true);
    else if (width === 4) view.setUint32(offset, number, true);
    else view.setBigUint64(offset, BigInt(number), true);
  }
  return bytes;
}
