/**
 * Everything that the BPF programs of one node share: their memory, maps and programs, each known by a number as a
 * process knows them by file descriptors. Making a map refuses what the kernel's map_alloc_check functions refuse.
 */
import { InputError } from "../../base/index.ts";
import { insnText } from "./disasm.ts";
import { Imm64Kind, type Instruction } from "./insn.ts";
import { ArrayMap } from "./maps/array.ts";
import { hashBase, prefixBase } from "./maps/base-entries.ts";
import { HashMap } from "./maps/hash.ts";
import { type LpmOptions, LpmTrie } from "./maps/lpm.ts";
import { MapOfMaps } from "./maps/nested.ts";
import { RingBuffer } from "./maps/ring.ts";
import { type BpfMap, type MapEntry, MapFlag, type MapShape, MapType, UpdateFlag } from "./maps/shape.ts";
import { SlotMap } from "./maps/slots.ts";
import { BpfMemory } from "./memory.ts";
import { checkProgram, type LinkedProgram, linkProgram, type NamedLoad } from "./program.ts";

/** Pointers to maps and code are numbers that no address of the memory has. */
const mapHandleBase = 0xf000_0000;
const codeHandleBase = 0xe000_0000;

export interface SpaceOptions extends LpmOptions {
  /** Of all maps and stacks together. */
  readonly memoryBytesMax?: number;
}

export class BpfSpace {
  readonly memory: BpfMemory;
  readonly #options: SpaceOptions;
  /** Made when first named, unless they may not fit: most maps of a node see no packet. */
  readonly #maps: (BpfMap | undefined)[] = [];
  readonly #shapes: MapShape[] = [];
  readonly #bases: (readonly MapEntry[] | undefined)[] = [];
  readonly #programs: LinkedProgram[] = [];

  constructor(options: SpaceOptions = { refusesReplaceWhenFull: true }) {
    this.#options = options;
    this.memory = new BpfMemory(options.memoryBytesMax);
  }

  /**
   * Number of the new map, which starts with the frozen entries `base`.
   * @throws InputError for a shape that the kernel refuses, or one that needs too much memory.
   */
  createMap(shape: MapShape, base?: readonly MapEntry[]): number {
    const problem = shapeProblem(shape);
    if (problem !== undefined) throw refused(`map ${shape.name}: ${problem}`);
    const number = this.#shapes.push(shape) - 1;
    this.#bases.push(base);
    const isWhole = shape.type === MapType.ringbuf || isArray(shape);
    if (isWhole && this.map(number) === undefined)
      throw refused(`map ${shape.name} does not fit into the memory`);
    return number;
  }

  map(number: number): BpfMap | undefined {
    const known = this.#maps[number];
    const shape = this.#shapes[number];
    if (known !== undefined || shape === undefined) return known;
    const made = this.#make(shape, this.#bases[number]);
    this.#maps[number] = made;
    return made;
  }

  /** Whether anything has named the map: until then it is as it was created. */
  isTouched(number: number): boolean {
    return this.#maps[number] !== undefined;
  }

  /** The map that a program's pointer names. */
  mapOfHandle(low: number, high: number): BpfMap | undefined {
    return high === 0 && low >>> 0 >= mapHandleBase ? this.map((low >>> 0) - mapHandleBase) : undefined;
  }

  /** Lookups in the map that a program's pointer names, for keys that a verifier has found to be in the memory. */
  lookupOf(handle: number): (keyAt: number) => number {
    const { memory } = this;
    let map: BpfMap | undefined; // made when first asked
    return (keyAt) => {
      map ??= this.mapOfHandle(handle, 0);
      return map === undefined ? 0 : map.lookup(memory.bytes, keyAt >>> 0) | 0;
    };
  }

  /** Every ring buffer, to drain or to find a record's. */
  rings(): readonly RingBuffer[] {
    return this.#maps.filter((map) => map instanceof RingBuffer);
  }

  /** Number of the new program. `mapNumbers` resolves the immediates of 64-bit loads that name maps. @throws InputError */
  loadProgram(
    name: string,
    instructions: readonly Instruction[],
    mapNumbers: (imm: number) => number | undefined = (imm) => imm,
    isVerified = false,
  ): number {
    const problems = checkProgram(instructions);
    if (problems.length > 0)
      throw new InputError(
        problems.map(({ pc, message }) => ({
          code: "invalid" as const,
          path: `${name}[${pc}]`,
          message: `${message}: ${insnText(instructions[pc] as Instruction, instructions[pc + 1]?.imm ?? 0)}`,
        })),
      );
    const resolve = (load: NamedLoad): number => this.#address(name, load, mapNumbers);
    return this.#programs.push(linkProgram(name, instructions, resolve, isVerified)) - 1;
  }

  program(number: number): LinkedProgram | undefined {
    return this.#programs[number];
  }

