/**
 * SCTP, as much as connections of probes and held flows need: four-way handshake with a cookie, DATA and SACK, shutdown
 * from either side, abort, answers to heartbeats, with retransmission. Governing source: RFC 9260; times as Linux has
 * them (net/sctp/protocol.c: RTO 3 s at first, 1 s at least, 60 s at most, 8 INITs, 10 of anything else). Left out:
 * heartbeats and path changes of its own, congestion control, gap reports (what comes too early is sent again).
 */
import { sctp } from "../../packet/index.ts";
import { parseSctp, readU32, type SctpChunk, writeU32 } from "../../wire/index.ts";
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

const rtoMaxNs = 60e9;
const initPlan: RetransmitPlan = { delayNs: 3e9, delayMaxNs: rtoMaxNs, retries: 8 };
const dataPlan: RetransmitPlan = { delayNs: 1e9, delayMaxNs: rtoMaxNs, retries: 10 };
const advertisedWindow = 106_496;
/** Parameter type of the state cookie. */
const cookieParameter = 7;
const cookieSize = 16;

type DataChunk = Extract<SctpChunk, { kind: "data" }>;

/** RFC 9260 section 4. */
type Phase =
  | "closed"
  | "cookie-wait"
  | "cookie-echoed"
  | "established"
  | "shutdown-pending"
  | "shutdown-sent"
  | "shutdown-received"
  | "shutdown-ack-sent";

export class SctpSocket implements Socket {
  state: SocketState = "connecting";
  received = 0;
  readonly #context: SocketContext;
  readonly #timer: RetransmitTimer;
  #phase: Phase = "closed";
  /** Tags that packets to this socket, and to the peer, must carry. */
  readonly #ownTag: number;
  #peerTag = 0;
  /** Sent and not acknowledged, oldest first. */
  readonly #sent: DataChunk[] = [];
  #nextTsn: number;
  /** The last one that arrived in order. */
  #peerTsn = 0;
  #sequence = 0;

  constructor(context: SocketContext) {
    this.#context = context;
    this.#timer = new RetransmitTimer(context.loop);
    this.#ownTag = context.seed >>> 0 || 1;
    this.#nextTsn = this.#ownTag;
  }

  get isGone(): boolean {
    return this.#phase === "closed" && this.state !== "connecting";
  }

  connect(): void {
    this.#phase = "cookie-wait";
    this.#repeat(initPlan, () => this.#emit(0, [initChunk("init", this.#ownTag)]));
  }

