/** What the sockets of all protocols share: who they talk to, how they are asked, what became of them. */
import type { Ip } from "../../addr/index.ts";
import type { EventLoop } from "../loop.ts";

/**
 * `connecting` until the first answer, `open` afterwards; `refused`: the attempt was answered by RST, ABORT or ICMP port
 * unreachable; `reset`: the same after it was open; `closed`: ended in peace, or given up.
 */
export type SocketState = "connecting" | "open" | "refused" | "reset" | "closed";

/** Both ends as this socket's own host sees them (before or after NAT, whichever that is). */
export interface SocketEnds {
  readonly src: Ip;
  readonly dst: Ip;
  readonly sport: number;
  readonly dport: number;
}

export interface SocketContext extends SocketEnds {
  readonly loop: EventLoop;
  /** Hands a packet to the network. */
  transmit(bytes: Uint8Array): void;
  /** First sequence number, tag or the like. */
  readonly seed: number;
  /** A connection came in and is open (servers). */
  onAccepted?(): void;
}

export interface Socket {
  readonly state: SocketState;
  /** Messages of the peer that arrived, each once. */
  readonly received: number;
  connect(): void;
  /** Sends one message. */
  send(): void;
  close(): void;
  /** Stops all timers at once: the process is gone. */
  abort(): void;
  /** The transport part of a packet from the peer. */
  receive(payload: Uint8Array): void;
  /** An ICMP error said that nobody listens there. */
  unreachable(): void;
}

/** One timer that doubles its delay with each shot. */
export class RetransmitTimer {
  readonly #loop: EventLoop;
  #timer: number | undefined;
  #shots = 0;

  constructor(loop: EventLoop) {
    this.#loop = loop;
  }

  /** Calls `resend` after `delayNs`, then 2, 4, 8... times as late, at most `shotsMax` times. */
  start(delayNs: number, shotsMax: number, resend: () => void): void {
    this.stop();
    this.#shots = 0;
    const arm = (): void => {
      if (this.#shots >= shotsMax) return;
      this.#timer = this.#loop.after(delayNs * 2 ** this.#shots, () => {
        this.#shots++;
        resend();
        arm();
      });
    };
    arm();
  }

  stop(): void {
    if (this.#timer !== undefined) this.#loop.cancel(this.#timer);
    this.#timer = undefined;
  }
}

/** What applications send: recognisable in captures. */
export const message: Uint8Array = new TextEncoder().encode("podwire");
