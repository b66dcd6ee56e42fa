/**
 * The stacks of pods, nodes and hosts outside: who listens where, sockets by their ends, and what a host answers by
 * itself (RST, ICMP port unreachable, ABORT, echo replies). Everything happens on the network's event loop.
 */
import { formatIp, type Ip } from "../../addr/index.ts";
import { assert } from "../../base/index.ts";
import { icmpEcho } from "../../packet/index.ts";
import {
  checksumHolds,
  crc32c,
  Icmpv4Type,
  Icmpv6Type,
  IpProtocol,
  icmpHeaderSize,
  parseUdp,
  pseudoHeaderSum,
  readCrc32c,
  readU16,
  sctpChecksumAt,
  sctpHeaderSize,
  sizeUdp,
} from "../../wire/index.ts";
import { type IpView, readIp } from "../judge.ts";
import type { Network } from "../network.ts";
import type { ListenerSpec } from "../spec.ts";
import { EchoSocket, UdpSocket } from "./datagram.ts";
import { readIcmpReport } from "./icmp-report.ts";
import { refusal } from "./refusal.ts";
import { SctpSocket } from "./sctp.ts";
import type { Socket, SocketContext, SocketEnds } from "./socket.ts";
import { TcpSocket } from "./tcp.ts";

export type FlowProtocol = "TCP" | "UDP" | "SCTP" | "ICMP";

export interface FlowRequest {
  /** Pod id, `node:NAME` or `ip:ADDRESS`. */
  readonly from: string;
  readonly src: Ip;
  readonly dst: Ip;
  readonly protocol: FlowProtocol;
  /** Destination port; not used by ICMP. */
  readonly port: number;
}

export type ConnectOutcome = "connected" | "refused" | "timeout";
export type SendOutcome = "delivered" | "lost" | "reset";

/** A connection that stays open. */
export interface Flow {
  readonly outcome: ConnectOutcome;
  readonly elapsedNs: number;
  readonly client: Socket;
  /** The server's socket, once it accepted. */
  readonly server: Socket | undefined;
}

/** How long `send` waits for a message to arrive, through retransmissions. */
const sendTimeoutNs = 5e9;
/** How long the server's side of a connection is waited for once the client's is open. */
const settleNs = 1e9;
/** Linux' default range of ephemeral ports (net.ipv4.ip_local_port_range). */
const firstEphemeralPort = 32_768;
const ephemeralPorts = 28_232;

const protocolOf = {
  TCP: IpProtocol.tcp,
  UDP: IpProtocol.udp,
  SCTP: IpProtocol.sctp,
  ICMP: IpProtocol.icmp,
} as const;

export class Hosts {
  readonly #network: Network;
  readonly #listeners = new Map<string, readonly ListenerSpec[]>();
  readonly #sockets = new Map<string, Socket>();
  /** The server's side of the connection made last. */
  #lastAccepted: Socket | undefined;
  #nextPort = 0;
  #nextSeed = 0x1000;

  constructor(network: Network) {
    this.#network = network;
    network.onDeliver = (station, bytes) => this.#receive(station, bytes);
  }

  /** Hosts outside the cluster listen everywhere; pods and nodes on what is said here. */
  listen(station: string, listeners: readonly ListenerSpec[]): void {
    this.#listeners.set(station, listeners);
  }

  /** The host is gone: its sockets fall silent without a word. */
  forget(station: string): void {
    this.#listeners.delete(station);
    for (const [key, socket] of this.#sockets) {
      if (!key.startsWith(`${station} `)) continue;
      socket.abort();
      this.#sockets.delete(key);
    }
  }