  send(): void {
    if (this.#phase !== "established") return;
    const chunk: DataChunk = {
      kind: "data",
      flags: 3, // a message by itself
      tsn: this.#nextTsn,
      stream: 0,
      sequence: this.#sequence,
      payloadProtocol: 0,
      data: message,
    };
    this.#nextTsn = (chunk.tsn + 1) >>> 0;
    this.#sequence = (this.#sequence + 1) & 0xffff;
    this.#sent.push(chunk);
    if (!this.#timer.isRunning) this.#startDataTimer();
    this.#emit(this.#peerTag, [chunk]);
  }

  close(): void {
    if (this.#phase !== "established") return;
    this.#phase = "shutdown-pending";
    this.#continueShutdown();
  }

  abort(): void {
    this.#end(this.state === "connecting" || this.state === "open" ? "closed" : this.state);
  }

  /** Linux believes "protocol unreachable" alone (sctp_v4_err); other errors show when the attempt has timed out. */
  unreachable({ isProtocol, word }: UnreachableReport): void {
    if (!isProtocol || this.state !== "connecting" || this.#context.isServer) return;
    if (word === 0 || word === this.#peerTag) this.#end("refused");
  }

  receive(payload: Uint8Array): void {
    const parsed = parseSctp(payload);
    if (!parsed.ok) return;
    const { verificationTag, chunks } = parsed.value;
    for (const chunk of chunks) this.#onChunk(chunk, verificationTag);
  }

  /** Which tag a chunk must come under is section 8.5. */
  #onChunk(chunk: SctpChunk, tag: number): void {
    switch (chunk.kind) {
      case "init":
        if (tag === 0 && this.#context.isServer) this.#answerInit(chunk.initiateTag, chunk.initialTsn);
        return;
      case "abort":
        if (tag === (chunk.reflected ? this.#peerTag : this.#ownTag)) this.#onAbort();
        return;
      case "shutdown-complete":
        if (tag === (chunk.reflected ? this.#peerTag : this.#ownTag) && this.#phase === "shutdown-ack-sent")
          this.#end("closed");
        return;
      default:
        if (tag === this.#ownTag) this.#onOwnChunk(chunk);
    }
  }

  #onOwnChunk(chunk: SctpChunk): void {
    switch (chunk.kind) {
      case "init-ack":
        this.#onInitAck(chunk);
        break;
      case "cookie-echo":
        this.#onCookieEcho(chunk.cookie);
        break;
      case "cookie-ack":
        if (this.#phase === "cookie-echoed") this.#open();
        break;
      case "data":
        this.#onData(chunk.tsn);
        break;
      case "sack":
        this.#acknowledge(chunk.cumulativeTsn);
        break;
      case "shutdown":
        this.#onShutdown(chunk.cumulativeTsn);
        break;
      case "shutdown-ack":
        if (this.#phase !== "shutdown-sent" && this.#phase !== "shutdown-ack-sent") break;
        this.#emit(this.#peerTag, [{ kind: "shutdown-complete", reflected: false }]);
        this.#end("closed");
        break;
      case "heartbeat":
        this.#emit(this.#peerTag, [{ kind: "heartbeat-ack", info: chunk.info }]);
        break;
      default:
        break;
    }
  }

  #onAbort(): void {
    const isAttempt = this.state === "connecting" && !this.#context.isServer;
    this.#end(this.state === "open" ? "reset" : isAttempt ? "refused" : "closed");
  }

  /** Nothing is kept: all that is needed comes back in the cookie (section 5.1.3). */
  #answerInit(peerTag: number, peerTsn: number): void {
    const cookie = new Uint8Array(cookieSize);
    [peerTag, peerTsn, this.#ownTag, seal(peerTag, peerTsn, this.#ownTag)].forEach((word, i) => {
      writeU32(cookie, 4 * i, word);
    });
    this.#emit(peerTag, [initChunk("init-ack", this.#ownTag, cookie)]);
  }

  #onCookieEcho(cookie: Uint8Array): void {
    if (!this.#context.isServer || cookie.length !== cookieSize) return;
    const [peerTag, peerTsn, ownTag, sealed] = [0, 4, 8, 12].map((at) => readU32(cookie, at)) as [
      number,
      number,
      number,
      number,
    ];
    if (ownTag !== this.#ownTag || sealed !== seal(peerTag, peerTsn, ownTag)) return;
    const isFirst = this.state === "connecting";
    if (isFirst) {
      this.#peerTag = peerTag;
      this.#peerTsn = (peerTsn - 1) >>> 0;
    }
    this.#emit(this.#peerTag, [{ kind: "cookie-ack" }]);
    if (!isFirst) return;
    this.#open();
    this.#context.onAccepted?.();
  }

  #onInitAck(chunk: Extract<SctpChunk, { kind: "init-ack" }>): void {
    if (this.#phase !== "cookie-wait") return;
    const cookie = chunk.parameters.find((one) => one.type === cookieParameter)?.value;
    if (cookie === undefined) return;
    this.#peerTag = chunk.initiateTag;
    this.#peerTsn = (chunk.initialTsn - 1) >>> 0;
    this.#phase = "cookie-echoed";
    this.#repeat(initPlan, () => this.#emit(this.#peerTag, [{ kind: "cookie-echo", cookie }]));
  }

  /** Takes the next chunk; one that comes too early, or again, is only acknowledged. */
  #onData(tsn: number): void {
    const takesData =
      this.#phase === "established" || this.#phase === "shutdown-pending" || this.#phase === "shutdown-sent";
    if (!takesData) return;
    if (tsn === (this.#peerTsn + 1) >>> 0) {
      this.#peerTsn = tsn;
      this.received++;
    }
    const sack = {
      kind: "sack",
      cumulativeTsn: this.#peerTsn,
      advertisedWindow,
      gaps: [],
      duplicates: [],
    } as const;
    // who has begun to shut down says so again with each answer (section 9.2)
    const again = { kind: "shutdown", cumulativeTsn: this.#peerTsn } as const;
    this.#emit(this.#peerTag, this.#phase === "shutdown-sent" ? [again, sack] : [sack]);
  }

  #acknowledge(cumulativeTsn: number): void {
    const before = this.#sent.length;
    while (this.#sent[0] !== undefined && isUpTo(this.#sent[0].tsn, cumulativeTsn)) this.#sent.shift();
    if (this.#sent.length === before) return;
    this.#timer.stop();
    if (this.#sent.length > 0) this.#startDataTimer();
    else this.#continueShutdown();
  }

  #onShutdown(cumulativeTsn: number): void {
    this.#acknowledge(cumulativeTsn);
    switch (this.#phase) {
      case "established":
      case "shutdown-pending":
        this.#phase = "shutdown-received";
        this.#continueShutdown();
        break;
      case "shutdown-sent":
        this.#sendShutdownAck();
        break;
      default:
        break;
    }
  }

  /** Each side first waits until all that it sent has arrived (section 9.2). */
  #continueShutdown(): void {
    if (this.#sent.length > 0) return;
    if (this.#phase === "shutdown-pending") {
      this.#phase = "shutdown-sent";
      this.#repeat(dataPlan, () =>
        this.#emit(this.#peerTag, [{ kind: "shutdown", cumulativeTsn: this.#peerTsn }]),
      );
    } else if (this.#phase === "shutdown-received") this.#sendShutdownAck();
  }

  #sendShutdownAck(): void {
    this.#phase = "shutdown-ack-sent";
    this.#repeat(dataPlan, () => this.#emit(this.#peerTag, [{ kind: "shutdown-ack" }]));
  }

  #open(): void {
    this.#timer.stop();
    this.#phase = "established";
    this.state = "open";
  }

  #end(state: SocketState): void {
    this.#timer.stop();
    this.#sent.length = 0;
    this.#phase = "closed";
    this.state = state;
  }

  /**
   * Sends now, and again until something stops the timer, which starts first: over a loopback the answer is there when
   * `transmit` returns.
   */
  #repeat(plan: RetransmitPlan, transmit: () => void): void {
    this.#timer.start(plan, transmit, () => this.#end("closed"));
    transmit();
  }

  #startDataTimer(): void {
    const resend = (): void => {
      const oldest = this.#sent[0];
      if (oldest !== undefined) this.#emit(this.#peerTag, [oldest]);
    };
    this.#timer.start(dataPlan, resend, () => this.#end("closed"));
  }

  #emit(verificationTag: number, chunks: readonly SctpChunk[]): void {
    const { src, dst, sport, dport } = this.#context;
    this.#context.transmit(sctp({ src, dst, sport, dport, verificationTag, chunks }));
  }
}

/** Stands for the cookie's signature: any change to the words before it shows. */
function seal(...words: readonly number[]): number {
  return words.reduce((sum, word) => Math.imul(sum ^ word, 0x01000193) >>> 0, 0x811c9dc5);
}

/** TSNs are compared around the corner of 2^32 (section 1.6). */
function isUpTo(tsn: number, cumulative: number): boolean {
  return (cumulative - tsn) >>> 0 < 0x8000_0000;
}

/** The first TSN is the tag, too. `cookie`: of an INIT ACK. */
export function initChunk(kind: "init" | "init-ack", tag: number, cookie?: Uint8Array): SctpChunk {
  return {
    kind,
    initiateTag: tag,
    advertisedWindow,
    outboundStreams: 10,
    inboundStreams: 2048,
    initialTsn: tag,
    parameters: cookie === undefined ? [] : [{ type: cookieParameter, value: cookie }],
  };
}

/** The answer of a host to a packet of no association (RFC 9260 section 8.4); `undefined` where there must be none. */
export function sctpAnswer(ends: SocketEnds, payload: Uint8Array): Uint8Array | undefined {
  const parsed = parseSctp(payload);
  if (!parsed.ok) return undefined;
  const { verificationTag, chunks } = parsed.value;
  const has = (kind: SctpChunk["kind"]): boolean => chunks.some((chunk) => chunk.kind === kind);
  const answer = (tag: number, chunk: SctpChunk): Uint8Array =>
    sctp({ ...ends, verificationTag: tag, chunks: [chunk] });
  if (has("abort") || has("shutdown-complete")) return undefined;
  const first = chunks[0];
  if (first?.kind === "init") {
    // section 5.1: under the tag that the INIT asks for
    if (verificationTag !== 0 || chunks.length > 1) return undefined;
    return answer(first.initiateTag, { kind: "abort", reflected: false, causes: [] });
  }
  if (has("shutdown-ack")) return answer(verificationTag, { kind: "shutdown-complete", reflected: true });
  if (has("cookie-ack") || has("error") || first?.kind === "cookie-echo") return undefined;
  return answer(verificationTag, { kind: "abort", reflected: true, causes: [] });
}
