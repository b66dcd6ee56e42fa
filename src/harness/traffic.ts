/**
 * Packets between pods of a cluster, as columns or as whole packets in a batch: who talks to whom by shape, TCP, UDP
 * and SCTP as 80:15:5, and a share of packets that belong to connections of earlier ones. Endless and seeded: equal
 * clusters and options give equal packets, however they are taken. Nothing is allocated for a packet.
 */
import type { Family, Ip } from "../addr/index.ts";
import { assert, createPrng, type Prng } from "../base/index.ts";
import type { ClusterState } from "../k8s/index.ts";
import {
  append,
  CtState,
  clearBatch,
  decodeRow,
  type PacketBatch,
  sctp,
  setAddress,
  setPort,
} from "../packet/index.ts";
import { firstPacket } from "../sim/index.ts";
import { IpProtocol, TcpFlag } from "../wire/index.ts";

/** Who talks to whom; see `TrafficOptions`. */
export const trafficShapes = ["uniform", "zipf", "mesh", "scan"] as const;
/** One of `trafficShapes`. */
export type TrafficShape = (typeof trafficShapes)[number];

/** What packets to make; equal options give equal packets. */
export interface TrafficOptions {
  /**
   * `uniform`: any two pods. `zipf`: both ends drawn by popularity, the pod of rank r as often as 1/r, ranks drawn.
   * `mesh`: each pod talks to five peers of its own. `scan`: one pod tries every other, port by port from 1 on, by TCP.
   */
  readonly shape: TrafficShape;
  readonly seed: number;
  /** How many of a hundred packets belong to one of the last connections. Default: 0. */
  readonly establishedPercent?: number;
  /** Default: 4. */
  readonly family?: Family;
}

/** The columns of a `PacketBatch` that a verdict depends on, and the state of the connection. */
export interface TrafficColumns
  extends Pick<PacketBatch, "family" | "protocol" | "src" | "dst" | "sport" | "dport"> {
  readonly ctState: Uint32Array;
}

/** Columns of `rows` packets, four lanes an address. */
export function createTrafficColumns(rows: number): TrafficColumns {
  return {
    family: new Uint8Array(rows),
    protocol: new Uint8Array(rows),
    src: new Uint32Array(rows * 4),
    dst: new Uint32Array(rows * 4),
    sport: new Uint16Array(rows),
    dport: new Uint16Array(rows),
    ctState: new Uint32Array(rows),
  };
}

const peersOfPod = 5;
/** Linux's ip_local_port_range. */
const [ephemeralFirst, ephemeralPorts] = [32_768, 28_232];
/** Of a hundred packets that are no scan, how many go to a port that policies name; the others to any. */
const namedPortPercent = 75;
const usualPorts = [80, 443, 8080];

/** One connection, in place. */
interface Connection {
  /** Numbers of pods. */
  src: number;
  dst: number;
  protocol: number;
  sport: number;
  dport: number;
}

const noConnection = (): Connection => ({ src: 0, dst: 0, protocol: 0, sport: 0, dport: 0 });

/** Connections that a packet may belong to. */
const keptConnections = 1024;

/** An endless source of packets; a call goes on where the last one ended. */
export class Traffic {
  /** Addresses that packets come from and go to, one a pod. */
  readonly ips: readonly Ip[];
  readonly #random: Prng;
  readonly #connect: (connection: Connection) => void;
  readonly #establishedPercent: number;
  readonly #kept: readonly Connection[] = Array.from({ length: keptConnections }, noConnection);
  #connections = 0;
  #isEstablished = false;
  readonly #templates: Templates;

