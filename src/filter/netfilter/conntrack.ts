/**
 * Connection tracking of one network namespace, as netfilter does it: looked up at PREROUTING and OUTPUT (priority
 * -200), confirmed when a packet leaves by POSTROUTING or reaches INPUT, so that a dropped first packet leaves nothing
 * behind. Time is virtual. Governing source: kernel net/netfilter/nf_conntrack_core.c and the protocol files named in
 * the modules beside this one. Left out here: zones, helpers (expectations), table size limits.
 */
import {
  append,
  CtState,
  clearBatch,
  createBatch,
  DecodeStatus,
  decodeRow,
  type PacketBatch,
  packetEnd,
} from "../../packet/index.ts";
import {
  checksumHolds,
  crc32c,
  IpProtocol,
  isIcmpv4Error,
  isIcmpv6Error,
  readCrc32c,
  readU16,
  sctpChecksumAt,
  tcpHeaderSize,
  udpHeaderSize,
} from "../../wire/index.ts";
import { newSctpTrack, type SctpTrack, sctpTimeoutSeconds, trackSctp } from "./sctp-state.ts";
import { followTcp, newTcpTrack, openTcp, type TcpAnswer, type TcpTrack } from "./tcp-state.ts";
import { invertIcmpType, invertTuple, type Tuple, TupleTable, tupleOfRow, tupleWords } from "./tuples.ts";

export interface ConntrackOptions {
  /** net.netfilter.nf_conntrack_tcp_loose; default true: an ACK of an unknown connection is picked up as NEW. */
  readonly tcpLoose: boolean;
  /** net.netfilter.nf_conntrack_tcp_be_liberal; default false. */
  readonly tcpBeLiberal: boolean;
  /** net.netfilter.nf_conntrack_checksum; default true: wrong transport checksums are INVALID. */
  readonly checksum: boolean;
}

export const conntrackDefaults: ConntrackOptions = { tcpLoose: true, tcpBeLiberal: false, checksum: true };

/** Bits of an entry's status, numbered as the kernel's (include/uapi/linux/netfilter/nf_conntrack_common.h). */
export const CtStatus = {
  expected: 1,
  seenReply: 2,
  /** Never dropped early when the table is full. */
  assured: 4,
  confirmed: 8,
  srcNat: 16,
  dstNat: 32,
  /** Translation of a side was decided, perhaps to leave it alone. */
  srcNatDone: 128,
  dstNatDone: 256,
} as const;

export interface CtEntry {
  readonly id: number;
  readonly protocol: number;
  readonly family: number;
  readonly zone: number;
  /** Tuples of both directions (original, reply); the reply tuple changes when NAT is set up. */
  readonly tuples: readonly [Tuple, Tuple];
  /** Bits of `CtStatus`. */
  status: number;
  /** The connection mark (CONNMARK). */
  mark: number;
  expiresNs: number;
  /** Packets and bytes (from the network header on) by direction, original first. */
  readonly packets: [number, number];
  readonly bytes: [number, number];
  readonly tcp: TcpTrack | undefined;
  readonly sctp: SctpTrack | undefined;
}

const secondNs = 1_000_000_000;
const udpTimeoutSeconds = 30;
const udpStreamTimeoutSeconds = 120;
const icmpTimeoutSeconds = 30;
const genericTimeoutSeconds = 600;
const replyBit = 0x8000_0000;

/** Direction of a row's packet in its connection: 0 original, 1 reply. */
export function rowDirection(batch: PacketBatch, row: number): 0 | 1 {
  return batch.state.ctEntry[row]! & replyBit ? 1 : 0;
}

export class Conntrack {
  readonly options: ConntrackOptions;
  readonly #nowNs: () => number;
  readonly #table = new TupleTable();
  readonly #entries: (CtEntry | undefined)[] = [];
  readonly #free: number[] = [];
  readonly #tuple: Tuple = new Uint32Array(tupleWords);
  readonly #inverse: Tuple = new Uint32Array(tupleWords);
  readonly #inner: PacketBatch = createBatch(1, 1600);

  constructor(nowNs: () => number, options: ConntrackOptions = conntrackDefaults) {
    this.#nowNs = nowNs;
    this.options = options;
  }

  /** The row's entry; `undefined` for INVALID and untracked packets. */
  entryOf(batch: PacketBatch, row: number): CtEntry | undefined {
    const ref = batch.state.ctEntry[row]! & ~replyBit;
    return ref === 0 ? undefined : this.#entries[ref - 1];
  }

