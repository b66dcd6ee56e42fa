/**
 * What all stages of a datapath program share: the builder, the family, names of jump targets, and the one stack frame
 * that stages hand values on in. A program holds both families side by side and never calls another: the kernel's
 * verifier takes it whole, and a packet pays for no tail call. r6 is the context throughout, r7 the offset of the
 * transport header from the packet's start; r8 and r9 belong to the stage that runs.
 */
import { ProgramBuilder, type Register, r1, r2, r6, r10 } from "../../../filter/bpf/index.ts";
import type { Family, TupleOffsets } from "../layouts.ts";
import { tupleOffsets } from "../layouts.ts";
import { MapPlace } from "../maps.ts";
import { Reason } from "./reasons.ts";

/** Offsets from the frame pointer. */
export const Frame = {
  /** Connection key: 38 bytes. */
  tuple: -40,
  /** Key of whatever map is asked, 40 bytes. */
  key: -80,
  /** Value of whatever map is written, 56 bytes. */
  value: -136,
  sourceIdentity: -140,
  destinationIdentity: -144,
  /** Endpoint that the program speaks for. */
  endpoint: -148,
  /** Flags byte of TCP, with `tcpMark` beside it; 0 for all else. */
  tcpFlags: -152,
  /** Seconds. */
  now: -156,
  /** Destination port as the policy map has it (network order), or the ICMP type. */
  policyPort: -160,
  /** ICMP type and code as they stand in the packet, low byte first. */
  icmp: -164,
  /** Of the Service that the packet was translated for; network order. */
  revNat: -168,
  /** `ConnectionFlag`s that a new entry begins with. */
  newFlags: -172,
  reason: -176,
  /** What the policy lookup answered: proxy port (network order). */
  proxyPort: -180,
  matchType: -184,
  /** 1 for a packet whose connection is not known yet. */
  isNew: -188,
  backend: -192,
  /** Address to write into the packet, 16 bytes, and the port behind it. */
  address: -208,
  port: -212,
  /** 1 for a fragment that has no transport header. */
  laterFragment: -216,
  event: -264,
  /** The connection's key as the packet came: 40 bytes, where a second judgement begins anew. */
  savedTuple: -304,
  /** What an ICMP error quotes: 64 bytes; before it, back to back, the headers in front of it, behind two unused bytes. */
  quoted: -368,
  answer: -432,
  /** Bytes of a checksum's pseudo header, and of the link header that was. */
  pseudo: -448,
} as const;

/** In `Frame.tcpFlags`: the packet is TCP. */
export const tcpMark = 0x100;

export const TcpFlag = { fin: 1, syn: 2, rst: 4 } as const;

/** Fields of `__sk_buff`. */
export const Skb = { len: 0, mark: 8, protocol: 16, ifindex: 40, data: 76, dataEnd: 80 } as const;

/** Return codes of tc. */
export const TcCode = { ok: 0, shot: 2 } as const;

export const Helper = {
  lookup: 1,
  update: 2,
  remove: 3,
  time: 5,
  random: 7,
  storeBytes: 9,
  l3Checksum: 10,
  l4Checksum: 11,
  redirect: 23,
  perfOutput: 25,
  loadBytes: 26,
  checksumDifference: 28,
  changeTail: 38,
  changeHead: 43,
} as const;

export const Protocol = { icmp: 1, tcp: 6, udp: 17, icmpv6: 58, sctp: 132 } as const;

/** Bytes of an Ethernet header. */
export const linkBytes = 14;

/** Which way a packet crosses the program's endpoint. */
export type Direction = "ingress" | "egress";

/** What of a variant shapes its programs. */
export interface ProgramVariant {
  readonly version: "1.14" | "1.16" | "1.17" | "1.18" | "1.19";
  readonly generation: "G1" | "G2" | "G3";
  readonly sctp: boolean;
  readonly hostFirewall: boolean;
}

/** Whose packets a program judges: those of its pod, or whatever crosses an interface of the node. */
export type ProgramSide = "pod" | "node";

/** One program being emitted, of both families. */
export class Emission {
  readonly b: ProgramBuilder = new ProgramBuilder();
  readonly variant: ProgramVariant;
  readonly side: ProgramSide;
  readonly #reasons = new Set<number>();

  constructor(variant: ProgramVariant, side: ProgramSide) {
    this.variant = variant;
    this.side = side;
  }

  of(family: Family): FamilyEmission {
    return new FamilyEmission(this, family);
  }

  /** Where to go to drop the packet for this reason. */
  drop(reason: number): string {
    this.#reasons.add(reason);
    return `drop ${reason}`;
  }

