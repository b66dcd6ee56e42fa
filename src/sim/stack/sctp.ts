/**
 * SCTP, as much as connections of probes and held flows need: four-way handshake with a cookie, DATA and SACK one at a
 * time, shutdown, abort, with retransmission. Governing source: RFC 9260; RTO.Initial 3 s, data after 1 s.
 */
import { sctp } from "../../packet/index.ts";
import { parseSctp, readU32, type SctpChunk, writeU32 } from "../../wire/index.ts";
import {
  message,
  RetransmitTimer,
  type Socket,
  type SocketContext,
  type SocketEnds,
  type SocketState,
} from "./socket.ts";

const initDelayNs = 3e9;
const initRetries = 8;
const dataDelayNs = 1e9;
const dataRetries = 10;
/** Parameter type of the state cookie. */
const cookieParameter = 7;

export class SctpSocket implements Socket {
  state: SocketState = "connecting";
  received = 0;
  readonly #context: SocketContext;
  readonly #timer: RetransmitTimer;
  readonly #isServer: boolean;
  /** Tags that packets to this socket, and to the peer, must carry. */
  #ownTag: number;
  #peerTag = 0;
  #nextTsn: number;
  #peerTsn = 0;
  #sequence = 0;

  constructor(context: SocketContext, isServer: boolean) {
    this.#context = context;
    this.#timer = new RetransmitTimer(context.loop);
    this.#isServer = isServer;
    this.#ownTag = context.seed >>> 0 || 1;
    this.#nextTsn = this.#ownTag;
  }

