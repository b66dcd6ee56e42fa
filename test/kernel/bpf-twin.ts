/**
 * The BPF of emulated nodes, run once more in the kernel: every program that a node runs on a packet is run by
 * BPF_PROG_TEST_RUN on the same bytes, with the same mark and interface, over maps of the same content, and must leave the
 * same return code, mark and packet. Maps live on between packets in both. What agents change in between is taken over by
 * filling the kernel's maps anew.
 *
 * Random numbers are the same one on both sides. Clocks are not, so that times in map values are not compared; where the
 * clock stands still, on both sides too, what programs wrote to maps is compared at the end. Outputs to perf buffers are
 * not: nobody reads them there.
 */
import {
  BpfDatapath,
  BpfRunner,
  BpfSpace,
  type BpfTables,
  contentOf,
  type Instruction,
  type MapEntry,
  type MapShape,
  MapType,
  ProgramType,
} from "../../src/filter/bpf/index.ts";
import { type BpfJudge, startBpfJudge } from "../../src/harness/kernel/index.ts";

interface Ran {
  readonly kind: "run";
  readonly program: string;
  readonly packet: Uint8Array;
  readonly mark: number;
  readonly index: number;
  readonly ingressIndex: number;
  readonly code: number;
  readonly markAfter: number;
  readonly packetAfter: Uint8Array;
}
interface Filled {
  readonly kind: "filled";
  readonly tables: BpfTables;
}

/** What one node did, in order; a `filled` before the first run and after every change from outside. */
export interface NodeLog {
  readonly steps: readonly (Ran | Filled)[];
  /** The tables as programs left them, where the clock stood still. */
  readonly left: BpfTables | undefined;
}

/** Records every run of BPF on every node that `work` makes and runs. */
export function recordRuns(work: () => void, clock: "runs" | "stands" = "runs"): readonly NodeLog[] {
  const constants = constantsOf(clock === "stands");
  const logs = new Map<BpfDatapath, (Ran | Filled)[]>();
  const stale = new Set<BpfDatapath>();
  let current: BpfDatapath | undefined;
  const real = {
    run: BpfDatapath.prototype.run,
    apply: BpfDatapath.prototype.apply,
    runner: BpfRunner.prototype.runLoaded,
    load: BpfSpace.prototype.loadProgram,
  };
  BpfSpace.prototype.loadProgram = function (this: BpfSpace, name, instructions, mapNumbers) {
    return real.load.call(this, name, withConstants(instructions, constants), mapNumbers);
  };
  BpfDatapath.prototype.run = function (this: BpfDatapath, ...args): void {
    current = this;
    real.run.apply(this, args);
  };
  BpfDatapath.prototype.apply = function (this: BpfDatapath, op) {
    stale.add(this);
    return real.apply.call(this, op);
  };
  BpfRunner.prototype.runLoaded = function (this: BpfRunner, program, type, onLookup) {
    const node = current as BpfDatapath;
    const log = logs.get(node) ?? [];
    if (log.length === 0 || stale.has(node)) log.push({ kind: "filled", tables: node.tables() });
    logs.set(node, log);
    stale.delete(node);
    const { packet: buffer, machine } = this.station(type);
    const before = {
      packet: buffer.copy(),
      mark: buffer.get("mark"),
      index: buffer.get("ifindex"),
      ingressIndex: buffer.get("ingress_ifindex"),
    };
    const fault = real.runner.call(this, program, type, onLookup);
    log.push({
      kind: "run",
      program: program.name,
      ...before,
      code: (fault === undefined ? machine.low(0) : -1) >>> 0,
      markAfter: buffer.get("mark"),
      packetAfter: buffer.copy(),
    });
    return fault;
  };
  try {
    work();
  } finally {
    BpfDatapath.prototype.run = real.run;
    BpfDatapath.prototype.apply = real.apply;
    BpfRunner.prototype.runLoaded = real.runner;
    BpfSpace.prototype.loadProgram = real.load;
  }
  return [...logs].map(([node, steps]) => ({
    steps,
    left: clock === "stands" ? node.tables() : undefined,
  }));
}

