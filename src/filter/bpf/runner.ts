/**
 * Runs programs on packets: one machine, one packet buffer and one set of helpers for each program type in use, and
 * what a run leaves: its return code, the packet, the context, outputs and redirections.
 */
import type { Prng } from "../../base/index.ts";
import type { ProgramType } from "./context.ts";
import type { Fault } from "./fault.ts";
import { type HelperEnvironment, helpersFor, type OutputEvent, type Redirect } from "./helpers/index.ts";
import { type ContextValues, ethernetHeaderBytes, PacketBuffer } from "./packet-buffer.ts";
import type { LinkedProgram } from "./program.ts";
import type { BpfSpace } from "./space.ts";
import { BpfMachine } from "./vm.ts";

export interface RunnerOptions {
  readonly space: BpfSpace;
  /** Virtual nanoseconds. */
  nowNs(): number;
  readonly random: Prng;
  /** Instructions that one run may execute; default: the verifier's limit. */
  readonly fuel?: number;
  /** Runs of a verified program before it is compiled; see `compileAfterRuns`. */
  readonly compileAfter?: number;
}

/** A compiler's time is some thousands of runs' time saved: programs that see few packets stay interpreted. */
export const compileAfterRuns = 1000;

export interface PacketOutcome {
  /** r0's low word, signed; undefined when a guard stopped the run. */
  readonly code: number | undefined;
  readonly fault: Fault | undefined;
  readonly events: readonly OutputEvent[];
  readonly redirects: readonly Redirect[];
}

const nothing: readonly never[] = Object.freeze([]);

/** Where programs of one type run. */
export interface Station {
  readonly packet: PacketBuffer;
  readonly machine: BpfMachine;
  /** Its `events` and `redirects` are those of the last run. */
  readonly environment: HelperEnvironment;
}

export class BpfRunner {
  readonly #options: RunnerOptions;
  readonly #stations = new Map<ProgramType, Station>();

  constructor(options: RunnerOptions) {
    this.#options = options;
  }

  /** The buffer that `run` leaves the packet and its context in. */
  packet(type: ProgramType): PacketBuffer {
    return this.station(type).packet;
  }

  /** Instructions that the last run of this type executed. */
  executed(type: ProgramType): number {
    return this.station(type).machine.executed;
  }

  /** `onLookup` is told what the program looks up. `networkOffset`: 14 for a frame, 0 for a packet that starts with its network header. */
  run(
    program: LinkedProgram,
    type: ProgramType,
    packet: Uint8Array,
    networkOffset: number,
    context: ContextValues,
    onLookup?: HelperEnvironment["onLookup"],
  ): PacketOutcome {
    const { packet: buffer, machine, environment } = this.station(type);
    buffer.load(packet, networkOffset, context);
    const fault = this.runLoaded(program, type, onLookup);
    return {
      code: fault === undefined ? machine.low(0) : undefined,
      fault,
      events: environment.events.length === 0 ? nothing : [...environment.events],
      redirects: environment.redirects.length === 0 ? nothing : [...environment.redirects],
    };
  }

  /** Runs a program on what the type's buffer holds; its result is then in r0. A run that is watched is never compiled. */
  runLoaded(
    program: LinkedProgram,
    type: ProgramType,
    onLookup?: HelperEnvironment["onLookup"],
  ): Fault | undefined {
    const { packet, machine, environment } = this.station(type);
    environment.onLookup = onLookup;
    if (environment.events.length > 0) environment.events.length = 0;
    if (environment.redirects.length > 0) environment.redirects.length = 0;
    return machine.start(program, packet.contextAt, 0, onLookup !== undefined);
  }

  station(type: ProgramType): Station {
    const known = this.#stations.get(type);
    if (known !== undefined) return known;
    const { space, random, fuel, compileAfter = compileAfterRuns } = this.#options;
    const packet = new PacketBuffer(space.memory, type);
    const environment: HelperEnvironment = {
      space,
      nowNs: () => this.#options.nowNs(),
      random,
      packet,
      events: [],
      redirects: [],
      onLookup: undefined,
    };
    const machine = new BpfMachine({
      memory: space.memory,
      helpers: helpersFor(type, environment),
      compileAfter,
      lookupOf: (map) => space.lookupOf(map),
      loadPacket: (offset, size) => loadPacket(packet, offset, size),
      ...(fuel === undefined ? {} : { fuel }),
    });
    const station = { packet, machine, environment };
    this.#stations.set(type, station);
    return station;
  }
}

/** Offsets below these name the network header and the link header (SKF_NET_OFF, SKF_LL_OFF of linux/filter.h). */
const networkBase = -0x10_0000;
const linkBase = -0x20_0000;

/** The historical loads read in network byte order, from `data` or from a header; a packet may lack a link header. */
function loadPacket(packet: PacketBuffer, offset: number, size: number): number | undefined {
  const link = packet.networkOffset - ethernetHeaderBytes;
  let from = offset;
  if (offset < 0 && offset >= networkBase) from = offset - networkBase + packet.networkOffset;
  else if (offset < 0) from = offset >= linkBase && link >= 0 ? offset - linkBase + link : -1;
  const at = packet.at(from, size);
  if (at < 0) return undefined;
  const { view } = packet.memory;
  return size === 4 ? view.getInt32(at) : size === 2 ? view.getUint16(at) : view.getUint8(at);
}
