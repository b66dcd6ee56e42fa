/**
 * Connection tracking (bpf/lib/conntrack.h). The reverse key is asked first: a packet that answers a connection is a
 * reply, whatever else it might be. A hit renews the entry's life, notes TCP's flags and its closing; nothing here asks
 * whether an entry has outlived its time: only the agent's collector removes it. Packets and bytes are not counted
 * (`bpf-conntrack-accounting` is off).
 */
import { r0, r1, r2, r3, r4, r5, r8, r9, r10 } from "../../../filter/bpf/index.ts";
import { ConnectionFlag, connectionBytes, connectionFields as fields, TupleFlag } from "../layouts.ts";
import { type Direction, type FamilyEmission, Frame, Helper, Protocol, TcpFlag } from "./emission.ts";
import { Reason } from "./reasons.ts";

/** Seconds. */
const lifetimeS = { syn: 60, other: 60, close: 10 } as const;
/** Between two reports of one direction's flags. */
const reportIntervalS = 5;
const nsPerSecond = 1_000_000_000;

/** Lifetime of established TCP: `bpf-ct-timeout-regular-tcp` went from 21,600 s to 8,000 s with 1.17. */
function tcpLifetimeS({ variant: { version } }: FamilyEmission): number {
  return version === "1.14" || version === "1.16" ? 21_600 : 8000;
}

/** Puts the clock into the frame. */
export function emitClock({ b }: FamilyEmission): void {
  b.callHelper(Helper.time).alu("div", r0, nsPerSecond).store("w", r10, Frame.now, r0);
}

/** r9 = the map that connections of the packet's protocol are in. */
export function emitConnectionMap(e: FamilyEmission): void {
  const { b } = e;
  const [other, chosen] = [e.fresh("other connections"), e.fresh("connections")];
  b.load("w", r1, r10, Frame.tcpFlags)
    .jump("jeq", r1, 0, other)
    .loadMap(r9, e.place("connections4", "connections6"))
    .goto(chosen)
    .label(other)
    .loadMap(r9, e.place("otherConnections4", "otherConnections6"))
    .label(chosen);
}

export interface ConntrackTargets {
  /** r8: the entry of the connection that the packet answers. */
  readonly reply: string;
  readonly related: string;
  /** r8: the entry. */
  readonly established: string;
  readonly isNew: string;
}

/** Finds the packet's connection in the map that r9 names; never goes on behind itself. */
export function emitConntrack(e: FamilyEmission, direction: Direction, targets: ConntrackTargets): void {
  const { b } = e;
  const flags = e.tupleAt("flags");
  const forward = e.fresh("ct forward");
  const reverse = direction === "ingress" ? TupleFlag.out : TupleFlag.in;
  if (reverse !== 0) b.load("b", r1, r10, flags).alu("or", r1, reverse).store("b", r10, flags, r1);
  emitAsk(e);
  b.jump("jeq", r0, 0, forward).mov(r8, r0);
  emitRenew(e, direction, forward);
  b.load("b", r1, r10, flags)
    .jump("jset", r1, TupleFlag.related, targets.related)
    .goto(targets.reply)
    .label(forward);
  emitReverseTuple(e);
  emitAsk(e);
  b.jump("jeq", r0, 0, targets.isNew).mov(r8, r0);
  emitRenew(e, direction, targets.isNew);
  b.load("b", r1, r10, flags).jump("jset", r1, TupleFlag.related, targets.related).goto(targets.established);
}

/** r0 = entry of the key in the frame, in the map that r9 names. */
export function emitAsk({ b }: FamilyEmission): void {
  b.mov(r1, r9).mov(r2, r10).alu("add", r2, Frame.tuple).callHelper(Helper.lookup);
}

