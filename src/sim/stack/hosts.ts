/**
 * The stacks of pods, nodes and hosts outside: who listens where, sockets by their ends, and what a host answers by
 * itself (RST, ICMP port unreachable, ABORT, echo replies). Everything happens on the network's event loop.
 */
import { formatIp, type Ip } from "../../addr/index.ts";
import { assert } from "../../base/index.ts";
import { icmpEcho, icmpError } from "../../packet/index.ts";
import {
  Icmpv4Type,
  Icmpv6Type,
  IpProtocol,
  icmpHeaderSize,
  readU16,
  Unreachable6Code,
  UnreachableCode,
} from "../../wire/index.ts";
import { type IpView, readIp } from "../judge.ts";
import type { Network } from "../network.ts";
import type { ListenerSpec } from "../spec.ts";
import { EchoSocket, UdpSocket } from "./datagram.ts";
import { SctpSocket, sctpAbort } from "./sctp.ts";
import type { Socket, SocketContext, SocketEnds } from "./socket.ts";
import { TcpSocket, tcpReset } from "./tcp.ts";

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
    if (client.state === "connecting") client.abort();
    // the last ACK or COOKIE-ECHO may still be on its way to the server
    if (client.state === "open" && this.#accepted() === undefined)
      this.#settle(() => this.#accepted() === undefined);
    const outcome =
      client.state === "open" ? "connected" : client.state === "refused" ? "refused" : "timeout";
    const elapsedNs = loop.nowNs() - started;
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

  #settle(isPending: () => boolean): void {
    const { loop } = this.#network;
    loop.runWhile(isPending, loop.nowNs() + 1e9);
  }

  #createSocket(station: string, protocol: number, ends: SocketEnds, isServer: boolean): Socket {
    const key = socketKey(station, protocol, ends);
    this.#nextSeed = (this.#nextSeed + 0x10_3f1d) >>> 0;
    const context: SocketContext = {
      ...ends,
      loop: this.#network.loop,
      seed: this.#nextSeed,
      transmit: (bytes) => this.#network.send(station, bytes),
      onAccepted: () => {
        this.#lastAccepted = socket;
      },
    };
    const socket: Socket = newSocket(protocol, context, isServer);
    this.#sockets.set(key, socket);
    return socket;
  }

  #receive(station: string, bytes: Uint8Array): void {
    const ip = readIp(bytes);
    if (ip === undefined) return;
    const { protocol, payload } = ip;
    if (protocol === IpProtocol.icmp || protocol === IpProtocol.icmpv6) this.#receiveIcmp(station, ip);
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
    let socket = this.#sockets.get(key);
    const isDead =
      socket === undefined ||
      socket.state === "closed" ||
      socket.state === "reset" ||
      socket.state === "refused";
    if (isDead && this.#isListening(station, protocol, ends.sport) && startsConnection(protocol, payload)) {
      socket?.abort();
      socket = this.#createSocket(station, protocol, ends, true);
    } else if (isDead && !(protocol === IpProtocol.udp && socket !== undefined)) {
      this.#refuse(station, ip, ends, bytes);
      return;
    }
    socket?.receive(payload);
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

  #receiveIcmp(station: string, ip: IpView): void {
    const { payload, src, dst } = ip;
    if (payload.length < icmpHeaderSize) return;
    const isV4 = src.family === 4;
    const [type, code] = [payload[0], payload[1]];
    const identifier = readU16(payload, 4);
    if (type === (isV4 ? Icmpv4Type.echoRequest : Icmpv6Type.echoRequest)) {
      const reply = {
        src: dst,
        dst: src,
        reply: true,
        identifier,
        sequence: readU16(payload, 6),
        payload: payload.slice(icmpHeaderSize),
      };
      this.#network.send(station, icmpEcho(reply));
    } else if (type === (isV4 ? Icmpv4Type.echoReply : Icmpv6Type.echoReply)) {
      this.#sockets
        .get(socketKey(station, IpProtocol.icmp, { src: dst, dst: src, sport: identifier, dport: 0 }))
        ?.receive(payload);
    } else if (
      (isV4 && type === Icmpv4Type.unreachable && code === UnreachableCode.port) ||
      (!isV4 && type === Icmpv6Type.unreachable && code === Unreachable6Code.port)
    ) {
      this.#onUnreachable(station, payload.slice(icmpHeaderSize));
    }
  }

  /** `offending` may be cut: its ports must be there. */
  #onUnreachable(station: string, offending: Uint8Array): void {
    const sent = readOffending(offending);
    if (sent === undefined) return;
    const ends = { src: sent.src, dst: sent.dst, sport: sent.sport, dport: sent.dport };
    this.#sockets.get(socketKey(station, sent.protocol, ends))?.unreachable();
  }
}

/** A socket's state changes while the loop runs, behind the compiler's back. */
function stateOf(socket: Socket): Socket["state"] {
  return socket.state;
}

function newSocket(protocol: number, context: SocketContext, isServer: boolean): Socket {
  switch (protocol) {
    case IpProtocol.tcp:
      return new TcpSocket(context);
    case IpProtocol.sctp:
      return new SctpSocket(context, isServer);
    case IpProtocol.icmp:
      return new EchoSocket(context);
    default:
      assert(protocol === IpProtocol.udp, `no sockets of protocol ${protocol}`);
      return new UdpSocket(context, isServer);
  }
}

function socketKey(station: string, protocol: number, { src, dst, sport, dport }: SocketEnds): string {
  return `${station} ${protocol} ${formatIp(src)} ${sport} ${formatIp(dst)} ${dport}`;
}

/** SYN alone, INIT or COOKIE-ECHO, any datagram. */
function startsConnection(protocol: number, payload: Uint8Array): boolean {
  if (protocol === IpProtocol.tcp) return ((payload[13] ?? 0) & 0x17) === 0x02;
  if (protocol === IpProtocol.sctp) return payload[12] === 1;
  return protocol === IpProtocol.udp;
}

function refusal(
  { protocol, payload, dst }: IpView,
  ends: SocketEnds,
  bytes: Uint8Array,
): Uint8Array | undefined {
  switch (protocol) {
    case IpProtocol.tcp:
      return tcpReset(ends, payload);
    case IpProtocol.sctp:
      return sctpAbort(ends, payload);
    case IpProtocol.udp:
      return dst.family === 4
        ? icmpError(bytes, dst, Icmpv4Type.unreachable, UnreachableCode.port)
        : icmpError(bytes, dst, Icmpv6Type.unreachable, Unreachable6Code.port);
    default:
      return undefined;
  }
}

interface OffendingPacket extends SocketEnds {
  readonly protocol: number;
}

function readOffending(bytes: Uint8Array): OffendingPacket | undefined {
  const version = (bytes[0] ?? 0) >>> 4;
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const header = version === 4 ? ((bytes[0] ?? 0) & 15) * 4 : 40;
  if (bytes.length < header + 4 || (version !== 4 && version !== 6)) return undefined;
  const words = (at: number): readonly number[] =>
    version === 4 ? [view.getUint32(at)] : [0, 4, 8, 12].map((i) => view.getUint32(at + i));
  const family = version === 4 ? 4 : 6;
  return {
    src: { family, words: words(version === 4 ? 12 : 8) },
    dst: { family, words: words(version === 4 ? 16 : 24) },
    protocol: bytes[version === 4 ? 9 : 6] ?? 0,
    sport: view.getUint16(header),
    dport: view.getUint16(header + 2),
  };
}
