/**
 * TCP, as much as connections of probes and held flows need: handshake, data one segment at a time, close, reset, with
 * retransmission. No windows, no congestion control. Governing source: RFC 9293; time-outs as Linux has them (SYN after
 * 1 s and doubling, data after 200 ms and doubling).
 */
import { tcp } from "../../packet/index.ts";
import { parseTcp, TcpFlag, type TcpRepr } from "../../wire/index.ts";
import {
  message,
  RetransmitTimer,
  type Socket,
  type SocketContext,
  type SocketEnds,
  type SocketState,
} from "./socket.ts";

const synDelayNs = 1e9;
const synRetries = 6;
const dataDelayNs = 200e6;
const dataRetries = 10;

export class TcpSocket implements Socket {
  state: SocketState = "connecting";
  received = 0;
  readonly #context: SocketContext;
  readonly #timer: RetransmitTimer;
  /** Next sequence number to send, oldest one not acknowledged, next one expected. */
  #next: number;
  #unacknowledged: number;
  #expected = 0;
  #isServer = false;
  #finSent = false;
  #finReceived = false;

  constructor(context: SocketContext) {
    this.#context = context;
    this.#timer = new RetransmitTimer(context.loop);
    this.#next = context.seed >>> 0;
    this.#unacknowledged = this.#next;
  }

  connect(): void {
    const seq = this.#next;
    this.#next = (seq + 1) >>> 0;
    this.#reliably(
      () => this.#emit(TcpFlag.syn, seq, 0, [{ kind: "mss", bytes: 1460 }]),
      synDelayNs,
      synRetries,
    );
  }

  send(): void {
    if (this.state !== "open") return;
    const seq = this.#next;
    this.#next = (seq + message.length) >>> 0;
    this.#reliably(
      () => this.#emit(TcpFlag.ack | TcpFlag.psh, seq, this.#expected, [], message),
      dataDelayNs,
      dataRetries,
    );
  }

  close(): void {
    if (this.state !== "open" || this.#finSent) return;
    this.#finSent = true;
    const seq = this.#next;
    this.#next = (seq + 1) >>> 0;
    this.#reliably(
      () => this.#emit(TcpFlag.ack | TcpFlag.fin, seq, this.#expected),
      dataDelayNs,
      dataRetries,
    );
  }

  abort(): void {
    this.#timer.stop();
    if (this.state === "connecting" || this.state === "open") this.state = "closed";
  }

  unreachable(): void {
    if (this.state === "connecting" && !this.#isServer) this.#end("refused");
  }

  receive(payload: Uint8Array): void {
    const parsed = parseTcp(payload);
    if (!parsed.ok || this.state === "refused" || this.state === "reset") return;
    const segment = parsed.value;
    if ((segment.flags & TcpFlag.rst) !== 0) this.#onReset(segment);
    else if (this.state === "connecting") this.#onHandshake(segment);
    else this.#onSegment(segment);
  }

  #onReset(segment: TcpRepr): void {
    // a reset must be about something that was sent (RFC 9293 3.10.7.3, 3.5.3)
    if (this.state === "connecting" && !this.#isServer) {
      if ((segment.flags & TcpFlag.ack) !== 0 && segment.ack === this.#next) this.#end("refused");
    } else if (segment.seq === this.#expected) this.#end(this.state === "open" ? "reset" : "closed");
  }

  #onHandshake(segment: TcpRepr): void {
    const { syn, ack } = TcpFlag;
    const flags = segment.flags & (syn | ack);
    if (!this.#isServer && flags === (syn | ack) && segment.ack === this.#next) {
      this.#expected = (segment.seq + 1) >>> 0;
      this.#open();
      this.#emit(ack, this.#next, this.#expected);
    } else if (flags === syn) {
      this.#isServer = true;
      this.#expected = (segment.seq + 1) >>> 0;
      const seq = this.#unacknowledged;
      this.#next = (seq + 1) >>> 0;
      this.#reliably(
        () => this.#emit(syn | ack, seq, this.#expected, [{ kind: "mss", bytes: 1460 }]),
        synDelayNs,
        synRetries - 1,
      );
    } else if (this.#isServer && flags === ack && segment.ack === this.#next) {
      this.#open();
      this.#context.onAccepted?.();
      if (segment.payload.length > 0 || (segment.flags & TcpFlag.fin) !== 0) this.#onSegment(segment);
    }
  }

  #open(): void {
    this.state = "open";
    this.#unacknowledged = this.#next;
    this.#timer.stop();
  }

  #onSegment(segment: TcpRepr): void {
    const { syn, ack, fin } = TcpFlag;
    if ((segment.flags & syn) !== 0) {
      if ((segment.flags & ack) !== 0) this.#emit(ack, this.#next, this.#expected); // our ACK was lost
      return;
    }
    if ((segment.flags & ack) !== 0 && segment.ack === this.#next) {
      this.#unacknowledged = segment.ack;
      this.#timer.stop();
    }
    const length = segment.payload.length + ((segment.flags & fin) !== 0 ? 1 : 0);
    if (length > 0) {
      if (segment.seq === this.#expected) {
        this.#expected = (this.#expected + length) >>> 0;
        if (segment.payload.length > 0) this.received++;
        if ((segment.flags & fin) !== 0) this.#finReceived = true;
      }
      this.#emit(ack, this.#next, this.#expected);
      if (this.#finReceived) this.close();
    }
    if (this.#finReceived && this.#finSent && this.#unacknowledged === this.#next) this.#end("closed");
  }

  #reliably(transmit: () => void, delayNs: number, retries: number): void {
    transmit();
    this.#timer.start(delayNs, retries, transmit);
  }

  #end(state: SocketState): void {
    this.#timer.stop();
    this.state = state;
  }

  #emit(
    flags: number,
    seq: number,
    acknowledged: number,
    options: Parameters<typeof tcp>[0]["options"] = [],
    payload?: Uint8Array,
  ): void {
    const { src, dst, sport, dport } = this.#context;
    this.#context.transmit(
      tcp({
        src,
        dst,
        sport,
        dport,
        flags,
        seq,
        ack: acknowledged,
        options,
        ...(payload ? { payload } : {}),
      }),
    );
  }
}

/** The answer of a host to a segment that belongs to no connection; `undefined` for a reset. */
export function tcpReset(ends: SocketEnds, payload: Uint8Array): Uint8Array | undefined {
  const parsed = parseTcp(payload);
  if (!parsed.ok || (parsed.value.flags & TcpFlag.rst) !== 0) return undefined;
  const { flags, seq, ack, payload: data } = parsed.value;
  if ((flags & TcpFlag.ack) !== 0) return tcp({ ...ends, flags: TcpFlag.rst, seq: ack, window: 0 });
  const length = data.length + ((flags & TcpFlag.syn) !== 0 ? 1 : 0) + ((flags & TcpFlag.fin) !== 0 ? 1 : 0);
  return tcp({ ...ends, flags: TcpFlag.rst | TcpFlag.ack, seq: 0, ack: (seq + length) >>> 0, window: 0 });
}