function emitReverseTuple(e: FamilyEmission): void {
  const { b } = e;
  const [daddr, saddr] = [e.tupleAt("daddr"), e.tupleAt("saddr")];
  for (let at = 0; at < e.addressBytes; at += 4)
    b.load("w", r1, r10, daddr + at)
      .load("w", r2, r10, saddr + at)
      .store("w", r10, daddr + at, r2)
      .store("w", r10, saddr + at, r1);
  b.load("h", r1, r10, e.tupleAt("dport"))
    .load("h", r2, r10, e.tupleAt("sport"))
    .store("h", r10, e.tupleAt("dport"), r2)
    .store("h", r10, e.tupleAt("sport"), r1)
    .load("b", r1, r10, e.tupleAt("flags"))
    .alu("xor", r1, TupleFlag.in)
    .store("b", r10, e.tupleAt("flags"), r1);
}

/** Notes the packet in the entry that r8 names; a SYN on a closing connection begins a new one. */
function emitRenew(e: FamilyEmission, direction: Direction, reopened: string): void {
  const { b } = e;
  const names = ["done", "other", "closed", "close", "syn", "one side", "both sides", "reopen"] as const;
  const [done, other, closed, close, syn, oneSide, bothSides, reopen] = names.map((name) =>
    e.fresh(name),
  ) as Labels;
  b.load("w", r1, r10, Frame.tcpFlags)
    .load("w", r2, r10, Frame.now)
    .jump("jeq", r1, 0, other)
    .load("h", r3, r8, fields.flags)
    .mov(r4, r3)
    .alu("and", r4, bothClosing)
    .jump("jeq", r4, bothClosing, closed);
  emitLife(e);
  emitReport(e, direction);
  b.label(closed)
    .jump("jset", r1, TcpFlag.fin | TcpFlag.rst, close)
    .jump("jset", r1, TcpFlag.syn, syn)
    .goto(done)
    .label(syn)
    .jump("jset", r3, bothClosing, reopen)
    .goto(done)
    .label(reopen)
    .alu("and", r3, 0xffff ^ bothClosing);
  emitLife(e);
  b.goto(reopened)
    .label(close)
    .jump("jset", r1, TcpFlag.rst, bothSides)
    .label(oneSide)
    .alu("or", r3, direction === "ingress" ? ConnectionFlag.rxClosing : ConnectionFlag.txClosing);
  const noted = e.fresh("closing noted");
  b.goto(noted)
    .label(bothSides) // a reset before both have sent their SYN ends the connection
    .load("b", r4, r8, fields.rxFlagsSeen)
    .load("b", r5, r8, fields.txFlagsSeen)
    .alu("and", r4, r5)
    .jump("jset", r4, TcpFlag.syn, oneSide)
    .alu("or", r3, bothClosing)
    .label(noted)
    .store("h", r8, fields.flags, r3)
    .alu("and", r3, bothClosing)
    .jump("jne", r3, bothClosing, done)
    .alu("add", r2, lifetimeS.close)
    .store("w", r8, fields.lifetime, r2)
    .goto(done)
    .label(other)
    .mov(r4, r2)
    .alu("add", r4, lifetimeS.other)
    .store("w", r8, fields.lifetime, r4);
  emitReport(e, direction);
  b.label(done);
}

type Labels = [string, string, string, string, string, string, string, string];

const bothClosing = ConnectionFlag.rxClosing | ConnectionFlag.txClosing;

/** Of TCP: r1 its flags, r2 the time, r3 the entry's flags, which are written; overwrites r4. */
function emitLife(e: FamilyEmission): void {
  const { b } = e;
  const [isSyn, isShort] = [e.fresh("only SYNs"), e.fresh("short life")];
  b.jump("jset", r1, TcpFlag.syn, isSyn)
    .alu("or", r3, ConnectionFlag.seenNonSyn)
    .label(isSyn)
    .store("h", r8, fields.flags, r3)
    .mov(r4, tcpLifetimeS(e))
    .jump("jset", r3, ConnectionFlag.seenNonSyn, isShort)
    .mov(r4, lifetimeS.syn)
    .label(isShort)
    .alu("add", r4, r2)
    .store("w", r8, fields.lifetime, r4);
}

