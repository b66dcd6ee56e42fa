/**
 * ELF64 relocatable files for BPF, as clang writes them: sections, symbols, relocations. Governing sources: the System
 * V ABI (ELF-64 object file format), RFC 9669 for the machine number, LLVM's ELFRelocs/BPF.def for relocation types.
 */
import { ByteReader } from "./bytes.ts";

/** EM_BPF. */
const machineBpf = 247;
const headerBytes = 64;
const sectionHeaderBytes = 64;
const symbolBytes = 24;
const relocationBytes = 16;

export const SectionType = { progbits: 1, symtab: 2, strtab: 3, rela: 4, nobits: 8, rel: 9 } as const;
export const SectionFlag = { write: 1, alloc: 2, execute: 4 } as const;
export const SymbolType = { notype: 0, object: 1, func: 2, section: 3 } as const;
export const RelocationType = { b64_64: 1, abs64: 2, abs32: 3, nodyld32: 4, b64_32: 10 } as const;

export interface Section {
  readonly index: number;
  readonly name: string;
  readonly type: number;
  readonly flags: number;
  readonly link: number;
  readonly info: number;
  /** Offset in the file. */
  readonly offset: number;
  readonly size: number;
  /** Empty for sections without content in the file. */
  readonly data: ByteReader;
}

export interface ElfSymbol {
  readonly name: string;
  readonly type: number;
  /** Section that it is in; 0 = undefined. */
  readonly section: number;
  readonly value: number;
  readonly size: number;
  readonly isGlobal: boolean;
}

export interface Relocation {
  /** In the section that it applies to. */
  readonly offset: number;
  readonly type: number;
  readonly symbol: ElfSymbol;
}

export interface ElfFile {
  readonly file: string;
  readonly sections: readonly Section[];
  readonly symbols: readonly ElfSymbol[];
  /** By number of the section that they apply to. */
  readonly relocations: ReadonlyMap<number, readonly Relocation[]>;
}

/** @throws InputError with the offset of what is wrong. */
export function parseElf(bytes: Uint8Array, file: string): ElfFile {
  const reader = new ByteReader(bytes, file);
  if (bytes.length < 4 || reader.u32(0) !== 0x464c_457f) throw reader.fail(0, "not an ELF file");
  if (reader.u8(4) !== 2 || reader.u8(5) !== 1) throw reader.fail(4, "not a 64-bit little-endian ELF file");
  if (reader.u16(16) !== 1) throw reader.fail(16, "not a relocatable object (type ET_REL)");
  if (reader.u16(18) !== machineBpf)
    throw reader.fail(18, `made for machine ${reader.u16(18)}, not for BPF (247)`);
  reader.slice(0, headerBytes);
  const sections = readSections(reader);
  const table = sections.find(({ type }) => type === SectionType.symtab);
  const symbols = table === undefined ? [] : readSymbols(table, sections);
  return { file, sections, symbols, relocations: readRelocations(sections, symbols) };
}

function readSections(reader: ByteReader): readonly Section[] {
  const start = reader.u64(40);
  if (reader.u16(58) !== sectionHeaderBytes) throw reader.fail(58, "section headers do not have 64 bytes");
  const count = reader.u16(60);
  const names = reader.u16(62);
  const headers = Array.from({ length: count }, (_, index) => {
    const at = start + index * sectionHeaderBytes;
    reader.slice(at, sectionHeaderBytes);
    return {
      index,
      at,
      nameAt: reader.u32(at),
      type: reader.u32(at + 4),
      flags: reader.u64(at + 8),
      offset: reader.u64(at + 24),
      size: reader.u64(at + 32),
      link: reader.u32(at + 40),
      info: reader.u32(at + 44),
    };
  });
  const dataOf = ({ type, offset, size }: (typeof headers)[number]): ByteReader => {
    const isEmpty = type === SectionType.nobits || type === 0;
    return new ByteReader(isEmpty ? new Uint8Array() : reader.slice(offset, size), reader.file, offset);
  };
  const nameHeader = headers[names];
  if (nameHeader === undefined) throw reader.fail(62, `no section ${names} for section names`);
  const nameTable = dataOf(nameHeader);
  return headers.map((header) => {
    const { at, nameAt, ...fields } = header;
    return { ...fields, name: nameTable.text(nameAt), data: dataOf(header) };
  });
}

function readSymbols(table: Section, sections: readonly Section[]): readonly ElfSymbol[] {
  const strings = sections[table.link];
  const { data } = table;
  if (strings === undefined) throw data.fail(0, `no section ${table.link} for symbol names`);
  const count = Math.floor(data.bytes.length / symbolBytes);
  return Array.from({ length: count }, (_, i) => {
    const at = i * symbolBytes;
    const info = data.u8(at + 4);
    const type = info & 15;
    const section = data.u16(at + 6);
    const name =
      type === SymbolType.section ? (sections[section]?.name ?? "") : strings.data.text(data.u32(at));
    return {
      name,
      type,
      section,
      value: data.u64(at + 8),
      size: data.u64(at + 16),
      isGlobal: info >>> 4 === 1,
    };
  });
}

function readRelocations(
  sections: readonly Section[],
  symbols: readonly ElfSymbol[],
): ReadonlyMap<number, readonly Relocation[]> {
  const all = new Map<number, Relocation[]>();
  for (const { type, info, name, data } of sections) {
    if (type === SectionType.rela)
      throw data.fail(0, `section ${name}: relocations with addends are not BPF's`);
    if (type !== SectionType.rel) continue;
    const list = all.get(info) ?? [];
    all.set(info, list);
    for (let at = 0; at + relocationBytes <= data.bytes.length; at += relocationBytes) {
      const symbol = symbols[data.u32(at + 12)];
      if (symbol === undefined) throw data.fail(at + 12, `no symbol ${data.u32(at + 12)}`);
      list.push({ offset: data.u64(at), type: data.u32(at + 8), symbol });
    }
  }
  return all;
}
