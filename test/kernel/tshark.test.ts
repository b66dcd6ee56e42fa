/**
 * What we write, other people's tools read: tshark finds no malformed packet and no bad checksum in it and reads the
 * fields that `decode` reads; tcpdump prints the lines that `printPacket` prints.
 */
import { spawnSync } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import fc from "fast-check";
import { afterAll, beforeAll, expect, it } from "vitest";
import { LinkType, pcapngHeader, pcapngPacket } from "../../src/capture/index.ts";
import {
  append,
  arp,
  createBatch,
  DecodeStatus,
  decode,
  frame,
  type PacketBatch,
  sctp,
  tcp,
  udp,
  view,
} from "../../src/packet/index.ts";
import type { Flow, FlowProtocol } from "../../src/sim/index.ts";
import { EtherType, IpProtocol, printFrame, printPacket } from "../../src/wire/index.ts";
import { describeNeeding } from "../needs.ts";
import { corpus, type NamedPacket } from "../packet/corpus.ts";
import { randomPackets } from "../packet/random-packets.ts";
import { addressOf, type SmallWorld, smallWorld, Wire } from "../sim/small-network.ts";

let folder = "";
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), "podwire-tshark-"));
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

let files = 0;

/** `wireLengths`: of packets that the capture cut. */
function captureFile(
  packets: readonly Uint8Array[],
  linkType: number,
  wireLengths: readonly number[] = [],
): string {
  const file = join(folder, `${++files}.pcapng`);
  const blocks = packets.map((bytes, i) =>
    pcapngPacket({
      interfaceIndex: 0,
      seconds: i,
      nanoseconds: 0,
      bytes,
      originalLength: wireLengths[i] ?? bytes.length,
    }),
  );
  writeFileSync(file, Buffer.concat([pcapngHeader([{ name: "test", linkType }]), ...blocks]));
  return file;
}

function run(command: string, args: readonly string[]): string {
  const result = spawnSync(command, args, { encoding: "utf8", maxBuffer: 1 << 28 });
  if (result.status !== 0) throw new Error(`${command}: ${result.stderr.slice(0, 300)}`);
  return result.stdout;
}

const statuses = ["ip", "tcp", "udp", "sctp", "icmp", "icmpv6"].map((name) => `${name}.checksum.status`);
const fields = [
  ...["_ws.malformed", "_ws.expert.message", "_ws.expert.severity", "frame.protocols", ...statuses],
  ...["ip.src", "ip.dst", "ipv6.src", "ipv6.dst", "tcp.srcport", "tcp.dstport", "tcp.flags"],
  ...["udp.srcport", "udp.dstport", "sctp.srcport", "sctp.dstport"],
  ...["icmp.type", "icmp.code", "icmpv6.type", "icmpv6.code"],
] as const;

/** All values of each field, by packet. */
type Dissection = ReadonlyMap<string, readonly string[]>;

function dissect(packets: readonly Uint8Array[], linkType: number): readonly Dissection[] {
  const preferences = [
    ...[
      "ip.check_checksum:TRUE",
      "tcp.check_checksum:TRUE",
      "udp.check_checksum:TRUE",
      "sctp.checksum:CRC-32c",
    ],
    // each packet by itself: no reassembly, no memory of earlier segments
    ...["ip.defragment:FALSE", "ipv6.defragment:FALSE", "tcp.analyze_sequence_numbers:FALSE"],
  ].flatMap((preference) => ["-o", preference]);
  const output = run("tshark", [
    ...["-n", "-r", captureFile(packets, linkType), ...preferences],
    ...[
      "-T",
      "fields",
      "-E",
      "separator=|",
      "-E",
      "aggregator=;",
      ...fields.flatMap((field) => ["-e", field]),
    ],
  ]);
  const lines = output.split("\n").slice(0, -1);
  expect(lines.length).toBe(packets.length);
  return lines.map((line) => {
    const values = line.split("|");
    return new Map(
      fields.map((field, i) => [field, (values[i] ?? "").split(";").filter((text) => text !== "")]),
    );
  });
}

/** Severity `error`: what tshark says of malformed packets and bad checksums. */
const severityError = 0x800000;

