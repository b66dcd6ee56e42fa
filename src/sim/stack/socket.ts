/** What the sockets of all protocols share: who they talk to, how they are asked, what became of them. */
import type { Ip } from "../../addr/index.ts";
import type { EventLoop } from "../loop.ts";

/**
 * `connecting` until the first answer, `open` afterwards; `refused`: the attempt was answered by RST, ABORT or an ICMP
 * error; `reset`: the same after it was open; `closed`: ended in peace, or given up.
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
  /** A connection that came in, made when its first packet did. */
  readonly isServer: boolean;
  /** Hands a packet to the network. */
  transmit(bytes: Uint8Array): void;
  /** First sequence number, tag or the like. */
  readonly seed: number;
  /** A connection came in and is open (servers). */
  onAccepted?(): void;
}

/** An ICMP error about a packet that the socket sent. */
export interface UnreachableReport {
  /** Fatal to Linux (icmp_err_convert in net/ipv4/icmp.c, tab_unreach in net/ipv6/icmp.c): UDP fails by these alone. */
  readonly isHard: boolean;
  /** Nobody there speaks the protocol: the one error that SCTP believes. */
  readonly isProtocol: boolean;
  /** Bytes 4..7 of the packet's transport header: TCP's sequence number, SCTP's tag. */
  readonly word: number | undefined;
}

export interface Socket {
  readonly state: SocketState;
  /** True once its host has forgotten the connection: what still arrives belongs to nobody. */
  readonly isGone: boolean;
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
  unreachable(report: UnreachableReport): void;
}

/** How often and how late something is sent again. */
export interface RetransmitPlan {
  /** Before the first retransmission; each later one waits twice as long as the one before. */
  readonly delayNs: number;
  readonly delayMaxNs: number;
  /** Retransmissions; after the last one, one more delay passes before the sender gives up. */
  readonly retries: number;
}

/** One timer that doubles its delay with each shot. */
export class RetransmitTimer {
  readonly #loop: EventLoop;
  #timer: number | undefined;

  constructor(loop: EventLoop) {
    this.#loop = loop;
  }

  get isRunning(): boolean {
    return this.#timer !== undefined;
  }

  /** Starts anew, whatever it did before. */
  start(plan: RetransmitPlan, resend: () => void, giveUp: () => void): void {
    this.stop();
    const arm = (shot: number): void => {
      const delayNs = Math.min(plan.delayNs * 2 ** shot, plan.delayMaxNs);
      this.#timer = this.#loop.after(delayNs, () => {
        this.#timer = undefined;
        if (shot >= plan.retries) {
          giveUp();
          return;
        }
        arm(shot + 1);
        resend();
      });
    };
    arm(0);
  }

  stop(): void {
    if (this.#timer !== undefined) this.#loop.cancel(this.#timer);
    this.#timer = undefined;
  }
}

/** What applications send: recognisable in captures. */
export const message: Uint8Array = new TextEncoder().encode("podwire");