/** Notes the flags seen in a direction when there are new ones, or the last note is old; overwrites r4 and r5. */
function emitReport(e: FamilyEmission, direction: Direction): void {
  const { b } = e;
  const [write, done] = [e.fresh("report"), e.fresh("reported")];
  const [seen, last] =
    direction === "ingress"
      ? [fields.rxFlagsSeen, fields.lastRxReport]
      : [fields.txFlagsSeen, fields.lastTxReport];
  b.load("b", r4, r8, seen)
    .mov(r5, r4)
    .alu("or", r5, r1)
    .alu("and", r5, 0xff)
    .jump("jne", r5, r4, write)
    .load("w", r4, r8, last)
    .alu("add", r4, reportIntervalS)
    .jump("jge", r4, r2, done)
    .label(write)
    .store("b", r8, seen, r5)
    .store("w", r8, last, r2)
    .label(done);
}

/**
 * Writes the entry of the key in the frame to the map that r9 names, and one for the ICMP errors that may come about it;
 * the key is overwritten. Frame: `newFlags`, `revNat`, `sourceIdentity`.
 */
export function emitCreate(e: FamilyEmission, direction: Direction): void {
  const { b } = e;
  emitNewEntry(e, direction);
  emitWrite(e, () => b.mov(r1, r9));
  b.load("b", r1, r10, e.tupleAt("flags"))
    .alu("or", r1, TupleFlag.related)
    .store("b", r10, e.tupleAt("flags"), r1)
    .store("b", r10, e.tupleAt("protocol"), e.family === 4 ? Protocol.icmp : Protocol.icmpv6)
    .store("w", r10, e.tupleAt("dport"), 0);
  emitWrite(e, () => b.loadMap(r1, e.place("otherConnections4", "otherConnections6")));
}

/**
 * Writes an entry for the packet's own way, which no program follows from state to state: as of an outgoing connection.
 * The key stands as the packet does, and does so afterwards.
 */
export function emitPlainEntry(e: FamilyEmission): void {
  emitReverseTuple(e);
  e.b.store("b", r10, e.tupleAt("flags"), TupleFlag.out);
  emitNewEntry(e, "egress");
  emitWrite(e, () => e.b.mov(r1, r9));
  emitReverseTuple(e);
  e.b.store("b", r10, e.tupleAt("flags"), TupleFlag.out);
}

function emitNewEntry(e: FamilyEmission, direction: Direction): void {
  const { b } = e;
  const at = (offset: number): number => Frame.value + offset;
  const [seen, last] =
    direction === "ingress"
      ? [fields.rxFlagsSeen, fields.lastRxReport]
      : [fields.txFlagsSeen, fields.lastTxReport];
  const other = e.fresh("no syn");
  e.clear(Frame.value, connectionBytes);
  b.load("w", r1, r10, Frame.now)
    .store("w", r10, at(last), r1)
    .alu("add", r1, lifetimeS.other)
    .store("w", r10, at(fields.lifetime), r1)
    .load("w", r1, r10, Frame.newFlags)
    .store("h", r10, at(fields.flags), r1)
    .load("w", r1, r10, Frame.revNat)
    .store("h", r10, at(fields.revNat), r1)
    .load("w", r1, r10, Frame.sourceIdentity)
    .store("w", r10, at(fields.sourceIdentity), r1)
    .load("w", r1, r10, Frame.tcpFlags)
    .jump("jeq", r1, 0, other)
    .store("b", r10, at(seen), TcpFlag.syn) // whatever the first packet was
    .label(other);
}

function emitWrite(e: FamilyEmission, map: () => void): void {
  map();
  e.b
    .mov(r2, r10)
    .alu("add", r2, Frame.tuple)
    .mov(r3, r10)
    .alu("add", r3, Frame.value)
    .mov(r4, 0)
    .callHelper(Helper.update)
    .jump("jne", r0, 0, e.drop(Reason.connectionNotCreated));
}
