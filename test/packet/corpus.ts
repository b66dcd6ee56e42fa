/**
 * Good packets of every kind that the builders make, by name and family: for goldens, for truncation, and for other
 * people's tools to read (test/kernel).
 */
import {
  fragment,
  icmp,
  icmpEcho,
  icmpError,
  ipPacket,
  neighborDiscovery,
  sctp,
  tcp,
  udp,
} from "../../src/packet/index.ts";
import {
  authenticationHeader,
  type ExtensionHeader,
  emitIpv4Options,
  Icmpv4Type,
  Icmpv6Type,
  NdpOptionType,
  optionsHeader,
  routingHeader,
  type SctpChunk,
  TcpFlag,
  Unreachable6Code,
  UnreachableCode,
} from "../../src/wire/index.ts";

export interface NamedPacket {
  readonly name: string;
  readonly family: 4 | 6;
  readonly bytes: Uint8Array;
}

const ends = {
  4: { src: "10.0.0.1", dst: "10.0.0.2" },
  6: { src: "fd00::1", dst: "fd00::2" },
} as const;
/** Ports that no dissector claims, so that payloads stay what they are. */
const ports = { sport: 40000, dport: 7777 };
const text = (value: string): Uint8Array => new TextEncoder().encode(value);

const init = {
  initiateTag: 0x11223344,
  advertisedWindow: 106_496,
  outboundStreams: 10,
  inboundStreams: 65_535,
  initialTsn: 1000,
};

export const sctpChunks: Readonly<Record<string, SctpChunk>> = {
  data: {
    kind: "data",
    flags: 3,
    tsn: 1000,
    stream: 1,
    sequence: 2,
    payloadProtocol: 0,
    data: text("podwire"),
  },
  "data, first part": {
    kind: "data",
    flags: 2,
    tsn: 1001,
    stream: 1,
    sequence: 3,
    payloadProtocol: 99,
    data: text("pod"),
  },
  "data, unordered": {
    kind: "data",
    flags: 7,
    tsn: 1002,
    stream: 1,
    sequence: 0,
    payloadProtocol: 0,
    data: text("w"),
  },
  init: {
    kind: "init",
    ...init,
    parameters: [
      { type: 12, value: Uint8Array.of(0, 5, 0, 6) }, // supported address types
      { type: 0x8000, value: new Uint8Array(0) }, // ECN capable
      { type: 0xc000, value: new Uint8Array(0) }, // forward TSN
    ],
  },
  "init-ack": {
    kind: "init-ack",
    ...init,
    parameters: [
      { type: 7, value: text("a cookie") },
      { type: 0x8000, value: new Uint8Array(0) },
    ],
  },
  "init-ack, padded cookie": { kind: "init-ack", ...init, parameters: [{ type: 7, value: text("cookies") }] },
  sack: { kind: "sack", cumulativeTsn: 999, advertisedWindow: 106_496, gaps: [], duplicates: [] },
  heartbeat: { kind: "heartbeat", info: [{ type: 1, value: text("now 0123") }] },
  "heartbeat-ack": { kind: "heartbeat-ack", info: [{ type: 1, value: text("now 0123") }] },
  abort: { kind: "abort", reflected: false, causes: [{ type: 12, value: text("bye!") }] },
  "abort, reflected": { kind: "abort", reflected: true, causes: [] },
  shutdown: { kind: "shutdown", cumulativeTsn: 1002 },
  "shutdown-ack": { kind: "shutdown-ack" },
  "shutdown-complete": { kind: "shutdown-complete", reflected: false },
  error: { kind: "error", causes: [{ type: 3, value: Uint8Array.of(0, 0, 3, 232) }] },
  "cookie-echo": { kind: "cookie-echo", cookie: text("a cookie!") },
  "cookie-ack": { kind: "cookie-ack" },
};

function ofBoth(name: string, make: (family: 4 | 6) => Uint8Array): readonly NamedPacket[] {
  return ([4, 6] as const).map((family) => ({ name, family, bytes: make(family) }));
}