/** What calls of bpf_get_prandom_u32 answer, and of bpf_ktime_get_ns where the clock stands. */
function constantsOf(isStill: boolean): ReadonlyMap<number, number> {
  return new Map([[7, 5], ...(isStill ? [[5, 2_000_000_000] as const] : [])]);
}

/** Calls of helpers that no two machines answer alike become numbers. */
function withConstants(
  instructions: readonly Instruction[],
  constants: ReadonlyMap<number, number>,
): readonly Instruction[] {
  const call = 0x85;
  const movImm = 0xb7;
  return instructions.map((one) => {
    const imm = one.opcode === call && one.src === 0 ? constants.get(one.imm) : undefined;
    return imm === undefined ? one : { opcode: movImm, dst: 0, src: 0, offset: 0, imm };
  });
}

/** Tables of connections as large as on a node would take the kernel's memory for every node there is. */
const entriesMax = 8192;

const kernelShape = (shape: MapShape): MapShape => ({
  ...shape,
  maxEntries: Math.min(shape.maxEntries, entriesMax),
});

/** Policy maps of nodes that are gone; from here on the kernel's are made anew. */
const mapsMax = 400;

/**
 * The kernel's copy of a node's programs and maps, of one node after another: programs that they have in common are
 * verified once, maps are emptied of what was another's.
 */
