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

/** A packet that is awaited has come out, or is late: what comes later still counts, but the next one may overtake it. */
const patienceMs = 500;
/** The first packet to an address: the node may have to ask for its neighbours, too. */
const firstPatienceMs = 1500;
/** What nobody awaits has time to come out before the next packet follows it. */
const graceMs = 5;
/** A neighbour is asked for at most so long (ARP and neighbour discovery: three tries, a second apart). */
const leavingMs = 3500;
const lingerMs = 500;

interface Missing {
  readonly packet: ExpectedPacket;
  /** As of `Seen`. */
  readonly after: number;
}

interface Seen {
  readonly place: number;
  readonly bytes: Uint8Array;
  /** How many packets had been sent when it came out. */
  readonly after: number;
}

/** @throws Error when a packet cannot be sent, or does not leave its place. */
export async function runLive(
  plan: LivePlan,
  places: readonly LivePlace[],
  options: LiveOptions,
): Promise<LiveOutcome> {
  const seen: Seen[] = [];
  const left = new Set<string>();
  let [sent, cameOut, expected, isInterrupted] = [0, 0, 0, false];
  const missing: Missing[] = [];
  const namespaces: LiveNamespace[] = [];
  try {
    for (const [place, one] of places.entries())
      namespaces.push(
        await LiveNamespace.open(one, (direction, bytes) => {
          if (isChatter(bytes)) return;
          if (direction === "out") left.add(`${place} ${essence(bytes, false)}`);
          else {
            cameOut++;
            seen.push({ place, bytes, after: sent });
          }
        }),
      );
    const asked = new Set<string>();
    for (const one of plan.sends) {
      const way = `${one.place} ${destination(one.bytes)}`;
      const isFirst = !asked.has(way);
      asked.add(way);
      left.clear();
      sent++;
      await (namespaces[one.place] as LiveNamespace).send(one.bytes);
      const departure = `${one.place} ${essence(one.bytes, false)}`;
      if (!(await holds(() => left.has(departure), leavingMs, options)))
        throw new Error(
          `a packet did not leave by ${placeName(places[one.place])} (is there a route and a neighbour?): ${printPacket(one.bytes)}`,
        );
      for (const packet of one.expected) {
        expected++;
        const hasCome = (): boolean => take(packet, seen);
        if (!(await holds(hasCome, isFirst ? firstPatienceMs : patienceMs, options)))
          missing.push({ packet, after: sent });
      }
      if (one.expected.length === 0) await options.pause(graceMs);
      isInterrupted = (await options.onProgress?.(sent, plan.sends.length)) === false;
      if (isInterrupted) break;
    }
    await options.pause(lingerMs);
  } finally {
    for (const namespace of namespaces) await namespace.close();
  }
  const differences = differencesOf(
    missing.filter(({ packet }) => !take(packet, seen)),
    seen,
    plan,
    places,
  );
  return { sent, cameOut, expected, differences, isInterrupted };
}

function differencesOf(
  missing: readonly Missing[],
  unexpected: readonly Seen[],
  { sends }: LivePlan,
  places: readonly LivePlace[],
): readonly LiveDifference[] {
  const difference = (
    kind: LiveDifference["kind"],
    { place, bytes }: Pick<Seen, "place" | "bytes">,
    after: number,
  ): LiveDifference => {
    const cause = sends[after - 1];
    return {
      ...(cause === undefined ? {} : { packet: after, sent: printPacket(cause.bytes) }),
      place: placeName(places[place]),
      line: printPacket(bytes),
      kind,
    };
  };
  return [
    ...missing.map(({ packet, after }) => difference("missing", packet, after)),
    ...unexpected.map((one) => difference("unexpected", one, one.after)),
  ];
}

function placeName(place: LivePlace | undefined): string {
  return `${place?.namespace}:${place?.interface}`;
}

/** Waits until it is so, or for so long. */
async function holds(isSo: () => boolean, forMs: number, { pause }: LiveOptions): Promise<boolean> {
  const end = performance.now() + forMs;
  while (!isSo()) {
    if (performance.now() >= end) return false;
    await pause(1);
  }
  return true;
}

/** Takes the packet out of `seen` when it has come. */
function take({ place, bytes, isMasqueraded }: ExpectedPacket, seen: Seen[]): boolean {
  const wanted = essence(bytes, isMasqueraded);
  const at = seen.findIndex((one) => one.place === place && essence(one.bytes, isMasqueraded) === wanted);
  if (at >= 0) seen.splice(at, 1);
  return at >= 0;
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
