/** Random headers of every protocol, each at the edges of its fields as often as in the middle. */
import fc from "fast-check";
import {
  type ArpRepr,
  authenticationHeader,
  type EthernetRepr,
  EtherType,
  type ExtensionHeader,
  emitIpv4Options,
  fragmentHeader,
  type IcmpRepr,
  type Ipv4Option,
  type Ipv4Repr,
  type Ipv6Repr,
  type NdpRepr,
  NextHeader,
  optionsHeader,
  routingHeader,
  type SctpChunk,
  type SctpRepr,
  type SctpTlv,
  type TcpOption,
  type TcpRepr,
  type UdpRepr,
} from "../../src/wire/index.ts";

const edges = (max: number): fc.Arbitrary<number> =>
  fc.oneof(fc.constantFrom(0, 1, max - 1, max), fc.integer({ min: 0, max }));
export const u8: fc.Arbitrary<number> = edges(0xff);
export const u16: fc.Arbitrary<number> = edges(0xffff);
export const u32: fc.Arbitrary<number> = edges(0xffff_ffff);
const bit = fc.boolean();

export function data(maxLength: number, minLength = 0): fc.Arbitrary<Uint8Array> {
  return fc.uint8Array({ minLength, maxLength });
}

/** `unit` times 0..`most` and `rest` bytes. */
function dataOf(unit: number, rest: number, most: number): fc.Arbitrary<Uint8Array> {
  return fc.integer({ min: 0, max: most }).chain((count) => data(unit * count + rest, unit * count + rest));
}

const mac = fc.array(u8, { minLength: 6, maxLength: 6 });
export const words6: fc.Arbitrary<number[]> = fc.array(u32, { minLength: 4, maxLength: 4 });

export const ethernet: fc.Arbitrary<EthernetRepr> = fc.record({
  dst: mac,
  src: mac,
  vlans: fc.array(
    fc.record({
      protocol: fc.constantFrom(EtherType.vlan, EtherType.serviceVlan),
      priority: fc.integer({ min: 0, max: 7 }),
      dropEligible: bit,
      id: edges(0xfff),
    }),
    { maxLength: 2 },
  ),
  etherType: u16.filter((type) => type !== EtherType.vlan && type !== EtherType.serviceVlan),
});

export const arp: fc.Arbitrary<ArpRepr> = fc.record({
  operation: u16,
  senderMac: mac,
  senderIp: u32,
  targetMac: mac,
  targetIp: u32,
});

/** Lists that fit a header; nothing follows `end`. */
export const ipv4Options: fc.Arbitrary<readonly Ipv4Option[]> = fc
  .array(
    fc.oneof(
      fc.constant<Ipv4Option>({ type: 1, data: new Uint8Array(0) }),
      fc.record({ type: fc.integer({ min: 2, max: 255 }), data: data(10) }),
    ),
    { maxLength: 4 },
  )
  .map((options) => {
    const size = options.reduce((sum, { type, data: { length } }) => sum + (type <= 1 ? 1 : 2 + length), 0);
    if (size > 40) return [];
    return size % 4 === 0 ? options : [...options, { type: 0, data: new Uint8Array(0) }];
  });

export const ipv4: fc.Arbitrary<Ipv4Repr> = fc.record({
  tos: u8,
  identification: u16,
  dontFragment: bit,
  moreFragments: bit,
  fragmentOffset: edges(0x1fff).map((units) => units * 8),
  ttl: u8,
  protocol: u8,
  src: u32,
  dst: u32,
  options: ipv4Options.map(emitIpv4Options),
  payload: data(64),
});

const option6 = fc.record({ type: fc.integer({ min: 2, max: 255 }), data: data(12) });

const extension: fc.Arbitrary<ExtensionHeader> = fc.oneof(
  fc
    .tuple(
      fc.constantFrom(NextHeader.hopByHop, NextHeader.destinationOptions),
      fc.array(option6, { maxLength: 3 }),
    )
    .map(([type, options]) => optionsHeader(type, options)),
  fc.tuple(u8, u8, dataOf(8, 4, 4)).map(([type, left, addresses]) => routingHeader(type, left, addresses)),
  fc.tuple(u32, u32, dataOf(8, 4, 3)).map(([spi, sequence, icv]) => authenticationHeader(spi, sequence, icv)),
);

/** A fragment header, where there is one, stands last: what follows a later fragment's is no header. */
export const extensions: fc.Arbitrary<readonly ExtensionHeader[]> = fc
  .tuple(
    fc.array(extension, { maxLength: 4 }),
    fc.option(fc.tuple(edges(0x1fff), bit, u32), { nil: undefined }),
  )
  .map(([headers, fragment]) =>
    fragment === undefined
      ? headers
      : [...headers, fragmentHeader(fragment[0] * 8, fragment[1], fragment[2])],
  );

const skipped: readonly number[] = [0, 43, 44, 51, 60];

export const ipv6: fc.Arbitrary<Ipv6Repr> = fc.record({
  trafficClass: u8,
  flowLabel: edges(0xfffff),
  hopLimit: u8,
  src: words6,
  dst: words6,
  extensions,
  protocol: u8.filter((protocol) => !skipped.includes(protocol)),
  payload: data(64),
});

export const icmp: fc.Arbitrary<IcmpRepr> = fc.record({ type: u8, code: u8, rest: u32, data: data(64) });

const ndpOptions = fc.array(fc.record({ type: u8, data: dataOf(8, 6, 3) }), { maxLength: 3 });