  /** @throws RangeError for a cluster with fewer than two pods that have an address of their own of the family. */
  constructor(state: ClusterState, { shape, seed, establishedPercent = 0, family = 4 }: TrafficOptions) {
    this.ips = [...state.pods.values()]
      .filter(({ hostNetwork }) => !hostNetwork)
      .flatMap(({ ips }) => ips.filter((ip) => ip.family === family).slice(0, 1));
    const [src, dst] = this.ips;
    if (src === undefined || dst === undefined)
      throw new RangeError(`traffic needs two pods with an IPv${family} address`);
    this.#establishedPercent = establishedPercent;
    this.#random = createPrng(seed).fork(`traffic ${shape}`);
    const pods = this.ips.length;
    this.#connect =
      shape === "scan" ? scanner(this.#random, pods) : talkers(shape, this.#random, pods, portsOf(state));
    this.#templates = templatesBetween(src, dst);
  }

  /** The next packets, as rows `first <= row < last`. */
  fill(columns: TrafficColumns, first: number, last: number): void {
    for (let row = first; row < last; row++) {
      const { src, dst, protocol, sport, dport } = this.#next();
      const [from, to] = [this.#wordsOf(src), this.#wordsOf(dst)];
      columns.family[row] = from.length === 1 ? 4 : 6;
      columns.protocol[row] = protocol;
      for (let lane = 0; lane < 4; lane++) {
        columns.src[row * 4 + lane] = from[lane] ?? 0;
        columns.dst[row * 4 + lane] = to[lane] ?? 0;
      }
      columns.sport[row] = sport;
      columns.dport[row] = dport;
      columns.ctState[row] = this.#isEstablished ? CtState.established : CtState.new;
    }
  }

  /** The next `capacity` packets in place of what the batch holds: whole, decoded, with their `ctState`. */
  fillBatch(batch: PacketBatch): void {
    clearBatch(batch);
    while (batch.length < batch.capacity) {
      const { src, dst, protocol, sport, dport } = this.#next();
      const { first, later } = this.#templates;
      const template = (this.#isEstablished ? later : first).get(protocol);
      assert(template !== undefined, "a template for each protocol");
      const row = append(batch, template);
      assert(row >= 0, "a batch has room for the packets of its rows");
      decodeRow(batch, row);
      setAddress(batch, row, "src", this.#wordsOf(src));
      setAddress(batch, row, "dst", this.#wordsOf(dst));
      setPort(batch, row, "src", sport);
      setPort(batch, row, "dst", dport);
      batch.state.ctState[row] = this.#isEstablished ? CtState.established : CtState.new;
    }
  }

  #wordsOf(pod: number): readonly number[] {
    return (this.ips[pod] as Ip).words;
  }

  /** A new connection, which takes the place of the oldest, or one of those there are. */
  #next(): Connection {
    const kept = Math.min(this.#connections, keptConnections);
    this.#isEstablished = kept > 0 && this.#random.below(100) < this.#establishedPercent;
    const place = this.#isEstablished ? this.#random.below(kept) : this.#connections++ % keptConnections;
    const connection = this.#kept[place] as Connection;
    if (!this.#isEstablished) this.#connect(connection);
    return connection;
  }
}

/** Every other pod at port 1, then at port 2, and so on. */
function scanner(random: Prng, pods: number): (connection: Connection) => void {
  const source = random.below(pods);
  let probes = 0;
  return (connection) => {
    const other = probes % (pods - 1);
    connection.src = source;
    connection.dst = other < source ? other : other + 1;
    connection.protocol = IpProtocol.tcp;
    connection.sport = ephemeralFirst + random.below(ephemeralPorts);
    connection.dport = 1 + (Math.floor(probes / (pods - 1)) % 65_535);
    probes++;
  };
}

function talkers(
  shape: Exclude<TrafficShape, "scan">,
  random: Prng,
  pods: number,
  ports: Uint16Array,
): (connection: Connection) => void {
  const otherThan = (pod: number): number => {
    const other = random.below(pods - 1);
    return other < pod ? other : other + 1;
  };
  const pickEnds = {
    uniform: () => (connection: Connection) => {
      connection.src = random.below(pods);
      connection.dst = otherThan(connection.src);
    },
    zipf: () => {
      const popular = zipf(random, pods);
      return (connection: Connection) => {
        connection.src = popular();
        do connection.dst = popular();
        while (connection.dst === connection.src);
      };
    },
    mesh: () => {
      const peers = Uint32Array.from({ length: pods * peersOfPod }, (_, i) =>
        otherThan(Math.floor(i / peersOfPod)),
      );
      return (connection: Connection) => {
        connection.src = random.below(pods);
        connection.dst = peers[connection.src * peersOfPod + random.below(peersOfPod)] ?? 0;
      };
    },
  }[shape]();
  return (connection) => {
    pickEnds(connection);
    const draw = random.below(100);
    connection.protocol = draw < 80 ? IpProtocol.tcp : draw < 95 ? IpProtocol.udp : IpProtocol.sctp;
    connection.sport = ephemeralFirst + random.below(ephemeralPorts);
    connection.dport =
      random.below(100) < namedPortPercent
        ? (ports[random.below(ports.length)] ?? 0)
        : 1 + random.below(65_535);
  };
}

/** Draws pods, the one of rank r (from 1) with weight 1/r. */
function zipf(random: Prng, pods: number): () => number {
  const podOfRank = Uint32Array.from({ length: pods }, (_, i) => i);
  for (let i = pods - 1; i > 0; i--) {
    const other = random.below(i + 1);
    [podOfRank[i], podOfRank[other]] = [podOfRank[other] ?? 0, podOfRank[i] ?? 0];
  }
  /** Weight of all ranks up to each. */
  const upTo = new Float64Array(pods);
  for (let rank = 0, sum = 0; rank < pods; rank++) {
    sum += 1 / (rank + 1);
    upTo[rank] = sum;
  }
  return () => {
    const weight = random.unit() * (upTo[pods - 1] ?? 0);
    let [low, high] = [0, pods - 1];
    while (low < high) {
      const middle = (low + high) >> 1;
      if ((upTo[middle] ?? 0) <= weight) low = middle + 1;
      else high = middle;
    }
    return podOfRank[low] ?? 0;
  };
}

/** Ports that policies name by number, both ends of ranges, and those that containers serve. */
function portsOf(state: ClusterState): Uint16Array {
  const ports = new Set<number>();
  for (const { ingress, egress } of state.networkPolicies.values())
    for (const rule of [...ingress, ...egress])
      for (const { port, endPort } of rule.ports) {
        if (typeof port === "number") ports.add(port);
        if (endPort !== undefined) ports.add(endPort);
      }
  for (const pod of state.pods.values()) for (const { containerPort } of pod.ports) ports.add(containerPort);
  return Uint16Array.from(ports.size === 0 ? usualPorts : ports).sort();
}

/** Packets to write addresses and ports into, by protocol number. */
interface Templates {
  readonly first: ReadonlyMap<number, Uint8Array>;
  /** Of connections that are established. */
  readonly later: ReadonlyMap<number, Uint8Array>;
}

function templatesBetween(src: Ip, dst: Ip): Templates {
  const attempt = { from: "", src, dst, port: 80, sourcePort: ephemeralFirst };
  const datagram = firstPacket({ ...attempt, protocol: "UDP" });
  const data = {
    kind: "data",
    flags: 3,
    tsn: 1,
    stream: 0,
    sequence: 0,
    payloadProtocol: 0,
    data: new Uint8Array(4),
  } as const;
  return {
    first: new Map([
      [IpProtocol.tcp, firstPacket({ ...attempt, protocol: "TCP" })],
      [IpProtocol.udp, datagram],
      [IpProtocol.sctp, firstPacket({ ...attempt, protocol: "SCTP" })],
    ]),
    later: new Map([
      [IpProtocol.tcp, firstPacket({ ...attempt, protocol: "TCP" }, TcpFlag.ack)],
      [IpProtocol.udp, datagram],
      [IpProtocol.sctp, sctp({ src, dst, sport: 1, dport: 1, verificationTag: 1, chunks: [data] })],
    ]),
  };
}