  get reasons(): readonly number[] {
    return [...this.#reasons].sort((a, b) => a - b);
  }
}

/** The part of a program that handles one family. */
export class FamilyEmission {
  readonly whole: Emission;
  readonly b: ProgramBuilder;
  readonly family: Family;
  readonly variant: ProgramVariant;
  readonly tuple: TupleOffsets;
  readonly addressBytes: 4 | 16;
  /** Why packets that may be the node's cannot be parsed: each goes to the label `unparsed REASON`. */
  readonly unparsedReasons: Set<number> = new Set();
  #fresh = 0;

  constructor(whole: Emission, family: Family) {
    this.whole = whole;
    this.b = whole.b;
    this.variant = whole.variant;
    this.family = family;
    this.tuple = tupleOffsets[family];
    this.addressBytes = family === 4 ? 4 : 16;
  }

  drop(reason: number): string {
    return this.whole.drop(reason);
  }

  /** Where to go with what cannot be parsed: the node speaks other protocols than pods may. */
  unparsed(reason: number): string {
    if (this.whole.side === "pod") return this.drop(reason);
    if (!this.variant.hostFirewall) return "pass";
    this.unparsedReasons.add(reason);
    return this.at(`unparsed ${reason}`);
  }

  /** Where to go with what has no whole header. */
  headless(): string {
    return this.whole.side === "pod" || this.variant.hostFirewall ? this.drop(Reason.invalid) : "pass";
  }

  /** A label of this family's own. */
  at(name: string): string {
    return `v${this.family} ${name}`;
  }

  /** A label that no other has. */
  fresh(name: string): string {
    this.#fresh++;
    return `v${this.family} ${name} ${this.#fresh}`;
  }

  /** Offset in the frame of a field of the connection's key. */
  tupleAt(field: Exclude<keyof TupleOffsets, "bytes">): number {
    return Frame.tuple + this.tuple[field];
  }

  place(of4: MapPlaceName, of6: MapPlaceName): number {
    return MapPlace[this.family === 4 ? of4 : of6];
  }

  /** Copies an address; `through` is overwritten. */
  copyAddress(to: Register, toOffset: number, from: Register, fromOffset: number, through: Register): this {
    for (let at = 0; at < this.addressBytes; at += 4)
      this.b.load("w", through, from, fromOffset + at).store("w", to, toOffset + at, through);
    return this;
  }

  /** Goes to the label unless two addresses are equal; both registers are overwritten. */
  unlessEqual(
    a: readonly [Register, number],
    b: readonly [Register, number],
    through: readonly [Register, Register],
    label: string,
  ): this {
    for (let at = 0; at < this.addressBytes; at += 4)
      this.b
        .load("w", through[0], a[0], a[1] + at)
        .load("w", through[1], b[0], b[1] + at)
        .jump32("jne", through[0], through[1], label);
    return this;
  }

  /** r0 = value of the map's element whose key stands in the frame, or 0. */
  lookup(map: number, keyAt: number): this {
    this.b.loadMap(r1, map).mov(r2, r10).alu("add", r2, keyAt).callHelper(Helper.lookup);
    return this;
  }

  /** Keeps the connection's key, which judging turns and overwrites. */
  saveKey(): void {
    this.#copyFrame(Frame.savedTuple, Frame.tuple, this.tuple.bytes);
  }

  restoreKey(): void {
    this.#copyFrame(Frame.tuple, Frame.savedTuple, this.tuple.bytes);
  }

  /** Copies frame bytes, in steps of eight, four and two. */
  #copyFrame(to: number, from: number, bytes: number): void {
    for (let at = 0; at < bytes; ) {
      const size = bytes - at >= 8 ? 8 : bytes - at >= 4 ? 4 : 2;
      const name = ({ 8: "dw", 4: "w", 2: "h" } as const)[size];
      this.b.load(name, r1, r10, from + at).store(name, r10, to + at, r1);
      at += size;
    }
  }

  /** Fills frame bytes with zeroes, in steps of four. */
  clear(at: number, bytes: number): this {
    let done = 0;
    while (done < bytes) {
      const size = (at + done) % 8 === 0 && bytes - done >= 8 ? 8 : 4;
      this.b.store(size === 8 ? "dw" : "w", r10, at + done, 0);
      done += size;
    }
    return this;
  }
}

type MapPlaceName = keyof typeof MapPlace;

/** Begins a program: the context kept, the values that a drop reports set, the family told apart. */
export function emitStart(emission: Emission): void {
  emission.b
    .mov(r6, r1)
    .store("w", r10, Frame.sourceIdentity, 0)
    .store("w", r10, Frame.destinationIdentity, 0)
    .store("w", r10, Frame.endpoint, 0)
    .store("w", r10, Frame.icmp, 0)
    .store("w", r10, Frame.laterFragment, 0)
    .load("w", r1, r6, Skb.protocol)
    .jump("jeq", r1, 0xdd86, "v6 start")
    .jump("jne", r1, 0x0008, "other protocol");
}
