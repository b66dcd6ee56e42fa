/**
 * A node's BPF in both machines: the same maps and programs in ours and in the running kernel (BPF_PROG_TEST_RUN), the same
 * packets through both, and what differs: return code, packet, mark, and afterwards what programs wrote to maps. What the
 * two cannot share is taken out on both sides: the clock and the random numbers become constants, an interface is number
 * 1 while its packets run (a test run has a device of that number), and big tables that start empty are made smaller.
 */
import { assert, createPrng } from "../../base/index.ts";
import {
  BpfRunner,
  BpfSpace,
  type BpfTables,
  contentOf,
  type Instruction,
  type LinkedProgram,
  type MapEntry,
  type MapRepr,
  MapType,
  ProgramType,
} from "../../filter/bpf/index.ts";
import type { BpfJudge } from "./bpf-judge.ts";

export interface ComparedPacket {
  /** Name of the program that it is given to. */
  readonly program: string;
  /** The interface that it crosses there. */
  readonly interface: string;
  /** From the network header on. */
  readonly bytes: Uint8Array;
  readonly mark: number;
}

const linkBytes = 14;
/** Maps above this are made as small as their content allows. */
const entriesMax = 8192;
/** What `bpf_ktime_get_ns` and `bpf_get_prandom_u32` answer. */
const constants: ReadonlyMap<number, number> = new Map([
  [5, 2_000_000_000],
  [7, 0x2545_f491],
]);
const callOpcode = 0x85;
const moveOpcode = 0xb7;
const wideLoad = 0x18;
const otherInterfaces = 1000;

interface Loaded {
  readonly ours: LinkedProgram;
  readonly theirs: number;
}

export class BpfComparison {
  readonly #judge: BpfJudge;
  readonly #tables: BpfTables;
  readonly #space = new BpfSpace({ refusesReplaceWhenFull: false });
  readonly #runner: BpfRunner;
  /** Numbers by place, in the kernel; ours are the places. */
  readonly #theirMaps: number[] = [];
  readonly #programs = new Map<string, Loaded>();
  #interface = "";
  /** What our machine returned for the last packet. */
  code = 0;

  private constructor(judge: BpfJudge, tables: BpfTables) {
    this.#judge = judge;
    this.#tables = tables;
    this.#runner = new BpfRunner({ space: this.#space, nowNs: () => 0, random: createPrng(1) });
  }

  /** @throws BpfRefusal for a program that the kernel's verifier refuses. The judge's other maps and programs are gone. */
  static async start(judge: BpfJudge, tables: BpfTables): Promise<BpfComparison> {
    await judge.forget();
    const comparison = new BpfComparison(judge, tables);
    await comparison.#createMaps();
    await comparison.#loadPrograms();
    return comparison;
  }

  /** What differs about one packet's way through one program. */
  async run({ program: name, interface: crossed, bytes, mark }: ComparedPacket): Promise<readonly string[]> {
    await this.#cross(crossed);
    const program = this.#programs.get(name);
    assert(program !== undefined, `no program ${name}`);
    const frame = new Uint8Array(linkBytes + bytes.length);
    const isV6 = (bytes[0] ?? 0) >>> 4 === 6;
    frame.set(isV6 ? [0x86, 0xdd] : [0x08, 0x00], 12);
    frame.set(bytes, linkBytes);
    const context = new Uint8Array(192);
    new DataView(context.buffer).setUint32(8, mark, true);
    const theirs = await this.#judge.run(program.theirs, frame, context);
    if (typeof theirs === "number") return [`${name}: the kernel's test run answers ${theirs}`];
    const values = { mark, protocol: isV6 ? 0xdd86 : 0x0008, ifindex: 1 };
    const outcome = this.#runner.run(program.ours, ProgramType.schedCls, frame, linkBytes, values);
    if (outcome.fault !== undefined) return [`${name}: ${outcome.fault.message}`];
    this.code = outcome.code ?? 0;
    const buffer = this.#runner.packet(ProgramType.schedCls);
    const markThere = new DataView(theirs.context.buffer).getUint32(8, true);
    const differences: string[] = [];
    const compare = (what: string, mine: string, other: string): void => {
      if (mine !== other) differences.push(`${name} ${hex(bytes)}: ${what} ${mine}, in the kernel ${other}`);
    };
    compare("code", String((outcome.code ?? 0) >>> 0), String(theirs.code));
    compare("mark", String(buffer.get("mark")), String(markThere));
    compare("packet", hex(buffer.copy()), hex(theirs.packet));
    return differences;
  }

  /** Instructions that our machine executed for the last packet. */
  get executed(): number {
    return this.#runner.executed(ProgramType.schedCls);
  }

