/**
 * BPF objects: programs and maps of an ELF file, as clang writes them and libbpf reads them. Functions that a program
 * calls are put behind it; references to maps become numbers of the object's maps.
 */
import { ProgramType } from "../context.ts";
import { CallKind, decodeInstructions, Imm64Kind, type Instruction, insnBytes, Opcode } from "../insn.ts";
import { parseBtf } from "./btf.ts";
import {
  type ElfFile,
  type ElfSymbol,
  parseElf,
  type Relocation,
  RelocationType,
  type Section,
  SectionFlag,
  SectionType,
  SymbolType,
} from "./elf.ts";
import { type MapDefinition, readMaps } from "./map-definitions.ts";

export interface ObjectProgram {
  /** The function's name. */
  readonly name: string;
  readonly section: string;
  /** By the section's name; `undefined` when that names no packet filter. */
  readonly type: ProgramType | undefined;
  /** 64-bit loads of kinds 1 and 2 name the object's maps by place. */
  readonly instructions: readonly Instruction[];
}

export interface BpfObject {
  readonly file: string;
  readonly programs: readonly ObjectProgram[];
  readonly maps: readonly MapDefinition[];
  readonly license: string;
}

/** Section names by what they attach to (libbpf's SEC conventions). */
const sectionTypes: readonly (readonly [prefix: RegExp, type: ProgramType])[] = [
  [/^(tc|tcx|classifier|action|act)(\/|$)/, ProgramType.schedCls],
  [/^(xdp)(\.frags)?([/_]|$)/, ProgramType.xdp],
  [/^socket/, ProgramType.socketFilter],
  [/^cgroup_skb(\/|$)/, ProgramType.cgroupSkb],
];

export function programTypeOf(section: string): ProgramType | undefined {
  return sectionTypes.find(([prefix]) => prefix.test(section))?.[1];
}

/** @throws InputError with byte offset or program and instruction of what is wrong. */
export function readObject(bytes: Uint8Array, file: string): BpfObject {
  const elf = parseElf(bytes, file);
  const btf = elf.sections.find(({ name }) => name === ".BTF");
  const maps = readMaps(elf, btf === undefined ? undefined : parseBtf(btf.data));
  const license = elf.sections.find(({ name }) => name === "license")?.data.bytes ?? new Uint8Array();
  const code = elf.sections.filter((section) => isCode(section) && section.size > 0);
  // functions in .text are what programs call; where there is nothing else, they are the programs
  const named = code.filter(({ name }) => name !== ".text");
  const programs = (named.length > 0 ? named : code).flatMap((section) =>
    functionsIn(elf, section).map((symbol) => new ProgramLinker(elf, maps).link(section, symbol)),
  );
  return { file, programs, maps, license: new TextDecoder().decode(license).replace(/\0.*$/s, "") };
}

function isCode({ type, flags }: Section): boolean {
  return type === SectionType.progbits && (flags & SectionFlag.execute) !== 0;
}

/** Functions of a section; a section without symbols is one program of its own name. */
function functionsIn(elf: ElfFile, section: Section): readonly ElfSymbol[] {
  const symbols = elf.symbols.filter((one) => one.section === section.index && one.type === SymbolType.func);
  if (symbols.length > 0) return symbols;
  return section.size === 0
    ? []
    : [
        {
          name: section.name,
          type: SymbolType.func,
          section: section.index,
          value: 0,
          size: section.size,
          isGlobal: true,
        },
      ];
}

/** Slots of one program with its subprograms together: more is no program of a real object. */
const slotsMax = 1_000_000;

interface Placed {
  /** First slot in the program. */
  readonly at: number;
}

class ProgramLinker {
  readonly #elf: ElfFile;
  readonly #maps: readonly MapDefinition[];
  readonly #slots: Instruction[] = [];
  /** Functions already in the program, by section and offset. */
  readonly #placed = new Map<string, Placed>();
  #name = "";

  constructor(elf: ElfFile, maps: readonly MapDefinition[]) {
    this.#elf = elf;
    this.#maps = maps;
  }