function complaints(dissection: Dissection): readonly string[] {
  const bad = statuses.filter((name) => dissection.get(name)?.includes("0"));
  const severe = (dissection.get("_ws.expert.severity") ?? []).some((text) => Number(text) >= severityError);
  const malformed = (dissection.get("_ws.malformed") ?? []).length > 0;
  return [...bad, ...(severe || malformed ? (dissection.get("_ws.expert.message") ?? ["malformed"]) : [])];
}

/** A port of the packet itself: an ICMP error holds another one's. */
function columnsByTshark(dissection: Dissection, batch: PacketBatch, row: number): Record<string, unknown> {
  const first = (field: string): string => dissection.get(field)?.[0] ?? "";
  const ip = batch.family[row] === 4 ? "ip" : "ipv6";
  const ends = { src: first(`${ip}.src`), dst: first(`${ip}.dst`) };
  switch (batch.protocol[row]) {
    case IpProtocol.tcp:
      return {
        ...ends,
        sport: Number(first("tcp.srcport")),
        dport: Number(first("tcp.dstport")),
        flags: Number(first("tcp.flags")) & 0xff,
      };
    case IpProtocol.udp:
      return { ...ends, sport: Number(first("udp.srcport")), dport: Number(first("udp.dstport")), flags: 0 };
    case IpProtocol.sctp:
      return {
        ...ends,
        sport: Number(first("sctp.srcport")),
        dport: Number(first("sctp.dstport")),
        flags: 0,
      };
    case IpProtocol.icmp:
    case IpProtocol.icmpv6: {
      const name = batch.family[row] === 4 ? "icmp" : "icmpv6";
      const typeAndCode = Number(first(`${name}.type`)) * 256 + Number(first(`${name}.code`));
      return { ...ends, sport: 0, dport: typeAndCode, flags: 0 };
    }
    default:
      return { ...ends, sport: 0, dport: 0, flags: 0 };
  }
}

describeNeeding("tshark reads what we write", ["tshark"], () => {
  const check = (packets: readonly NamedPacket[]): void => {
    const dissections = dissect(
      packets.map(({ bytes }) => bytes),
      LinkType.raw,
    );
    const complaintsOfAll = packets.flatMap(({ name, family }, i) =>
      complaints(dissections[i] as Dissection).map(
        (text) => `${name} (IPv${family}, ${dissections[i]?.get("frame.protocols")}): ${text}`,
      ),
    );
    expect(complaintsOfAll).toEqual([]);
    const batch = createBatch(packets.length, 512);
    for (const { bytes } of packets) expect(append(batch, bytes)).toBeGreaterThanOrEqual(0);
    decode(batch);
    packets.forEach(({ name }, row) => {
      if (batch.status[row] === DecodeStatus.laterFragment) return;
      expect(batch.status[row], name).toBe(DecodeStatus.ok);
      const { src, dst, sport, dport } = view(batch, row);
      const ours = { src, dst, sport, dport, flags: batch.tcpFlags[row] };
      expect(ours, name).toEqual(columnsByTshark(dissections[row] as Dissection, batch, row));
    });
  };

  it("the corpus: all protocols and chunk types, both families, extension headers, fragments", () => {
    check(corpus);
  });

  it("a thousand random packets", () => {
    check(fc.sample(randomPackets, { seed: 7, numRuns: 1000 }));
  });

  it("frames: plain, tagged, tagged twice, ARP", () => {
    for (const one of dissect(frames, LinkType.ethernet)) expect(complaints(one)).toEqual([]);
  });

  it("and complains where we made bad packets on purpose", () => {
    const ends = { src: "10.0.0.1", dst: "10.0.0.2", sport: 40000, dport: 7777 };
    const bad = [
      tcp({ ...ends, flags: 2, overrides: { checksum: 1 } }),
      udp({ ...ends, overrides: { checksum: 1 } }),
      sctp({ ...ends, verificationTag: 1, chunks: [{ kind: "cookie-ack" }], overrides: { checksum: 1 } }),
      udp({ ...ends, ipOverrides: { checksum: 1 } }),
      udp({ ...ends, overrides: { length: 4 } }),
      tcp({ ...ends, flags: 2, overrides: { headerWords: 4 } }),
    ];
    for (const one of dissect(bad, LinkType.raw)) expect(complaints(one)).not.toEqual([]);
  });
});