export class KernelTwin {
  readonly #judge: BpfJudge;
  #programs: ReadonlyMap<string, number> = new Map();
  #loaded: { readonly programs: BpfTables["programs"]; readonly isStill: boolean } = {
    programs: [],
    isStill: false,
  };
  /** Nothing of the node has been taken over yet. */
  #isNew = true;
  /** Number and shape in the kernel by name. */
  readonly #maps = new Map<string, { readonly number: number; readonly shape: MapShape }>();

  constructor(judge: BpfJudge) {
    this.#judge = judge;
  }

  /** Runs nodes' logs in the kernel; what it does otherwise (the first of each node), and how many runs were compared. */
  async compare(
    logs: readonly NodeLog[],
  ): Promise<{ readonly problems: readonly string[]; readonly compared: number }> {
    const problems: string[] = [];
    let compared = 0;
    for (const { steps, left } of logs) {
      this.#isNew = true;
      const before = problems.length;
      for (const step of steps) {
        if (step.kind === "filled") {
          await this.#fill(step.tables, left !== undefined);
          continue;
        }
        compared++;
        const problem = await this.#differs(step);
        if (problem === undefined) continue;
        problems.push(problem);
        break;
      }
      if (left !== undefined && problems.length === before) problems.push(...(await this.#otherMaps(left)));
    }
    return { problems, compared };
  }

  /** Makes the maps hold what the tables say. Programs are loaded when others come, with maps of their own. */
  async #fill({ maps, programs }: BpfTables, isStill: boolean): Promise<void> {
    const isReload =
      programs !== this.#loaded.programs || isStill !== this.#loaded.isStill || this.#maps.size > mapsMax;
    if (isReload) {
      await this.#judge.forget();
      this.#maps.clear();
    }
    // inner maps first, a template before the maps that hold them
    for (const map of [...maps].sort((a, b) => Number(isOuter(a)) - Number(isOuter(b)))) {
      const known = this.#maps.get(map.name);
      if (known === undefined || !sameShape(known.shape, map)) await this.#create(map);
    }
    const numbers = maps.map(({ name }) => this.#maps.get(name)?.number ?? -1);
    for (const map of maps) await this.#write(map, numbers);
    this.#isNew = false;
    if (!isReload) return;
    const loaded = new Map<string, number>();
    for (const { name, instructions } of programs) {
      const code = renumbered(withConstants(instructions, constantsOf(isStill)), numbers);
      loaded.set(name, await this.#judge.load(ProgramType.schedCls, code));
    }
    this.#programs = loaded;
    this.#loaded = { programs, isStill };
  }

  async #create(map: MapShape): Promise<void> {
    const template = map.inner === undefined ? -1 : await this.#judge.createMap(kernelShape(map.inner));
    const number = await this.#judge.createMap(kernelShape(map), template);
    if (number < 0) throw new Error(`the kernel refuses map ${map.name}: ${number}`);
    this.#maps.set(map.name, { number, shape: map });
  }

  async #write(map: BpfTables["maps"][number], numbers: readonly number[]): Promise<void> {
    const number = this.#maps.get(map.name)?.number ?? -1;
    if (map.type === MapType.perfEventArray || map.type === MapType.progArray) return;
    const there = isOuter(map) ? [] : await this.#judge.entries(number);
    const before = new Map(there.map(({ key, value }) => [key.join(), value.join()]));
    const isLru = map.type === MapType.lruHash || map.type === MapType.lruPercpuHash;
    for (const { key, value } of contentOf(map)) {
      const old = before.get(key.join());
      before.delete(key.join());
      if (old !== undefined && ((isLru && !this.#isNew) || old === value.join())) continue;
      const held = isOuter(map)
        ? word(numbers[new DataView(value.buffer, value.byteOffset).getUint32(0, true)] ?? -1)
        : value;
      const status = await this.#judge.update(number, key, held);
      if (status < 0) throw new Error(`the kernel refuses an entry of map ${map.name}: ${status}`);
    }
    if (map.type === MapType.array || map.type === MapType.percpuArray) return;
    for (const { key } of there) if (before.has(key.join())) await this.#judge.remove(number, key);
  }

  /** What the kernel does otherwise; `undefined`: nothing. */
  async #differs(ran: Ran): Promise<string | undefined> {
    const context = new Uint8Array(192);
    const view = new DataView(context.buffer);
    view.setUint32(8, ran.mark, true);
    view.setUint32(36, ran.ingressIndex, true);
    view.setUint32(40, ran.index, true);
    const theirs = await this.#judge.run(this.#programs.get(ran.program) ?? -1, ran.packet, context);
    if (typeof theirs === "number") return `${ran.program}: BPF_PROG_TEST_RUN answers ${theirs}`;
    const mark = new DataView(theirs.context.buffer, theirs.context.byteOffset).getUint32(8, true);
    const ours = `${ran.code} mark ${ran.markAfter} ${Buffer.from(ran.packetAfter).toString("hex")}`;
    const kernel = `${theirs.code} mark ${mark} ${Buffer.from(theirs.packet).toString("hex")}`;
    return ours === kernel
      ? undefined
      : `${ran.program} on ${Buffer.from(ran.packet).toString("hex")} with mark ${ran.mark} at ${ran.index}:\n  ours ${ours}\n  kernel ${kernel}`;
  }

  /** Entries of hashes that are on one side alone. */
  async #otherMaps({ maps }: BpfTables): Promise<readonly string[]> {
    const problems: string[] = [];
    for (const map of maps) {
      if (map.type !== MapType.hash && map.type !== MapType.lruHash) continue;
      const theirs = entryTexts(await this.#judge.entries(this.#maps.get(map.name)?.number ?? -1));
      const ours = entryTexts(contentOf(map));
      for (const text of ours) if (!theirs.has(text)) problems.push(`${map.name}: ${text} is here alone`);
      for (const text of theirs)
        if (!ours.has(text)) problems.push(`${map.name}: ${text} is in the kernel alone`);
    }
    return problems;
  }
}

function entryTexts(entries: readonly MapEntry[]): ReadonlySet<string> {
  const hex = (bytes: Uint8Array): string => Buffer.from(bytes).toString("hex");
  return new Set(entries.map(({ key, value }) => `${hex(key)}=${hex(value)}`));
}

const isOuter = (map: MapShape | undefined): boolean =>
  map?.type === MapType.hashOfMaps || map?.type === MapType.arrayOfMaps;

function sameShape(a: MapShape, b: MapShape): boolean {
  return a.type === b.type && a.keySize === b.keySize && a.valueSize === b.valueSize && a.flags === b.flags;
}

const word = (value: number): Uint8Array => new Uint8Array(Int32Array.of(value).buffer);

/** Immediates of 64-bit loads that name maps, from places to the kernel's numbers. */
function renumbered(
  instructions: readonly Instruction[],
  numbers: readonly number[],
): readonly Instruction[] {
  return instructions.map((one) =>
    one.opcode === 0x18 && (one.src === 1 || one.src === 2) ? { ...one, imm: numbers[one.imm] ?? -1 } : one,
  );
}

/** A judge with a device for each interface number that nodes may have. */
export function startTwinJudge(): BpfJudge {
  return startBpfJudge(60);
}
