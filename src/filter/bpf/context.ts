/**
 * What a program is handed besides registers: the layouts of `__sk_buff` and `xdp_md`, which fields a program type may
 * write, and program types themselves. Numbers and offsets are those of include/uapi/linux/bpf.h; write rights are those
 * of the `*_is_valid_access` functions of net/core/filter.c.
 */

/** BPF_PROG_TYPE_*. */
export const ProgramType = { socketFilter: 1, schedCls: 3, xdp: 6, cgroupSkb: 8 } as const;
export type ProgramType = (typeof ProgramType)[keyof typeof ProgramType];

export interface ContextField {
  readonly name: string;
  readonly offset: number;
  readonly size: number;
  /** Types of program that may store to it. */
  readonly writers: readonly ProgramType[];
}

const word = (name: string, offset: number, writers: readonly ProgramType[] = []): ContextField => ({
  name,
  offset,
  size: 4,
  writers,
});

const { socketFilter, schedCls, cgroupSkb } = ProgramType;

/** Fields that the emulator fills; all others read as zero. */
export const skbFields: readonly ContextField[] = [
  word("len", 0),
  word("pkt_type", 4),
  word("mark", 8, [schedCls, cgroupSkb]),
  word("queue_mapping", 12, [schedCls]),
  word("protocol", 16),
  word("vlan_present", 20),
  word("vlan_tci", 24),
  word("vlan_proto", 28),
  word("priority", 32, [schedCls, cgroupSkb]),
  word("ingress_ifindex", 36),
  word("ifindex", 40),
  word("tc_index", 44, [schedCls]),
  { name: "cb", offset: 48, size: 20, writers: [socketFilter, schedCls, cgroupSkb] },
  word("hash", 68),
  word("tc_classid", 72, [schedCls]),
  word("data", 76),
  word("data_end", 80),
  word("data_meta", 140),
  { name: "tstamp", offset: 152, size: 8, writers: [schedCls, cgroupSkb] },
  word("wire_len", 160),
  word("gso_segs", 164),
  word("gso_size", 176),
];
export const skbBytes = 192;

export const xdpFields: readonly ContextField[] = [
  word("data", 0),
  word("data_end", 4),
  word("data_meta", 8),
  word("ingress_ifindex", 12),
  word("rx_queue_index", 16),
  word("egress_ifindex", 20),
];
export const xdpBytes = 24;

export interface ContextLayout {
  readonly fields: readonly ContextField[];
  readonly sizeBytes: number;
  /** By byte: may a program of the type store to it? */
  readonly writable: Uint8Array;
  offsetOf(name: string): number;
}

export function contextLayout(type: ProgramType): ContextLayout {
  const isXdp = type === ProgramType.xdp;
  const fields = isXdp ? xdpFields : skbFields;
  const sizeBytes = isXdp ? xdpBytes : skbBytes;
  const writable = new Uint8Array(sizeBytes);
  for (const { offset, size, writers } of fields)
    if (writers.includes(type)) writable.fill(1, offset, offset + size);
  const offsets = new Map(fields.map(({ name, offset }) => [name, offset]));
  return {
    fields,
    sizeBytes,
    writable,
    offsetOf(name) {
      const offset = offsets.get(name);
      if (offset === undefined) throw new RangeError(`no context field ${name}`);
      return offset;
    },
  };
}