describeNeeding("tshark follows what endpoints say to each other", ["tshark"], () => {
  /** All packets that pods of the small network hand to their nodes, in order. */
  function conversation(
    protocol: FlowProtocol,
    family: 4 | 6,
    play: (world: SmallWorld, flow: Flow) => void,
  ): Wire {
    const wire = new Wire();
    const world = smallWorld({ tap: wire.tap });
    const [src, dst] = ["x/a", "x/b"].map((id) => addressOf[id]?.[family]);
    if (src === undefined || dst === undefined) throw new Error("no such pod");
    play(world, world.hosts.connect({ from: "x/a", src, dst, protocol, port: 80 }, 3e9));
    world.network.loop.runUntil(world.network.loop.nowNs() + 1e9);
    return wire;
  }
  const talk = ({ hosts }: SmallWorld, flow: Flow): void => {
    for (const side of ["client", "server", "client"] as const) hosts.send(flow, side);
    hosts.close(flow);
  };

  it.each([4, 6] as const)("TCP: a complete conversation with nothing to remark on (IPv%i)", (family) => {
    const { packets } = conversation("TCP", family, talk);
    const file = captureFile(packets, LinkType.raw);
    const fields = [
      "-T",
      "fields",
      "-e",
      "tcp.completeness",
      "-e",
      "tcp.analysis.flags",
      "-e",
      "tcp.window_size",
    ];
    const rows = run("tshark", ["-n", "-r", file, "-o", "tcp.check_checksum:TRUE", ...fields])
      .split("\n")
      .slice(0, -1)
      .map((row) => row.split("\t"));
    expect(rows.length).toBe(13);
    // SYN, SYN-ACK, ACK, data and FIN were seen, and no retransmission, gap or reset
    expect(rows.at(-1)?.[0]).toBe("31");
    expect(rows.map(([, remarks]) => remarks)).toEqual(rows.map(() => ""));
    expect(rows.slice(2).map(([, , window]) => Number(window))).toEqual(rows.slice(2).map(() => 501 * 128));
  });

  it.each(["TCP", "UDP", "SCTP", "ICMP"] as const)(
    "%s: no malformed packet and no bad checksum",
    (protocol) => {
      for (const family of [4, 6] as const)
        for (const one of dissect(conversation(protocol, family, talk).packets, LinkType.raw))
          expect(complaints(one)).toEqual([]);
    },
  );
});

const mac = (last: number): readonly number[] => [2, 0, 0, 0, 0, last];
const anyPacket = udp({
  src: "10.0.0.1",
  dst: "10.0.0.2",
  sport: 40000,
  dport: 7777,
  payload: new Uint8Array(20),
});
const ends = { src: mac(1), dst: mac(2) };
const arpFields = {
  senderMac: mac(1),
  senderIp: 0x0a000001,
  targetMac: [0, 0, 0, 0, 0, 0],
  targetIp: 0x0a000002,
};
const frames: readonly Uint8Array[] = [
  frame(anyPacket, ends),
  frame(anyPacket, { ...ends, vlans: [{ id: 100, priority: 5 }] }),
  frame(anyPacket, {
    ...ends,
    vlans: [{ id: 7, protocol: EtherType.serviceVlan, dropEligible: true }, { id: 4095 }],
  }),
  frame(corpus.find(({ family }) => family === 6)?.bytes ?? anyPacket, ends),
  arp({ operation: 1, ...arpFields }),
  arp({ operation: 1, ...arpFields, targetMac: mac(9) }),
  arp({ operation: 2, ...arpFields, targetMac: mac(9) }),
];

/**
 * Where we print otherwise on purpose (print.ts): pairs of patterns on tcpdump's line and what ours has in its place.
 */
const differences: readonly (readonly [why: string, pattern: RegExp, ours: string])[] = [
  ["a blank at the end of SCTP lines", /\s+$/, ""],
  ["a blank before the comma between chunks", / , \(/g, ", ("],
  ["two blanks", /, {2}unreachable/, ", unreachable"],
  ["no blank", /missing!(?=\S)/, "missing! "],
  ["unread protocols", /: {2}ip-proto-/, ": ip-proto-"],
  [
    "addresses again behind extension headers",
    /(: (?:\w+(?:\([^)]*\):)? |RT6 \([^)]*\) )+)\S+\.(\d+) > \S+\.(\d+): sctp/,
    "$1$2 > $3: sctp",
  ],
];