  link(section: Section, symbol: ElfSymbol): ObjectProgram {
    this.#name = symbol.name;
    const pending = [this.#place(section, symbol)];
    for (let next = pending.pop(); next !== undefined; next = pending.pop())
      pending.push(...this.#resolve(next));
    return {
      name: symbol.name,
      section: section.name,
      type: programTypeOf(section.name),
      instructions: this.#slots,
    };
  }

  #place(section: Section, { value, size, name }: ElfSymbol): PlacedFunction {
    if (value % insnBytes !== 0 || size % insnBytes !== 0)
      throw section.data.fail(value, `function ${name} is not made of whole instructions`);
    const instructions = decodeInstructions(section.data.slice(value, size));
    const at = this.#slots.length;
    if (at + instructions.length > slotsMax)
      throw section.data.fail(value, `program ${this.#name} is too long`);
    this.#slots.push(...instructions);
    this.#placed.set(`${section.index} ${value}`, { at });
    return { section, value, at, count: instructions.length };
  }

  /** Relocations and calls of a placed function; answers functions placed on the way. */
  #resolve({ section, value, at, count }: PlacedFunction): readonly PlacedFunction[] {
    const relocations = new Map(
      (this.#elf.relocations.get(section.index) ?? []).map((one) => [one.offset, one]),
    );
    const found: PlacedFunction[] = [];
    for (let i = 0; i < count; i++) {
      const instruction = this.#slots[at + i] as Instruction;
      const offset = value + i * insnBytes;
      const relocation = relocations.get(offset);
      if (instruction.opcode === Opcode.call && instruction.src === CallKind.local) {
        const target = this.#callTarget(section, offset, instruction, relocation);
        const slot = this.#slotOf(target, found);
        this.#slots[at + i] = { ...instruction, imm: slot - (at + i) - 1 };
      } else if (relocation !== undefined) {
        if (instruction.opcode !== Opcode.lddw)
          throw section.data.fail(
            offset,
            `relocation of type ${relocation.type} on an instruction that loads no address`,
          );
        this.#relocateLoad(section, offset, at + i, instruction, relocation, found);
      }
      if (instruction.opcode === Opcode.lddw) i++;
    }
    return found;
  }

  #callTarget(
    section: Section,
    offset: number,
    { imm }: Instruction,
    relocation: Relocation | undefined,
  ): CodePlace {
    if (relocation === undefined) return { section, value: offset + (imm + 1) * insnBytes };
    const { symbol, type } = relocation;
    if (type !== RelocationType.b64_32)
      throw section.data.fail(offset, `relocation of type ${type} on a call`);
    const isSection = symbol.type === SymbolType.section;
    return this.#codePlace(section, offset, symbol, isSection ? (imm + 1) * insnBytes : 0);
  }

  #codePlace(from: Section, offset: number, symbol: ElfSymbol, addend: number): CodePlace {
    const section = this.#elf.sections[symbol.section];
    if (section === undefined || symbol.section === 0 || !isCode(section))
      throw from.data.fail(
        offset,
        `program ${this.#name} calls ${symbol.name || "a symbol"}, which is no function of this object`,
      );
    return { section, value: symbol.value + addend };
  }

  /** Slot of a function, placing it behind the program if it is new. */
  #slotOf({ section, value }: CodePlace, found: PlacedFunction[]): number {
    const known = this.#placed.get(`${section.index} ${value}`);
    if (known !== undefined) return known.at;
    const symbol = functionsIn(this.#elf, section).find((one) => one.value === value);
    if (symbol === undefined) throw section.data.fail(value, "no function begins where a call goes");
    const placed = this.#place(section, symbol);
    found.push(placed);
    return placed.at;
  }

  #relocateLoad(
    section: Section,
    offset: number,
    slot: number,
    instruction: Instruction,
    { symbol, type }: Relocation,
    found: PlacedFunction[],
  ): void {
    if (type !== RelocationType.b64_64)
      throw section.data.fail(offset, `relocation of type ${type} on a 64-bit load`);
    const second = this.#slots[slot + 1];
    if (second === undefined) throw section.data.fail(offset, "a 64-bit load lacks its second half");
    const set = (src: number, low: number, high: number): void => {
      this.#slots[slot] = { ...instruction, src, imm: low };
      this.#slots[slot + 1] = { ...second, imm: high };
    };
    const target = this.#elf.sections[symbol.section];
    if (target !== undefined && symbol.section !== 0 && isCode(target)) {
      const place = this.#codePlace(section, offset, symbol, instruction.imm);
      set(Imm64Kind.code, this.#slotOf(place, found) - slot - 1, 0);
      return;
    }
    const number = this.#maps.findIndex(
      (one) => one.section === symbol.section && (one.isData || one.offset === symbol.value),
    );
    const map = this.#maps[number];
    if (map === undefined)
      throw section.data.fail(
        offset,
        `program ${this.#name} names ${symbol.name || "a symbol"}, which is no map or data of this object`,
      );
    if (map.isData) set(Imm64Kind.mapValue, number, symbol.value + instruction.imm);
    else set(Imm64Kind.map, number, 0);
  }
}

interface CodePlace {
  readonly section: Section;
  readonly value: number;
}

interface PlacedFunction extends CodePlace {
  readonly at: number;
  readonly count: number;
}