  /** Slot of the function that a code pointer names. */
  codeOfHandle(low: number, high: number): number | undefined {
    const pc = (low >>> 0) - codeHandleBase;
    return high === 0 && pc >= 0 && pc < mapHandleBase - codeHandleBase ? pc : undefined;
  }

  #address(
    name: string,
    { pc, kind, low, high }: NamedLoad,
    mapNumbers: (imm: number) => number | undefined,
  ): number {
    if (kind === Imm64Kind.code) return codeHandleBase + pc + 1 + low;
    if (kind === Imm64Kind.variable) throw refused(`program ${name} names kernel variable ${low}`);
    const number = mapNumbers(low);
    if (number === undefined || this.#shapes[number] === undefined)
      throw refused(`program ${name} names map ${low}, which is not there`);
    if (kind === Imm64Kind.map || kind === Imm64Kind.mapIndex) return mapHandleBase + number;
    const map = this.map(number);
    if (map instanceof ArrayMap && high >= 0 && high < map.shape.valueSize) return map.start + high;
    throw refused(`program ${name} loads the address of byte ${high} of map ${this.#shapes[number]?.name}`);
  }

  /** `undefined`: the memory is too small for it. */
  #make(shape: MapShape, base: readonly MapEntry[] = []): BpfMap | undefined {
    const { memory } = this;
    if (shape.type === MapType.hash) {
      const shared = hashBase(shape, base);
      if (shared !== undefined) return new HashMap(memory, shape, shared);
    }
    if (shape.type === MapType.lpmTrie) {
      const shared = prefixBase(shape, base);
      if (shared !== undefined) return new LpmTrie(memory, shape, this.#options, shared);
    }
    const map = this.#makeEmpty(shape);
    for (const { key, value } of base) map?.update(key, 0, value, 0, UpdateFlag.any);
    return map;
  }

  #makeEmpty(shape: MapShape): BpfMap | undefined {
    switch (shape.type) {
      case MapType.array:
      case MapType.percpuArray:
        return ArrayMap.create(this.memory, shape);
      case MapType.hash:
      case MapType.percpuHash:
      case MapType.lruHash:
      case MapType.lruPercpuHash:
        return new HashMap(this.memory, shape);
      case MapType.lpmTrie:
        return new LpmTrie(this.memory, shape, this.#options);
      case MapType.arrayOfMaps:
      case MapType.hashOfMaps:
        return new MapOfMaps(shape, {
          handle: (number) => (this.#shapes[number] === undefined ? undefined : mapHandleBase + number),
          shapeOf: (number) => this.#shapes[number],
        });
      case MapType.progArray:
      case MapType.perfEventArray:
        return new SlotMap(shape);
      case MapType.ringbuf:
        return RingBuffer.create(this.memory, shape);
    }
  }
}

function refused(message: string): InputError {
  return new InputError([{ code: "refused", path: "", message }]);
}

function isArray({ type }: MapShape): boolean {
  return type === MapType.array || type === MapType.percpuArray;
}

/** Why the kernel answers EINVAL or E2BIG to a map of this shape. */
function shapeProblem({ type, keySize, valueSize, maxEntries, flags }: MapShape): string | undefined {
  const takesNoPrealloc: readonly MapType[] = [
    MapType.hash,
    MapType.percpuHash,
    MapType.hashOfMaps,
    MapType.lpmTrie,
  ];
  if ((flags & MapFlag.noPrealloc) !== 0 && !takesNoPrealloc.includes(type))
    return "maps of its type are made whole: it cannot have the flag BPF_F_NO_PREALLOC";
  const isPowerOfTwo = maxEntries > 0 && (maxEntries & (maxEntries - 1)) === 0;
  if (type === MapType.ringbuf)
    return keySize !== 0 || valueSize !== 0 || !isPowerOfTwo || maxEntries % 4096 !== 0
      ? "a ring buffer has no key, no value and a power of two of pages"
      : undefined;
  if (maxEntries <= 0) return "it needs at least one entry";
  switch (type) {
    case MapType.array:
    case MapType.percpuArray:
      return keySize !== 4 || valueSize <= 0 ? "an array has keys of 4 bytes and a value" : undefined;
    case MapType.progArray:
    case MapType.perfEventArray:
    case MapType.arrayOfMaps:
      return keySize !== 4 || valueSize !== 4 ? "its keys and values have 4 bytes" : undefined;
    case MapType.hashOfMaps:
      return keySize <= 0 || keySize > 512 || valueSize !== 4
        ? "its keys have 1 to 512 bytes, its values 4"
        : undefined;
    case MapType.lpmTrie: {
      const isKey = keySize >= 5 && keySize <= 260;
      if (!isKey || valueSize <= 0) return "a trie has keys of 5 to 260 bytes and a value";
      return (flags & MapFlag.noPrealloc) === 0 ? "a trie must have the flag BPF_F_NO_PREALLOC" : undefined;
    }
    default:
      return keySize <= 0 || keySize > 512 || valueSize <= 0
        ? "a hash has keys of 1 to 512 bytes and a value"
        : undefined;
  }
}