  /** Attempts a connection and runs the clock until it is decided or `timeoutNs` is over. */
  connect(request: FlowRequest, timeoutNs: number): Flow {
    const { loop } = this.#network;
    const started = loop.nowNs();
    const sport = firstEphemeralPort + (this.#nextPort++ % ephemeralPorts);
    const protocol = protocolOf[request.protocol];
    const ends = {
      src: request.src,
      dst: request.dst,
      sport,
      dport: request.protocol === "ICMP" ? 0 : request.port,
    };
    const client = this.#createSocket(request.from, protocol, ends, false);
    this.#lastAccepted = undefined;
    client.connect();
    loop.runWhile(() => client.state === "connecting", started + timeoutNs);
    const elapsedNs = loop.nowNs() - started;
    if (client.state === "connecting") client.abort();
    const outcome =
      client.state === "open" ? "connected" : client.state === "refused" ? "refused" : "timeout";
    // the last ACK or COOKIE-ECHO may still be on its way to the server
    if (outcome === "connected" && request.protocol !== "ICMP")
      loop.runWhile(() => this.#accepted() === undefined, loop.nowNs() + settleNs);
    return { outcome, elapsedNs, client, server: this.#accepted() };
  }

  /** Sends one message over a flow and runs the clock until it arrived, was refused, or is given up. */
  send(flow: Flow, side: "client" | "server"): SendOutcome {
    const [sender, receiver] = side === "client" ? [flow.client, flow.server] : [flow.server, flow.client];
    if (sender === undefined || receiver === undefined) return "lost";
    if (sender.state !== "open") return sender.state === "reset" ? "reset" : "lost";
    const before = receiver.received;
    sender.send();
    const { loop } = this.#network;
    loop.runWhile(
      () => receiver.received === before && sender.state === "open",
      loop.nowNs() + sendTimeoutNs,
    );
    if (receiver.received > before) return "delivered";
    return stateOf(sender) === "reset" ? "reset" : "lost";
  }

  close(flow: Flow): void {
    flow.client.close();
  }

  #accepted(): Socket | undefined {
    return this.#lastAccepted;
  }

  #createSocket(station: string, protocol: number, ends: SocketEnds, isServer: boolean): Socket {
    const key = socketKey(station, protocol, ends);
    this.#nextSeed = (this.#nextSeed + 0x10_3f1d) >>> 0;
    const context: SocketContext = {
      ...ends,
      loop: this.#network.loop,
      isServer,
      seed: this.#nextSeed,
      transmit: (bytes) => this.#network.send(station, bytes),
      onAccepted: () => {
        this.#lastAccepted = socket;
      },
    };
    const socket: Socket = newSocket(protocol, context);
    this.#sockets.set(key, socket);
    return socket;
  }

  #receive(station: string, bytes: Uint8Array): void {
    const ip = readIp(bytes);
    if (ip === undefined || !checksumIsRight(ip)) return;
    const { protocol, payload } = ip;
    if (protocol === IpProtocol.icmp || protocol === IpProtocol.icmpv6) this.#receiveIcmp(station, ip, bytes);
    else if (payload.length >= 4) this.#receiveTransport(station, ip, bytes);
  }

  #receiveTransport(station: string, ip: IpView, bytes: Uint8Array): void {
    const { protocol, payload } = ip;
    const ends: SocketEnds = {
      src: ip.dst,
      dst: ip.src,
      sport: readU16(payload, 2),
      dport: readU16(payload, 0),
    };
    const key = socketKey(station, protocol, ends);
    if (this.#sockets.get(key)?.isGone) this.#sockets.delete(key);
    const socket =
      this.#sockets.get(key) ??
      (this.#isListening(station, protocol, ends.sport) && startsConnection(protocol, payload)
        ? this.#createSocket(station, protocol, ends, true)
        : undefined);
    if (socket === undefined) this.#refuse(station, ip, ends, bytes);
    else socket.receive(payload);
  }

