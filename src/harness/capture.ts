/** The packets of a scenario as a capture: every packet at every interface that it crosses, in virtual time. */
import { type Mac, parseMac } from "../addr/index.ts";
import {
  type CaptureInterface,
  captureTime,
  LinkType,
  pcapngHeader,
  pcapngPacket,
} from "../capture/index.ts";
import { frame } from "../packet/index.ts";
import type { Scenario } from "../scenario/index.ts";
import type { TapEvent } from "../sim/index.ts";
import type { RunResultDocument } from "./documents.ts";
import { runScenario } from "./run.ts";
import type { ProductSelection } from "./selection.ts";

/** A scenario's run, with the packets that it sent. */
export interface CapturedRun {
  readonly result: RunResultDocument;
  readonly packets: number;
  /** The capture file, in pieces. */
  readonly pieces: readonly Uint8Array[];
}

/** Runs a scenario and keeps every packet at every interface that it crosses. */
export function captureScenario(scenario: Scenario, selection: ProductSelection, seed: number): CapturedRun {
  const events: TapEvent[] = [];
  const result = runScenario(scenario, selection, { seed, network: { tap: (event) => events.push(event) } });
  return { result, packets: events.length, pieces: captureOf(events) };
}

/** A capture file of what taps saw, in pieces. */
export function captureOf(events: readonly TapEvent[]): readonly Uint8Array[] {
  const indices = new Map<string, number>();
  const interfaces: CaptureInterface[] = [];
  const packets: Uint8Array[] = [];
  for (const event of events) {
    const name = `${event.node}:${event.interface.name}`;
    let interfaceIndex = indices.get(name);
    if (interfaceIndex === undefined) {
      interfaceIndex = interfaces.length;
      indices.set(name, interfaceIndex);
      interfaces.push({ name, linkType: LinkType.ethernet });
    }
    packets.push(
      pcapngPacket({
        interfaceIndex,
        ...captureTime(event.atNs),
        bytes: framed(event),
        direction: event.direction,
      }),
    );
  }
  return [pcapngHeader(interfaces), ...packets];
}

/** Azure's virtual network answers every ARP request of a node with this address. */
const fabricMac: Mac = parseMac("12:34:56:78:9a:bc") ?? [];

/** The packet in its Ethernet frame: tcpdump reads several interfaces from one file in this form alone. */
function framed({ interface: { mac, link }, direction, bytes }: TapEvent): Uint8Array {
  const peer = link === "pod" ? [...mac.slice(0, 1), 0x51, ...mac.slice(2)] : fabricMac;
  return frame(bytes, direction === "in" ? { src: peer, dst: mac } : { src: mac, dst: peer });
}
