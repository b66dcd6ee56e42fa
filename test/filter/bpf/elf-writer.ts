/** Writes small ELF64 objects for BPF: what clang would write, or what it never would. */

export interface WrittenSection {
  readonly name: string;
  readonly type?: number;
  readonly flags?: number;
  readonly data: Uint8Array;
  readonly link?: number;
  readonly info?: number;
}

export interface WrittenSymbol {
  readonly name: string;
  /** 0 none, 1 object, 2 function, 3 section. */
  readonly type: number;
  /** Place in `sections`, from 0; -1 = undefined. */
  readonly section: number;
  readonly value: number;
  readonly size: number;
}

export interface WrittenRelocation {
  /** Place in `sections` of the section that it changes. */
  readonly section: number;
  readonly offset: number;
  readonly type: number;
  /** Place in `symbols`. */
  readonly symbol: number;
}

export interface WrittenObject {
  readonly sections: readonly WrittenSection[];
  readonly symbols?: readonly WrittenSymbol[];
  readonly relocations?: readonly WrittenRelocation[];
  readonly machine?: number;
}

class Strings {
  #bytes: number[] = [0];
  at(text: string): number {
    const place = this.#bytes.length;
    this.#bytes.push(...new TextEncoder().encode(text), 0);
    return place;
  }
  get bytes(): Uint8Array {
    return Uint8Array.from(this.#bytes);
  }
}

/** Of symbol and relocation tables. */
const entrySizes: ReadonlyMap<number, bigint> = new Map([
  [2, 24n],
  [9, 16n],
]);

/** Sections get numbers from 1 in their order; symbols from 1 in theirs. */
export function writeElf({
  sections,
  symbols = [],
  relocations = [],
  machine = 247,
}: WrittenObject): Uint8Array {
  const names = new Strings();
  const symbolNames = new Strings();
  const symbolTable = new DataView(new ArrayBuffer((symbols.length + 1) * 24));
  symbols.forEach(({ name, type, section, value, size }, i) => {
    const at = (i + 1) * 24;
    symbolTable.setUint32(at, symbolNames.at(name), true);
    symbolTable.setUint8(at + 4, 0x10 | type);
    symbolTable.setUint16(at + 6, section + 1, true);
    symbolTable.setBigUint64(at + 8, BigInt(value), true);
    symbolTable.setBigUint64(at + 16, BigInt(size), true);
  });
  const symtabIndex = sections.length + 1;
  const changed = [...new Set(relocations.map(({ section }) => section))];
  const tables = changed.map((section): WrittenSection => {
    const own = relocations.filter((one) => one.section === section);
    const view = new DataView(new ArrayBuffer(own.length * 16));
    own.forEach(({ offset, type, symbol }, i) => {
      view.setBigUint64(i * 16, BigInt(offset), true);
      view.setUint32(i * 16 + 8, type, true);
      view.setUint32(i * 16 + 12, symbol + 1, true);
    });
    return {
      name: `.rel${sections[section]?.name}`,
      type: 9,
      data: new Uint8Array(view.buffer),
      link: symtabIndex,
      info: section + 1,
    };
  });
  const all: readonly WrittenSection[] = [
    ...sections,
    { name: ".symtab", type: 2, data: new Uint8Array(symbolTable.buffer), link: symtabIndex + 1, info: 1 },
    { name: ".strtab", type: 3, data: symbolNames.bytes },
    ...tables,
  ];
  const headers = [...all, { name: ".shstrtab", type: 3, data: new Uint8Array() }].map((section) => ({
    ...section,
    nameAt: names.at(section.name),
  }));
  const bodies = headers.map((header) => (header.name === ".shstrtab" ? names.bytes : header.data));
  const start = 64 + bodies.reduce((sum, body) => sum + ((body.length + 7) & ~7), 0);
  const bytes = new Uint8Array(start + (headers.length + 1) * 64);
  const view = new DataView(bytes.buffer);
  bytes.set([0x7f, 0x45, 0x4c, 0x46, 2, 1, 1]);
  view.setUint16(16, 1, true);
  view.setUint16(18, machine, true);
  view.setUint32(20, 1, true);
  view.setBigUint64(40, BigInt(start), true);
  view.setUint16(52, 64, true);
  view.setUint16(58, 64, true);
  view.setUint16(60, headers.length + 1, true);
  view.setUint16(62, headers.length, true);
  let offset = 64;
  headers.forEach(({ nameAt, type = 1, flags = 0, link = 0, info = 0 }, i) => {
    const body = bodies[i] as Uint8Array;
    bytes.set(body, offset);
    const at = start + (i + 1) * 64;
    view.setUint32(at, nameAt, true);
    view.setUint32(at + 4, type, true);
    view.setBigUint64(at + 8, BigInt(flags), true);
    view.setBigUint64(at + 24, BigInt(offset), true);
    view.setBigUint64(at + 32, BigInt(body.length), true);
    view.setUint32(at + 40, link, true);
    view.setUint32(at + 44, info, true);
    view.setBigUint64(at + 48, 8n, true);
    view.setBigUint64(at + 56, entrySizes.get(type) ?? 0n, true);
    offset += (body.length + 7) & ~7;
  });
  return bytes;
}