  #isListening(station: string, protocol: number, port: number): boolean {
    if (station.startsWith("ip:")) return true;
    const listeners = this.#listeners.get(station) ?? this.#network.endpoint(station)?.listeners ?? [];
    return listeners.some((one) => protocolOf[one.protocol] === protocol && one.port === port);
  }

  #refuse(station: string, ip: IpView, ends: SocketEnds, bytes: Uint8Array): void {
    const answer = refusal(ip, ends, bytes);
    if (answer !== undefined) this.#network.send(station, answer);
  }

  #receiveIcmp(station: string, ip: IpView, bytes: Uint8Array): void {
    const { payload, src, dst } = ip;
    if (payload.length < icmpHeaderSize) return;
    const isV4 = src.family === 4;
    const type = payload[0];
    const identifier = readU16(payload, 4);
    if (type === (isV4 ? Icmpv4Type.echoRequest : Icmpv6Type.echoRequest)) {
      const reply = {
        src: dst,
        dst: src,
        reply: true,
        identifier,
        sequence: readU16(payload, 6),
        payload: payload.slice(icmpHeaderSize),
        tos: isV4 ? bytes[1]! : (readU16(bytes, 0) >>> 4) & 0xff,
        dontFragment: false,
      };
      this.#network.send(station, icmpEcho(reply));
    } else if (type === (isV4 ? Icmpv4Type.echoReply : Icmpv6Type.echoReply)) {
      this.#sockets
        .get(socketKey(station, IpProtocol.icmp, { src: dst, dst: src, sport: identifier, dport: 0 }))
        ?.receive(payload);
    } else {
      const report = readIcmpReport(src.family, payload);
      if (report === undefined) return;
      const { sent } = report;
      const isQuery = sent.protocol === IpProtocol.icmp || sent.protocol === IpProtocol.icmpv6;
      // of an echo the identifier stands behind type, code and checksum
      const ends = isQuery ? { ...sent, sport: (report.word ?? 0) >>> 16, dport: 0 } : sent;
      this.#sockets
        .get(socketKey(station, isQuery ? IpProtocol.icmp : sent.protocol, ends))
        ?.unreachable(report);
    }
  }
}

/** A socket's state changes while the loop runs, behind the compiler's back. */
function stateOf(socket: Socket): Socket["state"] {
  return socket.state;
}

function newSocket(protocol: number, context: SocketContext): Socket {
  switch (protocol) {
    case IpProtocol.tcp:
      return new TcpSocket(context);
    case IpProtocol.sctp:
      return new SctpSocket(context);
    case IpProtocol.icmp:
      return new EchoSocket(context);
    default:
      assert(protocol === IpProtocol.udp, `no sockets of protocol ${protocol}`);
      return new UdpSocket(context);
  }
}

function socketKey(station: string, protocol: number, { src, dst, sport, dport }: SocketEnds): string {
  return `${station} ${protocol} ${formatIp(src)} ${sport} ${formatIp(dst)} ${dport}`;
}

/** SYN alone, INIT, any datagram. */
function startsConnection(protocol: number, payload: Uint8Array): boolean {
  if (protocol === IpProtocol.tcp) return ((payload[13] ?? 0) & 0x17) === 0x02;
  if (protocol === IpProtocol.sctp) return payload[12] === 1;
  return protocol === IpProtocol.udp;
}

/** A host drops what was damaged on the way, without a word. */
function checksumIsRight({ protocol, src, dst, payload }: IpView): boolean {
  let { length } = payload;
  switch (protocol) {
    case IpProtocol.sctp:
      return (
        length >= sctpHeaderSize &&
        crc32c(payload, 0, length, sctpChecksumAt) === readCrc32c(payload, sctpChecksumAt)
      );
    case IpProtocol.udp: {
      const datagram = parseUdp(payload);
      if (!datagram.ok) return false;
      length = sizeUdp(datagram.value); // what follows is padding (__udp4_lib_rcv trims it)
      if (readU16(payload, 6) === 0) return src.family === 4; // RFC 8200 section 8.1 wants one
      break;
    }
    case IpProtocol.icmp:
      return checksumHolds(payload, 0, length);
    case IpProtocol.tcp:
    case IpProtocol.icmpv6:
      break;
    default:
      return true;
  }
  return checksumHolds(payload, 0, length, pseudoHeaderSum(src.words, dst.words, protocol, length));
}
