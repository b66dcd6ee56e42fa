/**
 * Random packets for random rule sets: first packets of connections, what both ends answer to what they were sent, ICMP
 * errors about it, and strays: cut and damaged headers, wrong checksums, fragments, answers that nobody asked for.
 */
import { formatIp } from "../../addr/index.ts";
import type { Prng } from "../../base/index.ts";
import { fragment, icmpEcho, icmpError, ipPacket, sctp, tcp, udp } from "../../packet/index.ts";
import {
  IpProtocol,
  internetChecksum,
  readU16,
  readU32,
  readWords,
  SctpChunkType,
  TcpFlag,
  writeU16,
} from "../../wire/index.ts";
import type { JudgedPacket } from "../kernel/index.ts";
import { type Family, ports, worlds } from "./table-world.ts";

const { syn, ack, rst, fin, psh } = TcpFlag;

interface Ends {
  readonly src: string;
  readonly dst: string;
  readonly sport: number;
  readonly dport: number;
}

/** Draws packets, and remembers those that arrived somewhere, for somebody answers them. */
export class PacketSource {
  readonly #random: Prng;
  readonly #arrived: Uint8Array[] = [];
  /** Datagrams in pieces: no two of one search alike, for the kernel waits for the rest of each. */
  #identification: number;

  constructor(random: Prng, identification: number) {
    this.#random = random;
    this.#identification = identification;
  }

