/**
 * Maps that an object defines: structs in a legacy `maps` section, BTF-described variables in `.maps`, and one array
 * each for `.rodata`, `.data` and `.bss`. The conventions are libbpf's (bpf_helper_defs, struct bpf_map_def, __uint and
 * __type of bpf_helpers.h).
 */
import { InputError } from "../../../base/index.ts";
import { MapFlag, type MapShape, MapType } from "../maps/shape.ts";
import { type Btf, BtfKind, type BtfType } from "./btf.ts";
import { type ElfFile, type ElfSymbol, type Section, SectionType } from "./elf.ts";

export interface MapDefinition {
  readonly shape: MapShape;
  /** Where symbols that name it lie. */
  readonly section: number;
  readonly offset: number;
  /** A whole section of global data: symbols lie anywhere in it. */
  readonly isData: boolean;
  /** Initial content of a data section; absent for one of zeroes. */
  readonly content?: Uint8Array;
  /** Static entries of program arrays and maps of maps: index to symbol. */
  readonly slots: readonly { readonly index: number; readonly symbol: ElfSymbol }[];
}

const legacyBytes = 20;

export function isDataSection({ name }: Section): boolean {
  return /^\.(rodata|data|bss)(\.|$)/.test(name);
}

/** @throws InputError naming the map that cannot be read. */
export function readMaps(elf: ElfFile, btf: Btf | undefined): readonly MapDefinition[] {
  return elf.sections.flatMap((section) => {
    if (section.name === "maps") return legacyMaps(elf, section);
    if (section.name === ".maps") return btfMaps(elf, section, btf);
    return isDataSection(section) && section.size > 0 ? [dataMap(section)] : [];
  });
}

function symbolsIn(elf: ElfFile, section: Section): readonly ElfSymbol[] {
  return elf.symbols.filter((symbol) => symbol.section === section.index && symbol.type === 1);
}

function legacyMaps(elf: ElfFile, section: Section): readonly MapDefinition[] {
  // older compilers leave these symbols without a type
  const symbols = elf.symbols.filter(
    (symbol) => symbol.section === section.index && symbol.type <= 1 && symbol.name !== "",
  );
  return symbols.map((symbol) => {
    const { data } = section;
    data.slice(symbol.value, legacyBytes);
    const word = (index: number): number => data.u32(symbol.value + index * 4);
    const shape = {
      name: symbol.name,
      type: mapType(elf, symbol.name, word(0)),
      keySize: word(1),
      valueSize: word(2),
      maxEntries: word(3),
      flags: word(4),
    };
    return { shape, section: section.index, offset: symbol.value, isData: false, slots: [] };
  });
}

function dataMap(section: Section): MapDefinition {
  const isReadOnly = section.name.startsWith(".rodata");
  const shape: MapShape = {
    name: section.name,
    type: MapType.array,
    keySize: 4,
    valueSize: section.size,
    maxEntries: 1,
    flags: isReadOnly ? MapFlag.rdonlyProg : 0,
  };
  const content = section.type === SectionType.nobits ? undefined : section.data.bytes;
  return {
    shape,
    section: section.index,
    offset: 0,
    isData: true,
    ...(content === undefined ? {} : { content }),
    slots: [],
  };
}

function btfMaps(elf: ElfFile, section: Section, btf: Btf | undefined): readonly MapDefinition[] {
  if (btf === undefined)
    throw section.data.fail(0, "maps in .maps need the section .BTF, which is not there");
  const variables = new Map([...btf.variables()].map((variable) => [variable.name, variable]));
  return symbolsIn(elf, section).map((symbol) => {
    const variable = variables.get(symbol.name);
    const type = variable === undefined ? undefined : btf.resolve(variable.sizeOrType);
    if (type?.kind !== BtfKind.struct) throw invalid(elf, symbol.name, "no BTF struct describes it");
    return {
      shape: shapeOf(elf, symbol.name, type, btf),
      section: section.index,
      offset: symbol.value,
      isData: false,
      slots: staticSlots(elf, section, symbol, type),
    };
  });
}

function shapeOf(elf: ElfFile, name: string, struct: BtfType, btf: Btf): MapShape {
  const number = (field: string): number | undefined => {
    const member = struct.members.find((one) => one.name === field);
    if (member === undefined) return undefined;
    const pointer = btf.resolve(member.type);
    const array = pointer?.kind === BtfKind.ptr ? btf.resolve(pointer.sizeOrType)?.array : undefined;
    if (array === undefined) throw invalid(elf, name, `field ${field} is not written as __uint writes it`);
    return array.count;
  };
  const size = (field: "key" | "value"): number => {
    const member = struct.members.find((one) => one.name === field);
    const pointer = member === undefined ? undefined : btf.resolve(member.type);
    if (pointer === undefined) return number(`${field}_size`) ?? 0;
    const bytes = btf.sizeOf(pointer.sizeOrType);
    if (bytes === undefined) throw invalid(elf, name, `the type of its ${field} has no size`);
    return bytes;
  };
  const type = mapType(elf, name, number("type") ?? 0);
  const inner = innerShape(elf, name, struct, btf);
  const isSlotted = inner !== undefined || type === MapType.progArray || type === MapType.perfEventArray;
  const flags = number("map_flags") ?? 0;
  return {
    name,
    type,
    keySize: size("key") || (isSlotted ? 4 : 0),
    valueSize: size("value") || (isSlotted ? 4 : 0),
    maxEntries: number("max_entries") ?? 0,
    flags,
    ...(inner === undefined ? {} : { inner }),
  };
}

/** `values` of a map of maps: an array of pointers to a struct like the map's own. */
function innerShape(elf: ElfFile, name: string, struct: BtfType, btf: Btf): MapShape | undefined {
  const values = struct.members.find((one) => one.name === "values");
  const array = values === undefined ? undefined : btf.resolve(values.type)?.array;
  const pointer = array === undefined ? undefined : btf.resolve(array.type);
  const inner = pointer?.kind === BtfKind.ptr ? btf.resolve(pointer.sizeOrType) : undefined;
  if (inner?.kind !== BtfKind.struct || inner === struct) return undefined;
  if (inner.members.some((one) => one.name === "values"))
    throw invalid(elf, name, "maps nest two deep at most");
  return shapeOf(elf, `${name}.inner`, inner, btf);
}

/** Relocations inside the variable's `values` array say what its slots hold. */
function staticSlots(
  elf: ElfFile,
  section: Section,
  symbol: ElfSymbol,
  struct: BtfType,
): MapDefinition["slots"] {
  const values = struct.members.find((one) => one.name === "values");
  if (values === undefined) return [];
  const start = symbol.value + values.offset / 8;
  return (elf.relocations.get(section.index) ?? [])
    .filter(({ offset }) => offset >= start && offset < symbol.value + symbol.size)
    .map(({ offset, symbol: held }) => ({ index: (offset - start) / 8, symbol: held }));
}

function mapType(elf: ElfFile, name: string, type: number): MapShape["type"] {
  const known = Object.values(MapType).find((one) => one === type);
  if (known === undefined) throw invalid(elf, name, `map type ${type} is not supported`);
  return known;
}

function invalid(elf: ElfFile, name: string, message: string): InputError {
  return new InputError([
    { code: "not-supported", path: "", message: `map ${name}: ${message}`, file: elf.file },
  ]);
}