  /** Number of live entries. */
  get size(): number {
    return this.list().length;
  }

  /** Live confirmed entries in order of creation. */
  list(): readonly CtEntry[] {
    const now = this.#nowNs();
    return this.#entries.filter(
      (entry): entry is CtEntry =>
        entry !== undefined && (entry.status & CtStatus.confirmed) !== 0 && entry.expiresNs > now,
    );
  }

  flush(): void {
    this.#table.clear();
    this.#entries.length = 0;
    this.#free.length = 0;
  }

  /** Sets `ctState` and `ctEntry` of a row. */
  lookup(batch: PacketBatch, row: number): void {
    const { ctState } = batch.state;
    if (ctState[row] !== CtState.none) return; // NOTRACK, or judged already
    batch.state.ctEntry[row] = 0;
    if (
      batch.status[row] !== DecodeStatus.ok ||
      !lengthsHold(batch, row) ||
      !this.#checksumHolds(batch, row)
    ) {
      ctState[row] = CtState.invalid;
      return;
    }
    const protocol = batch.protocol[row]!;
    if (protocol === IpProtocol.icmp || protocol === IpProtocol.icmpv6) {
      const type = batch.dport[row]! >>> 8;
      if (protocol === IpProtocol.icmp ? isIcmpv4Error(type) : isIcmpv6Error(type)) {
        this.#lookupError(batch, row);
        return;
      }
      if (protocol === IpProtocol.icmpv6 && ((type >= 130 && type <= 136) || type === 143)) {
        ctState[row] = CtState.untracked; // neighbour discovery and listener reports
        return;
      }
      if (invertIcmpType(protocol, type) === 255) {
        ctState[row] = CtState.invalid;
        return;
      }
    }
    tupleOfRow(batch, row, this.#tuple);
    const ref = this.#liveRef(this.#tuple);
    if (ref < 0) this.#open(batch, row);
    else this.#follow(batch, row, this.#entries[ref >>> 1] as CtEntry, (ref & 1) as 0 | 1);
  }

  /** Called where a packet leaves the stack: an entry of its own enters the table. */
  confirm(batch: PacketBatch, row: number): void {
    const entry = this.entryOf(batch, row);
    if (entry === undefined || entry.status & CtStatus.confirmed) return;
    const rival = this.#liveRef(entry.tuples[0]);
    if (rival >= 0 && rival >>> 1 !== entry.id) {
      // An equal packet of the same batch was confirmed first: this one joins its connection.
      this.#entries[entry.id] = undefined;
      this.#free.push(entry.id);
      batch.state.ctEntry[row] = ((rival >>> 1) + 1) | (rival & 1 ? replyBit : 0);
      return;
    }
    entry.status |= CtStatus.confirmed;
    this.#table.set(entry.tuples[0], entry.id * 2);
    this.#table.set(entry.tuples[1], entry.id * 2 + 1);
  }

  /** True if some confirmed connection other than `entry` uses the tuple. */
  isTaken(tuple: Tuple, entry: CtEntry): boolean {
    const ref = this.#liveRef(tuple);
    return ref >= 0 && ref >>> 1 !== entry.id;
  }

  /** Forgets unconfirmed entries of rows that were dropped. */
  release(batch: PacketBatch, row: number): void {
    const entry = this.entryOf(batch, row);
    if (entry === undefined || entry.status & CtStatus.confirmed) return;
    this.#entries[entry.id] = undefined;
    this.#free.push(entry.id);
    batch.state.ctEntry[row] = 0;
  }

  #liveRef(tuple: Tuple): number {
    const ref = this.#table.get(tuple);
    if (ref < 0) return -1;
    const entry = this.#entries[ref >>> 1];
    if (entry !== undefined && entry.expiresNs > this.#nowNs()) return ref;
    if (entry !== undefined) this.#remove(entry);
    return -1;
  }

  #remove(entry: CtEntry): void {
    this.#table.delete(entry.tuples[0]);
    this.#table.delete(entry.tuples[1]);
    this.#entries[entry.id] = undefined;
    this.#free.push(entry.id);
  }

  #open(batch: PacketBatch, row: number): void {
    const protocol = batch.protocol[row]!;
    const tcp = protocol === IpProtocol.tcp ? newTcpTrack() : undefined;
    const sctp = protocol === IpProtocol.sctp ? newSctpTrack() : undefined;
    const end = packetEnd(batch, row);
    let isValid = true;
    if (tcp !== undefined) isValid = openTcp(tcp, batch, row, end, this.options.tcpLoose);
    else if (sctp !== undefined) isValid = trackSctp(sctp, 0, batch, row, end) !== "invalid";
    else if (protocol === IpProtocol.icmp) isValid = [8, 13, 15, 17].includes(batch.dport[row]! >>> 8);
    else if (protocol === IpProtocol.icmpv6) isValid = batch.dport[row]! >>> 8 === 128;
    if (!isValid) {
      batch.state.ctState[row] = CtState.invalid;
      return;
    }
    const id = this.#free.pop() ?? this.#entries.length;
    invertTuple(this.#tuple, this.#inverse);
    const entry: CtEntry = {
      id,
      protocol,
      family: batch.family[row]!,
      tuples: [this.#tuple.slice(), this.#inverse.slice()],
      zone: batch.state.ctZone[row]!,
      status: 0,
      mark: 0,
      expiresNs: 0,
      packets: [1, 0],
      bytes: [batch.size[row]!, 0],
      tcp,
      sctp,
    };
    this.#entries[id] = entry;
    this.#refresh(entry);
    batch.state.ctEntry[row] = id + 1;
    batch.state.ctState[row] = CtState.new;
  }

  #follow(batch: PacketBatch, row: number, entry: CtEntry, direction: 0 | 1): void {
    const { ctState, ctEntry } = batch.state;
    const answer = this.#followTransport(batch, row, entry, direction);
    if (answer === "reopen") {
      this.#remove(entry);
      this.#open(batch, row);
      return;
    }
    if (answer === "invalid") {
      ctState[row] = CtState.invalid;
      return;
    }
    if (direction === 1) entry.status |= CtStatus.seenReply;
    if (entry.tcp?.isAssured) entry.status |= CtStatus.assured;
    entry.packets[direction]++;
    entry.bytes[direction] += batch.size[row]!;
    if (answer === "kill") entry.expiresNs = this.#nowNs();
    else if (answer === "track") this.#refresh(entry);
    ctEntry[row] = ((entry.id + 1) | (direction === 1 ? replyBit : 0)) >>> 0;
    ctState[row] = direction === 1 || entry.status & CtStatus.seenReply ? CtState.established : CtState.new;
  }

  #followTransport(batch: PacketBatch, row: number, entry: CtEntry, direction: 0 | 1): TcpAnswer {
    const end = packetEnd(batch, row);
    const { tcp, sctp } = entry;
    if (tcp !== undefined)
      return followTcp(
        tcp,
        direction,
        batch,
        row,
        end,
        (entry.status & CtStatus.seenReply) !== 0,
        this.options.tcpBeLiberal,
      );
    return sctp === undefined ? "track" : trackSctp(sctp, direction, batch, row, end);
  }

  #refresh(entry: CtEntry): void {
    entry.expiresNs = this.#nowNs() + timeoutSeconds(entry) * secondNs;
  }

  /** An ICMP error belongs to the connection whose packet it carries. */
  #lookupError(batch: PacketBatch, row: number): void {
    const { ctState, ctEntry } = batch.state;
    const at = batch.offset[row]! + batch.transport[row]! + 8;
    const end = packetEnd(batch, row);
    ctState[row] = CtState.invalid;
    if (at >= end || !this.#decodeInner(batch.bytes.subarray(at, end))) return;
    tupleOfRow(this.#inner, 0, this.#tuple);
    invertTuple(this.#tuple, this.#inverse);
    const ref = this.#liveRef(this.#inverse);
    if (ref < 0) return;
    const entry = this.#entries[ref >>> 1] as CtEntry;
    ctState[row] = CtState.related;
    ctEntry[row] = ((entry.id + 1) | (ref & 1 ? replyBit : 0)) >>> 0;
  }

  /** Reads the cut packet inside an ICMP error; eight bytes of its transport header are enough. */
  #decodeInner(bytes: Uint8Array): boolean {
    clearBatch(this.#inner);
    const whole = innerWithFullLength(bytes);
    if (whole === undefined || append(this.#inner, whole) < 0) return false;
    decodeRow(this.#inner, 0);
    return this.#inner.status[0] === DecodeStatus.ok;
  }

  #checksumHolds(batch: PacketBatch, row: number): boolean {
    if (!this.options.checksum) return true;
    const { bytes } = batch;
    const at = batch.offset[row]! + batch.transport[row]!;
    const end = packetEnd(batch, row);
    const protocol = batch.protocol[row]!;
    switch (protocol) {
      case IpProtocol.sctp:
        return crc32c(bytes, at, end, at + sctpChecksumAt) === readCrc32c(bytes, at + sctpChecksumAt);
      case IpProtocol.icmp:
        return checksumHolds(bytes, at, end);
      case IpProtocol.udp:
        if (bytes[at + 6] === 0 && bytes[at + 7] === 0) return true; // no checksum, in either family
        break;
      case IpProtocol.tcp:
      case IpProtocol.icmpv6:
        break;
      default:
        return true;
    }
    return checksumHolds(bytes, at, end, this.#pseudoSum(batch, row, protocol, end - at));
  }

  #pseudoSum(batch: PacketBatch, row: number, protocol: number, length: number): number {
    const words = batch.family[row] === 6 ? 4 : 1;
    const lane = row * 4;
    let sum = protocol + (length >>> 16) + (length & 0xffff);
    for (let i = 0; i < words; i++) {
      const [src, dst] = [batch.src[lane + i]!, batch.dst[lane + i]!];
      sum += (src >>> 16) + (src & 0xffff) + (dst >>> 16) + (dst & 0xffff);
    }
    return sum;
  }
}

/** What tcp_error and udp_error refuse, whatever the checksum option says: lengths that the packet does not bear out. */
function lengthsHold(batch: PacketBatch, row: number): boolean {
  const { bytes } = batch;
  const at = batch.offset[row]! + batch.transport[row]!;
  const room = packetEnd(batch, row) - at;
  switch (batch.protocol[row]) {
    case IpProtocol.tcp: {
      const headerSize = (bytes[at + 12]! >>> 4) * 4;
      return headerSize >= tcpHeaderSize && headerSize <= room;
    }
    case IpProtocol.udp: {
      const length = readU16(bytes, at + 4);
      return length >= udpHeaderSize && length <= room;
    }
    default:
      return true;
  }
}

function timeoutSeconds(entry: CtEntry): number {
  if (entry.tcp !== undefined) return entry.tcp.timeoutSeconds;
  if (entry.sctp !== undefined) return sctpTimeoutSeconds[entry.sctp.state] ?? 10;
  switch (entry.protocol) {
    case IpProtocol.udp:
      return entry.status & CtStatus.seenReply ? udpStreamTimeoutSeconds : udpTimeoutSeconds;
    case IpProtocol.icmp:
    case IpProtocol.icmpv6:
      return icmpTimeoutSeconds;
    default:
      return genericTimeoutSeconds;
  }
}

/** State names as `conntrack -L` prints them. */
export function describeEntryState(entry: CtEntry): string {
  const tcpNames =
    "NONE SYN_SENT SYN_RECV ESTABLISHED FIN_WAIT CLOSE_WAIT LAST_ACK TIME_WAIT CLOSE SYN_SENT2";
  const sctpNames =
    "NONE CLOSED COOKIE_WAIT COOKIE_ECHOED ESTABLISHED SHUTDOWN_SENT SHUTDOWN_RECD SHUTDOWN_ACK_SENT HEARTBEAT_SENT";
  if (entry.tcp !== undefined) return tcpNames.split(" ")[entry.tcp.state] ?? "";
  if (entry.sctp !== undefined) return sctpNames.split(" ")[entry.sctp.state] ?? "";
  return entry.status & CtStatus.seenReply ? "" : "[UNREPLIED]";
}

/**
 * A copy whose stated length is what is there, zero-filled up to a whole transport header: decode refuses cut packets,
 * and only addresses and ports are read from it.
 */
function innerWithFullLength(bytes: Uint8Array): Uint8Array | undefined {
  const version = bytes.length > 0 ? bytes[0]! >>> 4 : 0;
  const headerSize = version === 4 ? (bytes[0]! & 15) * 4 : 40;
  if ((version !== 4 && version !== 6) || bytes.length < headerSize + 8 || headerSize < 20) return undefined;
  const copy = new Uint8Array(Math.max(bytes.length, headerSize + 20));
  copy.set(bytes);
  const view = new DataView(copy.buffer);
  if (version === 4) view.setUint16(2, copy.length);
  else view.setUint16(4, copy.length - 40);
  const protocol = version === 4 ? copy[9]! : copy[6]!;
  if (protocol === IpProtocol.tcp) copy[headerSize + 12] = 0x50;
  return copy;
}