export const ndp: fc.Arbitrary<NdpRepr> = fc.oneof(
  fc.record({ kind: fc.constant("router-solicitation" as const), options: ndpOptions }),
  fc.record({
    kind: fc.constant("router-advertisement" as const),
    options: ndpOptions,
    hopLimit: u8,
    flags: u8,
    lifetimeSeconds: u16,
    reachableMs: u32,
    retransmitMs: u32,
  }),
  fc.record({ kind: fc.constant("neighbor-solicitation" as const), options: ndpOptions, target: words6 }),
  fc.record({
    kind: fc.constant("neighbor-advertisement" as const),
    options: ndpOptions,
    flags: u8,
    target: words6,
  }),
  fc.record({
    kind: fc.constant("redirect" as const),
    options: ndpOptions,
    target: words6,
    destination: words6,
  }),
);

const tcpOption: fc.Arbitrary<TcpOption> = fc.oneof(
  fc.constant<TcpOption>({ kind: "nop" }),
  fc.record({ kind: fc.constant("mss" as const), bytes: u16 }),
  fc.record({ kind: fc.constant("window-scale" as const), shift: u8 }),
  fc.constant<TcpOption>({ kind: "sack-permitted" }),
  fc.record({
    kind: fc.constant("sack" as const),
    blocks: fc.array(fc.tuple(u32, u32), { minLength: 1, maxLength: 4 }),
  }),
  fc.record({ kind: fc.constant("timestamps" as const), value: u32, echo: u32 }),
  fc.record({
    kind: fc.constant("unknown" as const),
    type: fc.constantFrom(9, 19, 28, 34, 69, 253, 254, 255),
    data: data(8),
  }),
  // a known type of a wrong length is unknown too
  fc.record({
    kind: fc.constant("unknown" as const),
    type: fc.constantFrom(2, 3, 4, 5, 8),
    data: data(5, 3),
  }),
);

const optionSizes = {
  end: 1,
  nop: 1,
  mss: 4,
  "window-scale": 3,
  "sack-permitted": 2,
  timestamps: 10,
} as const;

function tcpOptionSize(option: TcpOption): number {
  if (option.kind === "sack") return 2 + 8 * option.blocks.length;
  return option.kind === "unknown" ? 2 + option.data.length : optionSizes[option.kind];
}

/** Lists that fit a header; one that does not fill whole words is ended. */
export const tcpOptions: fc.Arbitrary<readonly TcpOption[]> = fc
  .array(tcpOption, { maxLength: 5 })
  .map((options) => {
    const fitting: TcpOption[] = [];
    let size = 0;
    for (const option of options) {
      if (size + tcpOptionSize(option) > 40) break;
      fitting.push(option);
      size += tcpOptionSize(option);
    }
    return size % 4 === 0 ? fitting : [...fitting, { kind: "end" }];
  });

export const tcp: fc.Arbitrary<TcpRepr> = fc.record({
  sport: u16,
  dport: u16,
  seq: u32,
  ack: u32,
  flags: u8,
  window: u16,
  urgent: u16,
  options: tcpOptions,
  payload: data(64),
});

export const udp: fc.Arbitrary<UdpRepr> = fc.record({ sport: u16, dport: u16, payload: data(64) });

const tlvs: fc.Arbitrary<readonly SctpTlv[]> = fc.array(fc.record({ type: u16, value: data(9) }), {
  maxLength: 3,
});

function init(kind: "init" | "init-ack"): fc.Arbitrary<SctpChunk> {
  return fc.record({
    kind: fc.constant(kind),
    initiateTag: u32,
    advertisedWindow: u32,
    outboundStreams: u16,
    inboundStreams: u16,
    initialTsn: u32,
    parameters: tlvs,
  });
}

/** One arbitrary a chunk type, so that every type is met in every run. */
export const sctpChunks: readonly fc.Arbitrary<SctpChunk>[] = [
  fc.record({
    kind: fc.constant("data" as const),
    flags: u8,
    tsn: u32,
    stream: u16,
    sequence: u16,
    payloadProtocol: u32,
    data: data(21),
  }),
  init("init"),
  init("init-ack"),
  fc.record({
    kind: fc.constant("sack" as const),
    cumulativeTsn: u32,
    advertisedWindow: u32,
    gaps: fc.array(fc.tuple(u16, u16), { maxLength: 3 }),
    duplicates: fc.array(u32, { maxLength: 3 }),
  }),
  fc.record({ kind: fc.constantFrom("heartbeat" as const, "heartbeat-ack" as const), info: tlvs }),
  fc.record({ kind: fc.constant("abort" as const), reflected: bit, causes: tlvs }),
  fc.record({ kind: fc.constant("error" as const), causes: tlvs }),
  fc.record({ kind: fc.constant("shutdown" as const), cumulativeTsn: u32 }),
  fc.record({ kind: fc.constantFrom("shutdown-ack" as const, "cookie-ack" as const) }),
  fc.record({ kind: fc.constant("shutdown-complete" as const), reflected: bit }),
  fc.record({ kind: fc.constant("cookie-echo" as const), cookie: data(21) }),
  fc.record({
    kind: fc.constant("unknown" as const),
    type: fc.constantFrom(12, 13, 15, 64, 128, 130, 192, 193, 255),
    flags: u8,
    value: data(21),
  }),
];

export const sctp: fc.Arbitrary<SctpRepr> = fc.record({
  sport: u16,
  dport: u16,
  verificationTag: u32,
  chunks: fc.array(fc.oneof(...sctpChunks), { maxLength: 4 }),
});
