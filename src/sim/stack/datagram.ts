/** UDP and ICMP echo: one packet, one answer. A UDP server answers each datagram, as agnhost's does. */
import { icmpEcho, udp } from "../../packet/index.ts";
import {
  message,
  type Socket,
  type SocketContext,
  type SocketState,
  type UnreachableReport,
} from "./socket.ts";

/** A connected socket: ICMP errors reach it, and a hard one fails it. */
export class UdpSocket implements Socket {
  state: SocketState = "connecting";
  received = 0;
  readonly #context: SocketContext;

  constructor(context: SocketContext) {
    this.#context = context;
  }

  get isGone(): boolean {
    return this.state !== "connecting" && this.state !== "open";
  }

  /** The first datagram; any answer opens the socket. Nothing is ever sent again. */
  connect(): void {
    this.#transmit();
  }

  send(): void {
    if (this.state === "open") this.#transmit();
  }

  close(): void {
    this.state = "closed";
  }

  abort(): void {
    if (!this.isGone) this.state = "closed";
  }

  unreachable({ isHard }: UnreachableReport): void {
    if (!isHard || this.#context.isServer) return; // a server's socket is not connected: errors pass it by
    if (this.state === "connecting") this.state = "refused";
    else if (this.state === "open") this.state = "reset";
  }

  receive(): void {
    if (this.isGone) return;
    const isFirst = this.state === "connecting";
    this.state = "open";
    this.received++;
    if (!this.#context.isServer) return;
    this.#transmit();
    if (isFirst) this.#context.onAccepted?.();
  }

  #transmit(): void {
    const { src, dst, sport, dport } = this.#context;
    this.#context.transmit(udp({ src, dst, sport, dport, payload: message }));
  }
}

/** The client of an echo exchange; `sport` is the identifier. Hosts answer requests without a socket. */
export class EchoSocket implements Socket {
  state: SocketState = "connecting";
  received = 0;
  readonly #context: SocketContext;
  #sequence = 0;

  constructor(context: SocketContext) {
    this.#context = context;
  }

  get isGone(): boolean {
    return this.state !== "connecting" && this.state !== "open";
  }

  connect(): void {
    const { src, dst, sport } = this.#context;
    this.#context.transmit(
      icmpEcho({ src, dst, identifier: sport, sequence: ++this.#sequence, payload: message }),
    );
  }

  send(): void {
    this.connect();
  }

  close(): void {
    this.state = "closed";
  }

  abort(): void {
    if (!this.isGone) this.state = "closed";
  }

  unreachable(): void {
    if (this.state === "connecting") this.state = "refused";
  }

  receive(): void {
    if (this.isGone) return;
    this.state = "open";
    this.received++;
  }
}