  /** What differs about the tables that programs write to: hashes of all kinds. */
  async maps(): Promise<readonly string[]> {
    const differences: string[] = [];
    for (const [place, { name, type }] of this.#tables.maps.entries()) {
      if (type !== MapType.hash && type !== MapType.lruHash) continue;
      const mine = entryTexts(this.#space.map(place)?.entries() ?? []);
      const theirs = entryTexts(await this.#judge.entries(this.#theirMaps[place] ?? -1));
      for (const text of mine) if (!theirs.has(text)) differences.push(`${name}: ${text} is here alone`);
      for (const text of theirs)
        if (!mine.has(text)) differences.push(`${name}: ${text} is in the kernel alone`);
    }
    return differences;
  }

  async #createMaps(): Promise<void> {
    const template = new Map<MapRepr, number>();
    for (const map of this.#tables.maps)
      if (map.inner !== undefined) template.set(map, await this.#judge.createMap(map.inner));
    for (const map of this.#tables.maps) {
      const content = contentOf(map);
      const isTable =
        map.type === MapType.hash || map.type === MapType.lruHash || map.type === MapType.lpmTrie;
      const maxEntries = isTable
        ? Math.min(map.maxEntries, Math.max(entriesMax, content.length * 2))
        : map.maxEntries;
      const shape = { ...map, maxEntries };
      this.#space.createMap(shape);
      const number = await this.#judge.createMap(shape, template.get(map) ?? -1);
      assert(number >= 0, `the kernel refuses map ${map.name}: ${number}`);
      this.#theirMaps.push(number);
    }
    await Promise.all(
      this.#tables.maps.map((map, place) =>
        Promise.all(contentOf(map).map((entry) => this.#write(map, place, entry, entry.value))),
      ),
    );
  }

  async #write(map: MapRepr, place: number, { key }: MapEntry, value: Uint8Array): Promise<void> {
    const isNested = map.type === MapType.hashOfMaps || map.type === MapType.arrayOfMaps;
    const inner = isNested ? new DataView(value.buffer, value.byteOffset).getUint32(0, true) : 0;
    const there = isNested ? word(this.#theirMaps[inner] ?? -1) : value;
    const [mine, theirs] = [
      this.#space.map(place)?.update(key, 0, value, 0, 0),
      await this.#judge.update(this.#theirMaps[place] ?? -1, key, there),
    ];
    assert(mine === 0 && theirs === 0, `map ${map.name} takes its entries: ${mine}, in the kernel ${theirs}`);
  }

  async #loadPrograms(): Promise<void> {
    for (const { name, type, instructions } of this.#tables.programs) {
      const still = instructions.map(withoutChance);
      const ours = this.#space.program(this.#space.loadProgram(name, still));
      assert(ours !== undefined, `${name} loads`);
      const moved = still.map((one) =>
        one.opcode === wideLoad && (one.src === 1 || one.src === 2)
          ? { ...one, imm: this.#theirMaps[one.imm] ?? -1 }
          : one,
      );
      this.#programs.set(name, { ours, theirs: await this.#judge.load(type, moved) });
    }
  }

  /** Entries that name interfaces get their numbers anew: the one that is crossed is 1. */
  async #cross(name: string): Promise<void> {
    if (this.#interface === name) return;
    this.#interface = name;
    const names = new Map<string, number>();
    for (const [place, map] of this.#tables.maps.entries())
      for (const entry of contentOf(map)) {
        if (entry.interfaceAt === undefined) continue;
        const { offset, name: named } = entry.interfaceAt;
        if (!names.has(named)) names.set(named, otherInterfaces + names.size);
        const value = entry.value.slice();
        const number = named === name ? 1 : (names.get(named) ?? 0);
        new DataView(value.buffer).setUint32(offset, number, true);
        await this.#write(map, place, entry, value);
      }
  }
}

/** Calls of helpers that no two machines answer alike. */
function withoutChance(one: Instruction): Instruction {
  const constant = one.opcode === callOpcode && one.src === 0 ? constants.get(one.imm) : undefined;
  return constant === undefined ? one : { opcode: moveOpcode, dst: 0, src: 0, offset: 0, imm: constant };
}

function entryTexts(entries: readonly MapEntry[]): ReadonlySet<string> {
  return new Set(entries.map(({ key, value }) => `${hex(key)}=${hex(value)}`));
}

function hex(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString("hex");
}

function word(number: number): Uint8Array {
  const bytes = new Uint8Array(4);
  new DataView(bytes.buffer).setUint32(0, number, true);
  return bytes;
}
