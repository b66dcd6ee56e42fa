/**
 * TCP, as much as connections of probes and held flows need: handshake, data, close from either side, reset, with
 * retransmission. Governing source: RFC 9293, resets and SYNs out of place answered by RFC 5961; time-outs as Linux has
 * them (net/ipv4/tcp_timer.c: tcp_syn_retries 6, tcp_synack_retries 5, tcp_retries2 15). Left out: congestion control,
 * time stamps, sending SACK blocks, reordering (what comes too early is sent again by its sender), delayed ACKs.
 */
import { tcp } from "../../packet/index.ts";
import { parseTcp, TcpFlag, type TcpOption, type TcpRepr } from "../../wire/index.ts";
import {
  message,
  type RetransmitPlan,
  RetransmitTimer,
  type Socket,
  type SocketContext,
  type SocketEnds,
  type SocketState,
  type UnreachableReport,
} from "./socket.ts";

const secondNs = 1e9;
const rtoMaxNs = 120 * secondNs;
const synPlan: RetransmitPlan = { delayNs: secondNs, delayMaxNs: rtoMaxNs, retries: 6 };
const synAckPlan: RetransmitPlan = { ...synPlan, retries: 5 };
const dataPlan: RetransmitPlan = { delayNs: 200e6, delayMaxNs: rtoMaxNs, retries: 15 };
/** TCP_TIMEWAIT_LEN */
const timeWaitNs = 60 * secondNs;

const windowScale = 7;
const synWindow = 64_240;
/** Of an open connection whose both ends scale, in units of 2^7 bytes. */
const scaledWindow = synWindow >>> windowScale;

/** A segment that takes up sequence numbers, kept until it is acknowledged. */
interface SentSegment {
  readonly flags: number;
  readonly seq: number;
  readonly end: number;
  readonly payload: Uint8Array | undefined;
}

type Phase =
  | "closed" // made, not connected; or ended
  | "syn-sent"
  | "syn-received"
  | "synchronized" // ESTABLISHED and all of closing
  | "time-wait";

export class TcpSocket implements Socket {
  state: SocketState = "connecting";
  received = 0;
  readonly #context: SocketContext;
  readonly #timer: RetransmitTimer;
  #phase: Phase = "closed";
  /** Sent and not acknowledged, oldest first. */
  readonly #sent: SentSegment[] = [];
  /** Next sequence number to send, oldest one not acknowledged, next one expected. */
  #next: number;
  #unacknowledged: number;
  #expected = 0;
  #peerScales = false;
  #finSent = false;
  #finReceived = false;
  /** Closed first: it is this end that waits for stragglers. */
  #closedFirst = false;

  constructor(context: SocketContext) {
    this.#context = context;
    this.#timer = new RetransmitTimer(context.loop);
    this.#next = context.seed >>> 0;
    this.#unacknowledged = this.#next;
  }

  get isGone(): boolean {
    return this.#phase === "closed" && this.state !== "connecting";
  }

  connect(): void {
    this.#phase = "syn-sent";
    this.#push(TcpFlag.syn, undefined, synPlan);
  }