function asOurs(line: string): string {
  return differences.reduce((text, [, pattern, ours]) => text.replace(pattern, ours), line);
}

describeNeeding("tcpdump prints what we print", ["tcpdump"], () => {
  const linesOf = (
    packets: readonly Uint8Array[],
    linkType: number,
    flags: readonly string[],
  ): readonly string[] =>
    run("tcpdump", [...flags, "-r", captureFile(packets, linkType)])
      .replace(/\n$/, "")
      .split(/\n(?!\t)/)
      .map((entry) => entry.split("\n")[0] ?? "");

  /** tcpdump 4.99 does not know these codes, fragments say more here, and SCTP behind ICMPv6 is not read by it. */
  const isOurOwn = ({ name }: NamedPacket): boolean =>
    /fragment \d|unreachable: (policyFail|rejectRoute)/.test(name);

  it("the corpus", () => {
    const packets = corpus.filter((packet) => !isOurOwn(packet));
    const lines = linesOf(
      packets.map(({ bytes }) => bytes),
      LinkType.raw,
      ["-nSt"],
    );
    expect(packets.map(({ bytes }) => printPacket(bytes))).toEqual(lines.map(asOurs));
  });

  it("packets that were cut, on the way or by the capture", () => {
    const whole = corpus.filter(({ name }) => /^(TCP (SYN|data)|UDP$|echo re|port unreachable)/.test(name));
    const cut = whole.map(({ bytes }) => bytes.slice(0, bytes.length - 3));
    for (const wireLengths of [[], whole.map(({ bytes }) => bytes.length)]) {
      const lines = run("tcpdump", ["-nSt", "-r", captureFile(cut, LinkType.raw, wireLengths)]);
      // of echoes and SYNs the cut takes what tcpdump wants to see whole
      const ours = cut.map((bytes, i) => printPacket(bytes, { wireLength: wireLengths[i] ?? bytes.length }));
      const theirs = lines.split("\n").slice(0, -1).map(asOurs);
      const isComparable = theirs.map((line) => !line.includes("[|"));
      expect(isComparable.filter(Boolean).length).toBeGreaterThan(6);
      expect(ours.filter((_, i) => isComparable[i])).toEqual(theirs.filter((_, i) => isComparable[i]));
    }
  });

  it("fragments as tcpdump -v notes them", () => {
    const packets = corpus.filter(({ name, family }) => / fragment \d/.test(name) && family === 4);
    const lines = run("tcpdump", [
      "-nStv",
      "-r",
      captureFile(
        packets.map(({ bytes }) => bytes),
        LinkType.raw,
      ),
    ]);
    const noted = [...lines.matchAll(/id (\d+), offset (\d+), flags \[([^\]]*)\].*length (\d+)\)/g)];
    const ours = packets.map(({ bytes }) => /frag (\d+):(\d+)@(\d+)(\+?)/.exec(printPacket(bytes)));
    expect(
      ours.map((one) => [one?.[1], one?.[3], one?.[4] === "+" ? "+" : "none", Number(one?.[2]) + 20]),
    ).toEqual(noted.map(([, id, offset, flags, length]) => [id, offset, flags, Number(length)]));
  });

  it("frames, with their addresses", () => {
    expect(frames.map(printFrame)).toEqual(linesOf(frames, LinkType.ethernet, ["-nSet"]).map(asOurs));
  });

  it("a thousand random TCP segments and datagrams", () => {
    const packets = fc
      .sample(randomPackets, { seed: 8, numRuns: 2000 })
      .filter(({ name }) => /^(TCP|UDP)$/.test(name))
      .map(({ bytes }) => bytes);
    expect(packets.length).toBeGreaterThan(500);
    expect(packets.map((bytes) => printPacket(bytes))).toEqual(
      linesOf(packets, LinkType.raw, ["-nSt"]).map(asOurs),
    );
  });
});