  connect(): void {
    this.#reliably(
      () => this.#emit(0, [initChunk("init", this.#ownTag, undefined)]),
      initDelayNs,
      initRetries,
    );
  }

  send(): void {
    if (this.state !== "open") return;
    const tsn = this.#nextTsn;
    const sequence = this.#sequence++;
    this.#nextTsn = (tsn + 1) >>> 0;
    const data: SctpChunk = {
      kind: "data",
      flags: 3,
      tsn,
      stream: 0,
      sequence,
      payloadProtocol: 0,
      data: message,
    };
    this.#reliably(() => this.#emit(this.#peerTag, [data]), dataDelayNs, dataRetries);
  }

  close(): void {
    if (this.state !== "open") return;
    this.#reliably(
      () => this.#emit(this.#peerTag, [{ kind: "shutdown", cumulativeTsn: this.#peerTsn }]),
      dataDelayNs,
      dataRetries,
    );
  }

  abort(): void {
    this.#timer.stop();
    if (this.state === "connecting" || this.state === "open") this.state = "closed";
  }

  unreachable(): void {
    if (this.state === "connecting") this.#end("refused");
  }

  receive(payload: Uint8Array): void {
    const parsed = parseSctp(payload);
    if (!parsed.ok) return;
    const { verificationTag, chunks } = parsed.value;
    for (const chunk of chunks) this.#onChunk(chunk, verificationTag);
  }

  #onChunk(chunk: SctpChunk, tag: number): void {
    if (chunk.kind === "init" && this.#isServer) {
      this.#answerInit(chunk.initiateTag, chunk.initialTsn);
      return;
    }
    if (chunk.kind === "abort") {
      if (tag === this.#ownTag || (chunk.reflected && tag === this.#peerTag))
        this.#end(this.state === "connecting" ? "refused" : "reset");
      return;
    }
    if (chunk.kind === "cookie-echo" && this.#isServer) {
      this.#onCookieEcho(chunk.cookie, tag);
      return;
    }
    if (tag !== this.#ownTag) return;
    switch (chunk.kind) {
      case "init-ack":
        this.#onInitAck(chunk);
        break;
      case "cookie-ack":
        if (this.state === "connecting") this.#open();
        break;
      case "data":
        if (chunk.tsn === (this.#peerTsn + 1) >>> 0) {
          this.#peerTsn = chunk.tsn;
          this.received++;
        }
        this.#emit(this.#peerTag, [
          { kind: "sack", cumulativeTsn: this.#peerTsn, advertisedWindow: 106_496, gaps: [], duplicates: [] },
        ]);
        break;
      case "sack":
        if ((chunk.cumulativeTsn + 1) >>> 0 === this.#nextTsn) this.#timer.stop();
        break;
      case "shutdown":
        this.#reliably(() => this.#emit(this.#peerTag, [{ kind: "shutdown-ack" }]), dataDelayNs, dataRetries);
        break;
      case "shutdown-ack":
        this.#emit(this.#peerTag, [{ kind: "shutdown-complete", reflected: false }]);
        this.#end("closed");
        break;
      case "shutdown-complete":
        this.#end("closed");
        break;
      default:
        break;
    }
  }

  /** Nothing is kept: all that is needed comes back in the cookie. */
  #answerInit(peerTag: number, peerTsn: number): void {
    const cookie = new Uint8Array(12);
    writeU32(cookie, 0, peerTag);
    writeU32(cookie, 4, peerTsn);
    writeU32(cookie, 8, this.#ownTag);
    this.#emit(peerTag, [initChunk("init-ack", this.#ownTag, cookie)]);
  }

  #onCookieEcho(cookie: Uint8Array, tag: number): void {
    if (cookie.length !== 12 || tag !== this.#ownTag || readU32(cookie, 8) !== this.#ownTag) return;
    this.#peerTag = readU32(cookie, 0);
    if (this.state === "connecting") {
      this.#peerTsn = (readU32(cookie, 4) - 1) >>> 0;
      this.#open();
      this.#context.onAccepted?.();
    }
    this.#emit(this.#peerTag, [{ kind: "cookie-ack" }]);
  }

  #onInitAck(chunk: Extract<SctpChunk, { kind: "init-ack" }>): void {
    if (this.state !== "connecting" || this.#isServer) return;
    const cookie = chunk.parameters.find((one) => one.type === cookieParameter)?.value;
    if (cookie === undefined) return;
    this.#peerTag = chunk.initiateTag;
    this.#peerTsn = (chunk.initialTsn - 1) >>> 0;
    this.#reliably(
      () => this.#emit(this.#peerTag, [{ kind: "cookie-echo", cookie }]),
      initDelayNs,
      initRetries,
    );
  }

  #open(): void {
    this.#timer.stop();
    this.state = "open";
  }

  #end(state: SocketState): void {
    this.#timer.stop();
    this.state = state;
  }

  #reliably(transmit: () => void, delayNs: number, retries: number): void {
    transmit();
    this.#timer.start(delayNs, retries, transmit);
  }

  #emit(verificationTag: number, chunks: readonly SctpChunk[]): void {
    const { src, dst, sport, dport } = this.#context;
    this.#context.transmit(sctp({ src, dst, sport, dport, verificationTag, chunks }));
  }
}

function initChunk(kind: "init" | "init-ack", tag: number, cookie: Uint8Array | undefined): SctpChunk {
  return {
    kind,
    initiateTag: tag,
    advertisedWindow: 106_496,
    outboundStreams: 10,
    inboundStreams: 2048,
    initialTsn: tag,
    parameters: cookie === undefined ? [] : [{ type: cookieParameter, value: cookie }],
  };
}

/** The answer of a host to a packet of no association (RFC 9260 8.4); `undefined` where there must be none. */
export function sctpAbort(ends: SocketEnds, payload: Uint8Array): Uint8Array | undefined {
  const parsed = parseSctp(payload);
  if (!parsed.ok) return undefined;
  const { verificationTag, chunks } = parsed.value;
  if (chunks.some(({ kind }) => kind === "abort" || kind === "shutdown-complete")) return undefined;
  const init = chunks.find((chunk) => chunk.kind === "init");
  const abort = (tag: number, reflected: boolean): Uint8Array =>
    sctp({ ...ends, verificationTag: tag, chunks: [{ kind: "abort", reflected, causes: [] }] });
  return init === undefined ? abort(verificationTag, true) : abort(init.initiateTag, false);
}