const tcpPackets: readonly NamedPacket[] = [
  ...ofBoth("TCP SYN", (family) =>
    tcp({
      ...ends[family],
      ...ports,
      flags: TcpFlag.syn,
      seq: 1000,
      options: [
        { kind: "mss", bytes: family === 4 ? 1460 : 1440 },
        { kind: "sack-permitted" },
        { kind: "timestamps", value: 100, echo: 0 },
        { kind: "nop" },
        { kind: "window-scale", shift: 7 },
      ],
    }),
  ),
  ...ofBoth("TCP data with SACK blocks", (family) =>
    tcp({
      ...ends[family],
      ...ports,
      flags: TcpFlag.ack | TcpFlag.psh,
      seq: 0xffff_fffe,
      ack: 7,
      window: 501,
      options: [
        { kind: "nop" },
        { kind: "nop" },
        {
          kind: "sack",
          blocks: [
            [100, 200],
            [300, 400],
          ],
        },
      ],
      payload: text("podwire"),
    }),
  ),
  ...ofBoth("TCP FIN", (family) =>
    tcp({ ...ends[family], ...ports, flags: TcpFlag.fin | TcpFlag.ack, seq: 8, ack: 9 }),
  ),
  ...ofBoth("TCP RST", (family) =>
    tcp({ ...ends[family], ...ports, flags: TcpFlag.rst | TcpFlag.ack, ack: 1001, window: 0 }),
  ),
  ...ofBoth("TCP urgent, ECN, an option that nobody knows", (family) =>
    tcp({
      ...ends[family],
      ...ports,
      flags: TcpFlag.ack | TcpFlag.urg | TcpFlag.ece | TcpFlag.cwr,
      seq: 8,
      ack: 9,
      urgent: 3,
      options: [{ kind: "unknown", type: 77, data: Uint8Array.of(1, 2) }],
      payload: text("now"),
    }),
  ),
];

const udpPackets: readonly NamedPacket[] = [
  ...ofBoth("UDP", (family) => udp({ ...ends[family], ...ports, payload: text("podwire") })),
  ...ofBoth("UDP without payload", (family) => udp({ ...ends[family], ...ports })),
  {
    name: "UDP without checksum",
    family: 4,
    bytes: udp({ ...ends[4], ...ports, overrides: { checksum: 0 } }),
  },
  {
    name: "UDP behind IPv4 options",
    family: 4,
    bytes: udp({
      ...ends[4],
      ...ports,
      ipOptions: emitIpv4Options([{ type: 148, data: new Uint8Array(2) }]),
    }),
  },
];

const sctpPackets: readonly NamedPacket[] = [
  ...Object.entries(sctpChunks).flatMap(([name, chunk]) =>
    ofBoth(`SCTP ${name}`, (family) =>
      sctp({ ...ends[family], ...ports, verificationTag: chunk.kind === "init" ? 0 : 5, chunks: [chunk] }),
    ),
  ),
  ...ofBoth("SCTP COOKIE ACK with data", (family) => {
    const chunks = ["cookie-ack", "sack", "data"].map((name) => sctpChunks[name] as SctpChunk);
    return sctp({ ...ends[family], ...ports, verificationTag: 5, chunks });
  }),
];

const datagram = (family: 4 | 6): Uint8Array => udp({ ...ends[family], ...ports, payload: text("podwire") });
const segment = (family: 4 | 6): Uint8Array => tcp({ ...ends[family], ...ports, flags: TcpFlag.syn });

const icmpPackets: readonly NamedPacket[] = [
  ...ofBoth("echo request", (family) =>
    icmpEcho({ ...ends[family], identifier: 3, sequence: 4, payload: text("ping") }),
  ),
  ...ofBoth("echo reply", (family) => icmpEcho({ ...ends[family], reply: true, identifier: 3, sequence: 5 })),
  ...Object.entries(UnreachableCode).map(([name, code]) => ({
    name: `unreachable: ${name}`,
    family: 4 as const,
    bytes: icmpError(datagram(4), ends[4].dst, Icmpv4Type.unreachable, code, code === 4 ? 1400 : 0),
  })),
  ...Object.entries(Unreachable6Code).map(([name, code]) => ({
    name: `unreachable: ${name}`,
    family: 6 as const,
    bytes: icmpError(datagram(6), ends[6].dst, Icmpv6Type.unreachable, code),
  })),
  ...ofBoth("port unreachable about TCP", (family) =>
    family === 4
      ? icmpError(segment(4), ends[4].dst, Icmpv4Type.unreachable, UnreachableCode.port)
      : icmpError(segment(6), ends[6].dst, Icmpv6Type.unreachable, Unreachable6Code.port),
  ),
  ...ofBoth("time exceeded", (family) =>
    icmpError(
      datagram(family),
      ends[family].dst,
      family === 4 ? Icmpv4Type.timeExceeded : Icmpv6Type.timeExceeded,
      0,
    ),
  ),
  ...ofBoth("parameter problem", (family) =>
    icmpError(
      datagram(family),
      ends[family].dst,
      family === 4 ? Icmpv4Type.parameterProblem : Icmpv6Type.parameterProblem,
      0,
      family === 4 ? 9 << 24 : 6,
    ),
  ),
  {
    name: "redirect",
    family: 4,
    bytes: icmpError(datagram(4), ends[4].dst, Icmpv4Type.redirect, 1, 0x0a000009),
  },
  {
    name: "timestamp request",
    family: 4,
    bytes: icmp({
      ...ends[4],
      type: Icmpv4Type.timestampRequest,
      code: 0,
      rest: 0x00030004,
      data: new Uint8Array(12),
    }),
  },
  {
    name: "packet too big",
    family: 6,
    bytes: icmpError(datagram(6), ends[6].dst, Icmpv6Type.packetTooBig, 0, 1280),
  },
];

