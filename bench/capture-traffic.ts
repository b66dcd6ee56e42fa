/** Captures of made-up traffic, of any size: TCP connections with their handshakes and UDP exchanges, mixed, seeded. */
import { createPrng } from "../src/base/index.ts";
import { LinkType, pcapHeader, pcapPacket } from "../src/capture/index.ts";
import { tcp, udp } from "../src/packet/index.ts";
import { TcpFlag } from "../src/wire/index.ts";

export interface TrafficOptions {
  readonly seed: number;
  readonly packets: number;
  /** Under way at one time. */
  readonly flows: number;
  /** Of one flow, before another takes its place. */
  readonly packetsPerFlow: number;
  readonly addresses: readonly string[];
  /** Bytes of payload, drawn for each packet. */
  readonly payloads: readonly number[];
}

interface Flow {
  readonly isTcp: boolean;
  readonly client: string;
  readonly server: string;
  readonly sport: number;
  step: number;
  /** Next sequence numbers of client and server. */
  readonly next: [number, number];
}

/** A classic capture in pieces of about 64 KiB: raw IP, a packet each 10 us. */
export function* trafficCapture(options: TrafficOptions): Iterable<Uint8Array> {
  yield pcapHeader(LinkType.raw);
  let parts: Uint8Array[] = [];
  let size = 0;
  let index = 0;
  for (const bytes of traffic(options)) {
    const ns = index++ * 10_000;
    const seconds = 1_700_000_000 + Math.floor(ns / 1e9);
    const record = pcapPacket({ interfaceIndex: 0, seconds, nanoseconds: ns % 1e9, bytes });
    parts.push(record);
    size += record.length;
    if (size < 65_536) continue;
    yield Buffer.concat(parts);
    parts = [];
    size = 0;
  }
  yield Buffer.concat(parts);
}

/** Packets from the network header on. */
export function* traffic(options: TrafficOptions): Iterable<Uint8Array> {
  const random = createPrng(options.seed);
  let made = 0;
  const open = (): Flow => {
    const number = made++;
    const client = random.below(options.addresses.length);
    const server = (client + 1 + random.below(options.addresses.length - 1)) % options.addresses.length;
    return {
      isTcp: random.below(5) < 4,
      client: options.addresses[client] ?? "",
      server: options.addresses[server] ?? "",
      sport: 1024 + (number % 60_000),
      step: 0,
      next: [1 + random.below(2 ** 31), 1 + random.below(2 ** 31)],
    };
  };
  const flows = Array.from({ length: options.flows }, open);
  for (let i = 0; i < options.packets; i++) {
    const slot = random.below(flows.length);
    let flow = flows[slot] as Flow;
    if (flow.step >= options.packetsPerFlow) {
      flow = open();
      flows[slot] = flow;
    }
    yield packetOf(flow, random.pick(options.payloads), i & 0xffff);
  }
}

function packetOf(flow: Flow, payloadSize: number, identification: number): Uint8Array {
  const step = flow.step++;
  const side = step % 2;
  const ends =
    side === 0
      ? { src: flow.client, dst: flow.server, sport: flow.sport, dport: 80, identification }
      : { src: flow.server, dst: flow.client, sport: 80, dport: flow.sport, identification };
  if (!flow.isTcp) return udp({ ...ends, payload: new Uint8Array(payloadSize) });
  const mine = flow.next[side as 0 | 1];
  const theirs = flow.next[side === 0 ? 1 : 0];
  if (step === 0) return tcp({ ...ends, flags: TcpFlag.syn, seq: mine - 1 });
  if (step === 1) return tcp({ ...ends, flags: TcpFlag.syn | TcpFlag.ack, seq: mine - 1, ack: theirs });
  const payload = new Uint8Array(step === 2 ? 0 : payloadSize);
  flow.next[side as 0 | 1] = mine + payload.length;
  return tcp({ ...ends, flags: TcpFlag.ack, seq: mine, ack: theirs, payload });
}
