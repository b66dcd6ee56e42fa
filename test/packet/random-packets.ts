/** Random whole packets, good ones: every protocol in both families, IPv6 with extension headers too. */
import fc from "fast-check";
import { icmpEcho, ipPacket, sctp, tcp, udp } from "../../src/packet/index.ts";
import type { ExtensionHeader } from "../../src/wire/index.ts";
import { optionsHeader } from "../../src/wire/index.ts";
import * as wire from "../wire/arbitraries.ts";
import type { NamedPacket } from "./corpus.ts";

const families = fc.constantFrom(4 as const, 6 as const);

/** Unicast addresses; tools have words of their own for others. */
function address(family: 4 | 6): fc.Arbitrary<string> {
  const octet = fc.integer({ min: 1, max: 250 });
  return family === 4
    ? fc.tuple(octet, octet, octet).map(([a, b, c]) => `10.${a}.${b}.${c}`)
    : fc.tuple(fc.nat(0xffff), fc.nat(0xffff)).map(([a, b]) => `fd00:${a.toString(16)}::${b.toString(16)}:1`);
}

const extensions: fc.Arbitrary<readonly ExtensionHeader[]> = fc.constantFrom(
  [],
  [],
  [],
  [optionsHeader(0)],
  [optionsHeader(60)],
  [optionsHeader(0), optionsHeader(60)],
);

/** Ports that no dissector claims. */
const port = fc.integer({ min: 40_000, max: 41_000 });

interface Ends {
  readonly src: string;
  readonly dst: string;
  readonly ttl: number;
  readonly tos: number;
  readonly identification: number;
  readonly flowLabel: number;
  readonly extensions: readonly ExtensionHeader[];
}

function ends(family: 4 | 6): fc.Arbitrary<Ends> {
  return fc.record({
    src: address(family),
    dst: address(family),
    ttl: fc.integer({ min: 2, max: 255 }),
    tos: wire.u8,
    identification: wire.u16,
    flowLabel: fc.nat(0xfffff),
    extensions: family === 4 ? fc.constant([]) : extensions,
  });
}

/** Options that tools print as they are: blocks of a SACK would have to fit the segment's numbers. */
const segment = wire.tcp.map(({ options, ...repr }) => ({
  ...repr,
  options: options.filter(
    (option) =>
      option.kind === "nop" ||
      option.kind === "mss" ||
      option.kind === "sack-permitted" ||
      option.kind === "timestamps" ||
      (option.kind === "window-scale" && option.shift <= 14),
  ),
}));

/** TLVs make sense to a tool only by their types, so that chunks have none; a heartbeat without one makes none. */
const chunk = fc
  .oneof(...wire.sctpChunks.slice(0, -1))
  .filter(
    (one) =>
      one.kind !== "heartbeat" &&
      one.kind !== "heartbeat-ack" &&
      !("parameters" in one && one.parameters.length > 0) &&
      !("causes" in one && one.causes.length > 0) &&
      !(one.kind === "sack" && one.gaps.length > 0) &&
      !(one.kind === "data" && one.data.length === 0),
  );

export const randomPackets: fc.Arbitrary<NamedPacket> = families.chain((family) =>
  fc.tuple(ends(family), port, port).chain(([fields, sport, dport]) => {
    const named = (name: string) => (bytes: Uint8Array) => ({ name, family, bytes });
    const both = { ...fields, sport, dport };
    return fc.oneof(
      segment
        .map((repr) => tcp({ ...repr, ...both }))
        .map(named(fields.extensions.length > 0 ? "TCP+" : "TCP")),
      wire
        .data(64)
        .map((payload) => udp({ ...both, payload }))
        .map(named(fields.extensions.length > 0 ? "UDP+" : "UDP")),
      fc
        .tuple(chunk, wire.u32)
        .map(([one, verificationTag]) => sctp({ ...both, verificationTag, chunks: [one] }))
        .map(named("SCTP")),
      fc
        .tuple(wire.u16, wire.u16, wire.data(64))
        .map(([identifier, sequence, payload]) => icmpEcho({ ...fields, identifier, sequence, payload }))
        .map(named("echo")),
      wire
        .data(64)
        .map((payload) => ipPacket({ ...fields, protocol: 253, payload }))
        .map(named("other")),
    );
  }),
);