  /** A packet left the node, or reached it, in this form. */
  arrived(bytes: Uint8Array): void {
    this.#arrived.push(bytes);
    if (this.#arrived.length > 40) this.#arrived.shift();
  }

  draw(): readonly JudgedPacket[] {
    const random = this.#random;
    if (this.#arrived.length > 0 && random.below(2) === 0) {
      // mostly about the latest: connections grow long
      const at =
        this.#arrived.length - 1 - random.below(Math.min(this.#arrived.length, random.pick([3, 40])));
      const answer = drawAnswer(random, this.#arrived[at] as Uint8Array);
      if (answer !== undefined) return [{ from: sideOf(answer), bytes: identified(answer) }];
    }
    const family = random.pick([4, 6] as const);
    const { from, bytes: drawn } = drawFirst(random, family);
    const bytes = identified(drawn);
    const canBeCut = bytes.length > (family === 4 ? 60 : 80) && from !== "inside" && random.below(4) === 0;
    if (!canBeCut) return [{ from, bytes }];
    const mtu = random.pick(family === 4 ? [68, 76] : [96, 104]);
    const pieces = fragment(bytes, mtu, this.#nextIdentification()).map((piece) => ({ from, bytes: piece }));
    const fate = random.below(6);
    if (fate === 0) return pieces.slice(1);
    return fate < 3 ? [...pieces].reverse() : pieces;
  }

  #nextIdentification(): number {
    this.#identification = (this.#identification + 1) & 0xffff;
    return this.#identification;
  }
}

function familyOf(bytes: Uint8Array): Family {
  return (bytes[0] ?? 0) >>> 4 === 4 ? 4 : 6;
}

function addressAt(bytes: Uint8Array, side: "src" | "dst"): string {
  const family = familyOf(bytes);
  const at = family === 4 ? (side === "src" ? 12 : 16) : side === "src" ? 8 : 24;
  return formatIp({ family, words: readWords(bytes, at, family === 4 ? 1 : 4) });
}

/** Where identification is 0 the kernel fills in one of its own, if the node itself sends the packet (raw(7)). */
function identified(bytes: Uint8Array): Uint8Array {
  if (familyOf(bytes) === 6 || readU16(bytes, 4) !== 0) return bytes;
  writeU16(bytes, 4, 1);
  writeU16(bytes, 10, 0);
  writeU16(bytes, 10, internetChecksum(bytes, 0, 20));
  return bytes;
}

/** The device that a packet from this source arrives by. */
function sideOf(bytes: Uint8Array): string {
  const src = addressAt(bytes, "src");
  if (src === worlds[4].node || src === worlds[6].node) return "inside";
  return src.startsWith("10.") || src.startsWith("fd") ? "in0" : "out0";
}

function drawPayload(random: Prng): Uint8Array {
  return new Uint8Array(random.pick([0, 0, 1, 8, 40, 120])).map(() => random.below(256));
}

function drawEnds(random: Prng, family: Family): { readonly from: string; readonly ends: Ends } {
  const { inside, outside, node, pool } = worlds[family];
  const numbers = { sport: random.pick([...ports, 1024, 40_000]), dport: random.pick(ports) };
  const far = random.pick([...outside, random.pick(pool)]);
  const near = random.pick(inside);
  const [from, src, dst] = random.pick([
    ["in0", near, far],
    ["in0", near, far],
    ["in0", near, far],
    ["out0", random.pick(outside), near],
    ["out0", random.pick(outside), near],
    ["in0", near, node],
    ["out0", random.pick(outside), node],
    ["inside", node, random.pick([near, far])],
  ] as const);
  return { from, ends: { src, dst, ...numbers } };
}

const initiation = {
  advertisedWindow: 9000,
  outboundStreams: 1,
  inboundStreams: 1,
  initialTsn: 1,
  parameters: [],
};

function drawFirst(random: Prng, family: Family): JudgedPacket {
  const { from, ends } = drawEnds(random, family);
  const fields = {
    ...ends,
    ttl: random.pick([64, 64, 64, 63, 2, 1]),
    tos: random.pick([0, 0, 0x10, 0x28, 0xb8, 3]),
    identification: random.below(65_536),
    dontFragment: random.below(2) === 0,
  };
  const payload = drawPayload(random);
  const mss = { kind: "mss", bytes: random.pick([536, 1459, 1460, 8960]) } as const;
  const scale = { kind: "window-scale", shift: 7 } as const;
  const draws: readonly (() => Uint8Array)[] = [
    () =>
      tcp({
        ...fields,
        flags: syn,
        seq: random.pick([1, 1000]),
        options: random.pick([[mss], [mss, scale], [{ kind: "nop" }, scale, mss]]),
      }),
    () => tcp({ ...fields, flags: syn, seq: random.pick([1, 1000]) }),
    () =>
      tcp({
        ...fields,
        flags: random.pick([ack, syn | ack, fin | ack, rst, 0, 0x3f]),
        seq: 7,
        ack: 9,
        payload,
      }),
    () => udp({ ...fields, payload }),
    () => udp({ ...fields, payload }),
    () => udp({ ...fields, payload, overrides: { checksum: random.pick(family === 4 ? [0, 1] : [1]) } }),
    () =>
      sctp({
        ...fields,
        verificationTag: 0,
        chunks: [{ kind: "init", initiateTag: 7, ...initiation }],
      }),
    () =>
      sctp({
        ...fields,
        verificationTag: random.pick([7, 8]),
        chunks: [random.pick([{ kind: "cookie-ack" }, { kind: "shutdown-ack" }] as const)],
      }),
    () => icmpEcho({ ...fields, identifier: random.pick([1, 2]), sequence: 1, payload }),
    () => icmpEcho({ ...fields, reply: true, identifier: 1, sequence: 1, payload }),
    () => ipPacket({ ...fields, protocol: random.pick([47, 50, 200]), payload }),
    () => {
      const protocol = random.pick([6, 17, 132, family === 4 ? 1 : 58]);
      return ipPacket({ ...fields, protocol, payload: payload.slice(0, random.below(20)) });
    },
    () => damaged(random, tcp({ ...fields, flags: syn, payload })),
    () => icmpError(udp({ ...fields, src: ends.dst, dst: ends.src }), ends.src, family === 4 ? 3 : 1, 1),
  ];
  return { from, bytes: random.pick(draws)() };
}

/** One byte of the transport header is another. */
function damaged(random: Prng, bytes: Uint8Array): Uint8Array {
  const at = (familyOf(bytes) === 4 ? 20 : 40) + random.below(20);
  bytes[at] = random.below(256);
  return bytes;
}

/** What the receiver of a packet sends: the next packet of the connection, or an error about it. */
function drawAnswer(random: Prng, bytes: Uint8Array): Uint8Array | undefined {
  const family = familyOf(bytes);
  const at = family === 4 ? 20 : 40;
  if (bytes.length < at + 8) return undefined;
  if (random.below(6) === 0) {
    const { inside, outside } = worlds[family];
    const from = random.pick([addressAt(bytes, "dst"), random.pick(outside), random.pick(inside)]);
    const cut = random.below(4) === 0 ? bytes.slice(0, at + 8) : bytes;
    const type = random.pick(family === 4 ? [3, 11] : [1, 3]);
    return icmpError(cut, from, type, random.pick([0, 1]));
  }
  const ends = {
    src: addressAt(bytes, "dst"),
    dst: addressAt(bytes, "src"),
    sport: readU16(bytes, at + 2),
    dport: readU16(bytes, at),
  };
  // now and then an answer to what was never asked: another port
  if (random.below(12) === 0) ends.dport = random.pick(ports);
  const payload = drawPayload(random);
  switch (bytes[family === 4 ? 9 : 6]) {
    case IpProtocol.tcp:
      return bytes.length < at + 20 ? undefined : answerTcp(random, bytes, at, ends, payload);
    case IpProtocol.udp:
      return udp({ ...ends, payload });
    case IpProtocol.sctp:
      return bytes.length < at + 20 ? undefined : answerSctp(random, bytes, at, ends);
    case IpProtocol.icmp:
    case IpProtocol.icmpv6: {
      const isRequest = bytes[at] === (family === 4 ? 8 : 128);
      return isRequest
        ? icmpEcho({ ...ends, reply: true, identifier: readU16(bytes, at + 4), sequence: 1, payload })
        : undefined;
    }
    default:
      return undefined;
  }
}

function answerTcp(random: Prng, bytes: Uint8Array, at: number, ends: Ends, payload: Uint8Array): Uint8Array {
  const flags = bytes[at + 13] ?? 0;
  const length = bytes.length - at - ((bytes[at + 12] ?? 0) >>> 4) * 4;
  const consumed = Math.max(0, length) + (flags & (syn | fin) ? 1 : 0);
  const next = {
    ...ends,
    seq: flags & ack ? readU32(bytes, at + 8) : 500,
    ack: (readU32(bytes, at + 4) + consumed) >>> 0,
  };
  if (random.below(10) === 0) return tcp({ ...next, flags: rst | ack });
  if (random.below(12) === 0)
    return tcp({ ...next, flags: ack, seq: (next.seq + 0x4000_0000) >>> 0, payload });
  if (flags & syn && !(flags & ack)) return tcp({ ...next, flags: syn | ack });
  if (flags & syn) return tcp({ ...next, flags: ack });
  return random.pick([
    () => tcp({ ...next, flags: ack }),
    () => tcp({ ...next, flags: ack | psh, payload }),
    () => tcp({ ...next, flags: fin | ack }),
  ])();
}

function answerSctp(random: Prng, bytes: Uint8Array, at: number, ends: Ends): Uint8Array {
  const tag = readU32(bytes, at + 4);
  const type = bytes[at + 12];
  const initiateTag = readU32(bytes, at + 16);
  const wrong = random.below(8) === 0 ? 1 : 0;
  switch (type) {
    case SctpChunkType.init:
      return sctp({
        ...ends,
        verificationTag: initiateTag + wrong,
        chunks: [{ kind: "init-ack", initiateTag: 9, ...initiation }],
      });
    case SctpChunkType.initAck:
      return sctp({
        ...ends,
        verificationTag: initiateTag + wrong,
        chunks: [{ kind: "cookie-echo", cookie: Uint8Array.of(1, 2, 3, 4) }],
      });
    default: {
      // the two tags of the connections above
      const verificationTag = (tag === 7 ? 9 : 7) + wrong;
      const kinds = [
        { kind: "cookie-ack" },
        { kind: "shutdown", cumulativeTsn: 1 },
        { kind: "shutdown-ack" },
        { kind: "shutdown-complete", reflected: false },
        { kind: "abort", reflected: false, causes: [] },
      ] as const;
      return sctp({ ...ends, verificationTag, chunks: [random.pick(kinds)] });
    }
  }
}
