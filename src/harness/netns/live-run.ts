/**
 * A plan played on a real node: packet by packet in the scenario's order, each sent when what was expected of the one
 * before has come out (or has had its time), and what came out held against what should have. Compared are whole packets
 * but for what every hop changes or the kernel fills in: TTL or hop limit, IPv4's identification and header checksum; of
 * a rewritten source also the port and the checksums over it.
 */
import { printPacket } from "../../wire/index.ts";
import { LiveNamespace } from "./namespace.ts";
import type { LivePlace } from "./place.ts";
import type { ExpectedPacket, LeftOut, LivePlan } from "./plan.ts";

export interface LiveDifference {
  /** Number of the packet that was sent, from 1; absent where nobody knows why a packet came out. */
  readonly packet?: number;
  readonly sent?: string;
  /** `NETNS:INTERFACE` and the packet, in tcpdump's manner. */
  readonly place: string;
  readonly line: string;
  /** `missing`: the emulated node let it out, the real one did not; `unexpected`: the other way round. */
  readonly kind: "missing" | "unexpected";
}

export interface LiveOutcome {
  readonly sent: number;
  /** Packets that came out of the node, awaited or not. */
  readonly cameOut: number;
  readonly expected: number;
  readonly differences: readonly LiveDifference[];
  readonly isInterrupted: boolean;
}

/** A scenario on a real node: what `podwire capture --live` prints. */
export interface LiveDocument {
  readonly schema: "podwire/live/v1";
  readonly version: string;
  readonly seed: number;
  readonly scenario: string;
  readonly engine: string;
  readonly engineVersion: string;
  /** The emulated node that the real one is held against. */
  readonly node: string;
  readonly places: readonly LivePlace[];
  /** Packets that were to be sent. */
  readonly packets: number;
  readonly sent: number;
  readonly expected: number;
  readonly cameOut: number;
  readonly differences: readonly LiveDifference[];
  readonly leftOut: LeftOut;
  readonly interrupted?: true;
}

export interface LiveOptions {
  /** Waits for real milliseconds. */
  pause(ms: number): Promise<void>;
  /** Told after every packet; answering `false` stops the run. */
  onProgress?(done: number, total: number): Promise<boolean>;
}

/** A packet that is awaited has come out or does not come any more. */
const patienceMs = 200;
/** The first packet to an address: the node may have to ask for its neighbours, too. */
const firstPatienceMs = 1000;
/** What nobody awaits has time to come out before the next packet follows it. */
const graceMs = 2;
/** An address is asked for at most so long (ARP and neighbour discovery: three tries, a second apart). */
const resolvingMs = 3500;
const lingerMs = 300;

interface Seen {
  readonly place: number;
  readonly bytes: Uint8Array;
  /** How many packets had been sent when it came out. */
  readonly after: number;
}

/** @throws Error when a packet cannot be sent. */
export async function runLive(
  plan: LivePlan,
  places: readonly LivePlace[],
  options: LiveOptions,
): Promise<LiveOutcome> {
  const seen: Seen[] = [];
  let [sent, cameOut, expected, isInterrupted] = [0, 0, 0, false];
  const differences: LiveDifference[] = [];
  const nameOf = (place: number): string => `${places[place]?.namespace}:${places[place]?.interface}`;
  const namespaces: LiveNamespace[] = [];
  try {
    for (const [place, one] of places.entries())
      namespaces.push(
        await LiveNamespace.open(one, (bytes) => {
          if (isChatter(bytes)) return;
          cameOut++;
          seen.push({ place, bytes, after: sent });
        }),
      );
    const asked = new Set<string>();
    for (const one of plan.sends) {
      const namespace = namespaces[one.place] as LiveNamespace;
      await namespace.send(one.bytes);
      sent++;
      // the first packet to an address may wait for a neighbour's: the next one must not overtake it
      const isFirst = !asked.has(`${one.place} ${destination(one.bytes)}`);
      asked.add(`${one.place} ${destination(one.bytes)}`);
      if (isFirst)
        for (let ms = 0; ms < resolvingMs && (ms === 0 || namespace.isResolving()); ms += 20)
          await options.pause(20);
      for (const packet of one.expected) {
        expected++;
        if (await arrives(packet, seen, isFirst ? firstPatienceMs : patienceMs, options)) continue;
        differences.push({
          packet: sent,
          sent: printPacket(one.bytes),
          place: nameOf(packet.place),
          line: printPacket(packet.bytes),
          kind: "missing",
        });
      }
      if (one.expected.length === 0) await options.pause(graceMs);
      isInterrupted = (await options.onProgress?.(sent, plan.sends.length)) === false;
      if (isInterrupted) break;
    }
    await options.pause(lingerMs);
  } finally {
    for (const namespace of namespaces) await namespace.close();
  }
  for (const { place, bytes, after } of seen) {
    const cause = plan.sends[after - 1];
    differences.push({
      ...(cause === undefined ? {} : { packet: after, sent: printPacket(cause.bytes) }),
      place: nameOf(place),
      line: printPacket(bytes),
      kind: "unexpected",
    });
  }
  return { sent, cameOut, expected, differences, isInterrupted };
}

/** Takes the packet out of `seen` when it has come. */
async function arrives(
  packet: ExpectedPacket,
  seen: Seen[],
  forMs: number,
  { pause }: LiveOptions,
): Promise<boolean> {
  const wanted = essence(packet.bytes, packet.isMasqueraded);
  for (let ms = 0; ; ms++) {
    const at = seen.findIndex(
      (one) => one.place === packet.place && essence(one.bytes, packet.isMasqueraded) === wanted,
    );
    if (at >= 0) {
      seen.splice(at, 1);
      return true;
    }
    if (ms >= forMs) return false;
    await pause(1);
  }
}

function destination(bytes: Uint8Array): string {
  const [start, end] = (bytes[0] ?? 0) >>> 4 === 4 ? [16, 20] : [24, 40];
  return bytes.subarray(start, end).join(".");
}

/** The packet without what is not compared, as text. */
function essence(packet: Uint8Array, isMasqueraded: boolean): string {
  const isV4 = (packet[0] ?? 0) >>> 4 === 4;
  const view = new DataView(packet.buffer, packet.byteOffset, packet.byteLength);
  const size = packet.length < 20 ? packet.length : isV4 ? view.getUint16(2) : 40 + view.getUint16(4);
  const bytes = packet.slice(0, size); // what follows is padding of the frame
  const clear = (from: number, to: number): void => {
    bytes.fill(0, from, to);
  };
  if (isV4) {
    clear(4, 6);
    clear(8, 9);
    clear(10, 12);
  } else clear(7, 8);
  if (isMasqueraded) {
    const transport = isV4 ? ((packet[0] ?? 0) & 15) * 4 : 40;
    clear(transport, transport + 2);
    const checksum = { 6: [16, 18], 17: [6, 8], 132: [8, 12] }[packet[isV4 ? 9 : 6] ?? 0] ?? [2, 6];
    clear(transport + (checksum[0] ?? 0), transport + (checksum[1] ?? 0));
  }
  return Buffer.from(bytes).toString("hex");
}

/** What hosts tell each other unasked: neighbour discovery, listener reports. */
function isChatter(bytes: Uint8Array): boolean {
  if ((bytes[0] ?? 0) >>> 4 !== 6) return false;
  const [isHopByHop, isIcmpv6] = [bytes[6] === 0, bytes[6] === 58];
  const type = bytes[isHopByHop ? 48 : 40] ?? 0;
  return (isIcmpv6 || (isHopByHop && bytes[40] === 58)) && ((type >= 130 && type <= 137) || type === 143);
}