  send(): void {
    if (this.state === "open" && !this.#finSent) this.#push(TcpFlag.ack | TcpFlag.psh, message, dataPlan);
  }

  close(): void {
    if (this.state !== "open" || this.#finSent) return;
    this.#finSent = true;
    this.#closedFirst = !this.#finReceived;
    this.#push(TcpFlag.ack | TcpFlag.fin, undefined, dataPlan);
  }

  abort(): void {
    this.#end(this.state === "connecting" || this.state === "open" ? "closed" : this.state);
  }

  /** Ends an attempt, whatever the error; an open connection outlives it (tcp_v4_err, tcp_v6_err). */
  unreachable({ word }: UnreachableReport): void {
    if (this.state !== "connecting" || this.#context.isServer) return;
    if (word !== undefined && !isWithin(word, this.#unacknowledged, this.#next)) return;
    this.#end("refused");
  }

  receive(payload: Uint8Array): void {
    const parsed = parseTcp(payload);
    if (!parsed.ok) return;
    const segment = parsed.value;
    switch (this.#phase) {
      case "closed":
        if (this.#context.isServer && this.state === "connecting") this.#onFirstSyn(segment);
        break;
      case "syn-sent":
        this.#onSynSent(segment);
        break;
      case "syn-received":
      case "synchronized":
      case "time-wait":
        this.#onSegment(segment);
        break;
    }
  }

  /** LISTEN (RFC 9293 section 3.10.7.2): hosts hand over SYNs only. */
  #onFirstSyn(segment: TcpRepr): void {
    this.#phase = "syn-received";
    this.#learnFromSyn(segment);
    this.#push(TcpFlag.syn | TcpFlag.ack, undefined, synAckPlan);
  }

  /** SYN-SENT (section 3.10.7.3). */
  #onSynSent(segment: TcpRepr): void {
    const { syn, ack, rst } = TcpFlag;
    const hasAck = (segment.flags & ack) !== 0;
    if (hasAck && segment.ack !== this.#next) {
      if ((segment.flags & rst) === 0) this.#emit({ flags: rst, seq: segment.ack, window: 0 });
      return;
    }
    if ((segment.flags & rst) !== 0) {
      if (hasAck) this.#end("refused");
      return;
    }
    if ((segment.flags & syn) === 0) return;
    this.#learnFromSyn(segment);
    if (!hasAck) {
      // both ends knock at once: the SYN is sent again with an ACK
      this.#phase = "syn-received";
      this.#sent.length = 0;
      this.#next = this.#unacknowledged;
      this.#push(syn | ack, undefined, synAckPlan);
      return;
    }
    this.#acknowledge(segment.ack);
    this.#open();
    this.#sendAck();
  }

  #learnFromSyn(segment: TcpRepr): void {
    this.#expected = (segment.seq + 1) >>> 0;
    this.#peerScales = segment.options.some(({ kind }) => kind === "window-scale");
  }

  /** All synchronized states, in the order of section 3.10.7.4. */
  #onSegment(segment: TcpRepr): void {
    const { syn, ack, rst, fin } = TcpFlag;
    const length = segment.payload.length + ((segment.flags & fin) !== 0 ? 1 : 0);
    if ((segment.flags & rst) !== 0) {
      this.#onReset(segment);
      return;
    }
    if ((segment.flags & syn) !== 0) {
      this.#onLateSyn(segment);
      return;
    }
    if (!this.#isAcceptable(segment.seq, length)) {
      this.#sendAck();
      return;
    }
    if ((segment.flags & ack) === 0) return;
    if (this.#phase === "syn-received") {
      if (!isWithin((segment.ack - 1) >>> 0, this.#unacknowledged, this.#next)) {
        this.#emit({ flags: rst, seq: segment.ack, window: 0 });
        return;
      }
      this.#acknowledge(segment.ack);
      this.#open();
      if (this.#context.isServer) this.#context.onAccepted?.();
    } else if (!this.#onAck(segment.ack)) return;
    if (length > 0) this.#onData(segment);
    this.#finishIfClosed();
  }

  /** RFC 5961 section 3.2: a reset counts at the very next sequence number; elsewhere in the window it is challenged. */
  #onReset(segment: TcpRepr): void {
    if (segment.seq === this.#expected) {
      const isAttempt = this.state === "connecting" && !this.#context.isServer;
      this.#end(this.state === "open" ? "reset" : isAttempt ? "refused" : "closed");
    } else if (this.#isAcceptable(segment.seq, 0)) this.#sendAck();
  }

  /** A repeated SYN of the handshake is answered again; any other is challenged (RFC 5961 section 4.2). */
  #onLateSyn(segment: TcpRepr): void {
    const isRepeated = this.#phase === "syn-received" && (segment.seq + 1) >>> 0 === this.#expected;
    if (isRepeated && (segment.flags & TcpFlag.ack) === 0) this.#resend();
    else this.#sendAck();
  }

  /** Within the receive window (section 3.4). */
  #isAcceptable(seq: number, length: number): boolean {
    const last = length > 0 ? (seq + length - 1) >>> 0 : seq;
    return (
      isWithin(seq, this.#expected, this.#windowEnd()) ||
      (length > 0 && isWithin(last, this.#expected, this.#windowEnd()))
    );
  }

  #windowEnd(): number {
    return (this.#expected + synWindow) >>> 0;
  }

  /** False when the segment acknowledges what was never sent: it is answered and dropped. */
  #onAck(acknowledged: number): boolean {
    if (acknowledged === this.#unacknowledged) return true;
    if (!isWithin((acknowledged - 1) >>> 0, this.#unacknowledged, this.#next)) {
      const isOld = isWithin(acknowledged, (this.#unacknowledged - synWindow) >>> 0, this.#unacknowledged);
      if (!isOld) this.#sendAck();
      return isOld;
    }
    this.#acknowledge(acknowledged);
    return true;
  }

  /** Forgets what has arrived; what has not gets its full time again. */
  #acknowledge(acknowledged: number): void {
    this.#unacknowledged = acknowledged;
    while (
      this.#sent.length > 0 &&
      isWithin(this.#sent[0]!.end, this.#sent[0]!.seq, (acknowledged + 1) >>> 0)
    )
      this.#sent.shift();
    this.#timer.stop();
    if (this.#sent.length > 0) this.#startTimer(dataPlan);
  }

  /** Takes the next segment; one that comes too early, or again, is only acknowledged. */
  #onData(segment: TcpRepr): void {
    if (segment.seq === this.#expected && !this.#finReceived) {
      this.#expected = (this.#expected + segment.payload.length) >>> 0;
      if (segment.payload.length > 0) this.received++;
      if ((segment.flags & TcpFlag.fin) !== 0) {
        this.#finReceived = true;
        this.#expected = (this.#expected + 1) >>> 0;
      }
    }
    this.#sendAck();
    if (this.#finReceived) this.close(); // the application reads the end and closes, too
  }

  #finishIfClosed(): void {
    if (!this.#finSent || !this.#finReceived || this.#unacknowledged !== this.#next) return;
    if (this.#phase !== "synchronized") return;
    this.#end("closed");
    if (!this.#closedFirst) return;
    this.#phase = "time-wait";
    this.#context.loop.after(timeWaitNs, () => {
      if (this.#phase === "time-wait") this.#phase = "closed";
    });
  }

  #open(): void {
    this.#phase = "synchronized";
    this.state = "open";
  }

  #end(state: SocketState): void {
    this.#timer.stop();
    this.#sent.length = 0;
    this.#phase = "closed";
    this.state = state;
  }

  /** Sends what takes up sequence numbers and keeps it until it is acknowledged. */
  #push(flags: number, payload: Uint8Array | undefined, plan: RetransmitPlan): void {
    const span = (payload?.length ?? 0) + ((flags & (TcpFlag.syn | TcpFlag.fin)) !== 0 ? 1 : 0);
    const segment = { flags, seq: this.#next, end: (this.#next + span) >>> 0, payload };
    this.#next = segment.end;
    this.#sent.push(segment);
    // before sending: over a loopback the answer is there when `transmit` returns
    if (!this.#timer.isRunning) this.#startTimer(plan);
    this.#transmit(segment);
  }

  #startTimer(plan: RetransmitPlan): void {
    this.#timer.start(
      plan,
      () => this.#resend(),
      () => this.#end("closed"),
    );
  }

  #resend(): void {
    const oldest = this.#sent[0];
    if (oldest !== undefined) this.#transmit(oldest);
  }

  #transmit({ flags, seq, payload }: SentSegment): void {
    const isSyn = (flags & TcpFlag.syn) !== 0;
    this.#emit({
      flags,
      seq,
      ...(isSyn ? { options: this.#synOptions(flags), window: synWindow } : {}),
      ...(payload === undefined ? {} : { payload }),
    });
  }

  /** As Linux orders them; a SYN-ACK offers scaling only to who asked. */
  #synOptions(flags: number): readonly TcpOption[] {
    const mss = this.#context.src.family === 4 ? 1460 : 1440;
    const base: readonly TcpOption[] = [
      { kind: "mss", bytes: mss },
      { kind: "nop" },
      { kind: "nop" },
      { kind: "sack-permitted" },
    ];
    if ((flags & TcpFlag.ack) !== 0 && !this.#peerScales) return base;
    return [...base, { kind: "nop" }, { kind: "window-scale", shift: windowScale }];
  }

  #sendAck(): void {
    this.#emit({ flags: TcpFlag.ack, seq: this.#next });
  }

  #emit(fields: {
    readonly flags: number;
    readonly seq: number;
    readonly options?: readonly TcpOption[];
    readonly window?: number;
    readonly payload?: Uint8Array;
  }): void {
    const { src, dst, sport, dport } = this.#context;
    const ack = (fields.flags & TcpFlag.ack) !== 0 ? this.#expected : 0;
    const window = this.#peerScales ? scaledWindow : synWindow;
    this.#context.transmit(tcp({ src, dst, sport, dport, ack, window, ...fields }));
  }
}

/** `first <= value < end`, around the corner of 2^32. */
function isWithin(value: number, first: number, end: number): boolean {
  return (value - first) >>> 0 < (end - first) >>> 0;
}

/** The answer of a host to a segment that belongs to no connection (RFC 9293 section 3.10.7.1); none to a reset. */
export function tcpReset(ends: SocketEnds, payload: Uint8Array): Uint8Array | undefined {
  const parsed = parseTcp(payload);
  if (!parsed.ok || (parsed.value.flags & TcpFlag.rst) !== 0) return undefined;
  const { flags, seq, ack, payload: data } = parsed.value;
  if ((flags & TcpFlag.ack) !== 0) return tcp({ ...ends, flags: TcpFlag.rst, seq: ack, window: 0 });
  const length = data.length + ((flags & TcpFlag.syn) !== 0 ? 1 : 0) + ((flags & TcpFlag.fin) !== 0 ? 1 : 0);
  return tcp({ ...ends, flags: TcpFlag.rst | TcpFlag.ack, seq: 0, ack: (seq + length) >>> 0, window: 0 });
}