const target = [0xfd000000, 0, 0, 2];
const linkAddress = { type: NdpOptionType.sourceLinkAddress, data: Uint8Array.of(2, 0, 0, 0, 0, 1) };
const link = { src: "fe80::1", dst: "ff02::1" };

const neighborPackets: readonly NamedPacket[] = [
  {
    name: "router solicitation",
    bytes: neighborDiscovery({
      ...link,
      dst: "ff02::2",
      ndp: { kind: "router-solicitation", options: [linkAddress] },
    }),
  },
  {
    name: "router advertisement",
    bytes: neighborDiscovery({
      ...link,
      ndp: {
        kind: "router-advertisement",
        hopLimit: 64,
        flags: 0x40,
        lifetimeSeconds: 1800,
        reachableMs: 0,
        retransmitMs: 0,
        options: [{ type: NdpOptionType.mtu, data: Uint8Array.of(0, 0, 0, 0, 5, 220) }],
      },
    }),
  },
  {
    name: "neighbor solicitation",
    bytes: neighborDiscovery({
      ...link,
      dst: "ff02::1:ff00:2",
      ndp: { kind: "neighbor-solicitation", target, options: [linkAddress] },
    }),
  },
  {
    name: "neighbor advertisement",
    bytes: neighborDiscovery({
      src: ends[6].dst,
      dst: ends[6].src,
      ndp: {
        kind: "neighbor-advertisement",
        flags: 0x60,
        target,
        options: [{ ...linkAddress, type: NdpOptionType.targetLinkAddress }],
      },
    }),
  },
  {
    name: "redirect6",
    bytes: neighborDiscovery({
      ...link,
      dst: ends[6].src,
      ndp: { kind: "redirect", target: [0xfe800000, 0, 0, 2], destination: target, options: [] },
    }),
  },
].map((packet) => ({ ...packet, family: 6 }));

const headers: Readonly<Record<string, readonly ExtensionHeader[]>> = {
  "hop-by-hop": [optionsHeader(0, [{ type: 5, data: new Uint8Array(2) }])],
  "destination options": [optionsHeader(60, [{ type: 30, data: new Uint8Array(9) }])],
  "routing, at its end": [routingHeader(2, 0, new Uint8Array(20))],
  authentication: [authenticationHeader(256, 1, new Uint8Array(12).fill(7))],
  "hop-by-hop, destination options and authentication": [
    optionsHeader(0),
    optionsHeader(60),
    authenticationHeader(256, 2, new Uint8Array(12)),
  ],
};

const extensionPackets: readonly NamedPacket[] = Object.entries(headers).flatMap(([name, extensions]) =>
  [
    {
      name: `TCP behind ${name}`,
      bytes: tcp({ ...ends[6], ...ports, flags: TcpFlag.syn, seq: 1, extensions }),
    },
    {
      name: `UDP behind ${name}`,
      bytes: udp({ ...ends[6], ...ports, payload: text("podwire"), extensions }),
    },
    {
      name: `SCTP behind ${name}`,
      bytes: sctp({
        ...ends[6],
        ...ports,
        verificationTag: 5,
        chunks: [{ kind: "cookie-ack" }],
        extensions,
      }),
    },
    { name: `echo behind ${name}`, bytes: icmpEcho({ ...ends[6], identifier: 1, sequence: 2, extensions }) },
  ].map((packet) => ({ ...packet, family: 6 as const })),
);

const long = new Uint8Array(200).map((_, i) => i);
const fragments: readonly NamedPacket[] = ([4, 6] as const).flatMap((family) => [
  ...fragment(udp({ ...ends[family], ...ports, payload: long }), 140, 77).map((bytes, i) => ({
    name: `UDP fragment ${i + 1}`,
    family,
    bytes,
  })),
  ...fragment(icmpEcho({ ...ends[family], identifier: 3, sequence: 4, payload: long }), 140, 78).map(
    (bytes, i) => ({
      name: `echo fragment ${i + 1}`,
      family,
      bytes,
    }),
  ),
]);

const others: readonly NamedPacket[] = [
  ...ofBoth("a protocol for experiments", (family) =>
    ipPacket({ ...ends[family], protocol: 253, payload: long.slice(0, 9) }),
  ),
  {
    name: "no next header",
    family: 6,
    bytes: ipPacket({ ...ends[6], protocol: 59, payload: new Uint8Array(0) }),
  },
];

export const corpus: readonly NamedPacket[] = [
  ...tcpPackets,
  ...udpPackets,
  ...sctpPackets,
  ...icmpPackets,
  ...neighborPackets,
  ...extensionPackets,
  ...fragments,
  ...others,
];
