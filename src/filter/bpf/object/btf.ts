/**
 * BPF Type Format, as far as map definitions need it: types with their sizes, variables and sections. Governing source:
 * Documentation/bpf/btf.rst of the Linux kernel.
 */
import { ByteReader } from "./bytes.ts";

const magic = 0xeb9f;

export const BtfKind = {
  int: 1,
  ptr: 2,
  array: 3,
  struct: 4,
  union: 5,
  enum: 6,
  fwd: 7,
  typedef: 8,
  volatile: 9,
  const: 10,
  restrict: 11,
  func: 12,
  funcProto: 13,
  var: 14,
  datasec: 15,
  float: 16,
  declTag: 17,
  typeTag: 18,
  enum64: 19,
} as const;

export interface BtfMember {
  readonly name: string;
  readonly type: number;
  /** In bits. */
  readonly offset: number;
}

export interface BtfType {
  readonly kind: number;
  readonly name: string;
  /** Bytes, for kinds that have a size; else the number of the type referred to. */
  readonly sizeOrType: number;
  /** Of an array: elements and their type. */
  readonly array?: { readonly type: number; readonly count: number };
  readonly members: readonly BtfMember[];
}

/** Chains of modifiers and typedefs in a real file are short. */
const chainMax = 64;

export class Btf {
  readonly #types: readonly BtfType[];

  constructor(types: readonly BtfType[]) {
    this.#types = types;
  }

  /** Types are numbered from 1; 0 is void. */
  type(number: number): BtfType | undefined {
    return this.#types[number];
  }

  *variables(): Iterable<BtfType> {
    for (const type of this.#types) if (type.kind === BtfKind.var) yield type;
  }

  /** Through typedefs and qualifiers, to what the type is. */
  resolve(number: number): BtfType | undefined {
    let type = this.#types[number];
    for (let steps = 0; type !== undefined && steps < chainMax; steps++) {
      const { kind } = type;
      const isAlias =
        kind === BtfKind.typedef ||
        (kind >= BtfKind.volatile && kind <= BtfKind.restrict) ||
        kind === BtfKind.typeTag;
      if (!isAlias) return type;
      type = this.#types[type.sizeOrType];
    }
    return undefined;
  }

  /** Bytes of a value of the type; `undefined` for what has no size. */
  sizeOf(number: number): number | undefined {
    let count = 1;
    let current = number;
    for (let steps = 0; steps < chainMax; steps++) {
      const type = this.resolve(current);
      if (type === undefined) return undefined;
      if (type.kind === BtfKind.ptr) return count * 8;
      if (type.array === undefined) return hasSize(type.kind) ? count * type.sizeOrType : undefined;
      count *= type.array.count;
      current = type.array.type;
    }
    return undefined;
  }
}

function hasSize(kind: number): boolean {
  const sized: readonly number[] = [
    BtfKind.int,
    BtfKind.struct,
    BtfKind.union,
    BtfKind.enum,
    BtfKind.float,
    BtfKind.enum64,
  ];
  return sized.includes(kind);
}

/** @throws InputError with the offset of what is wrong. */
export function parseBtf(data: ByteReader): Btf {
  if (data.u16(0) !== magic) throw data.fail(0, "BTF does not begin with its magic number");
  const headerLength = data.u32(4);
  const part = (offsetAt: number, lengthAt: number): ByteReader => {
    const offset = headerLength + data.u32(offsetAt);
    return new ByteReader(data.slice(offset, data.u32(lengthAt)), data.file, data.base + offset);
  };
  const types = part(8, 12);
  const strings = part(16, 20);
  const list: BtfType[] = [{ kind: 0, name: "void", sizeOrType: 0, members: [] }];
  for (let at = 0; at < types.bytes.length; ) {
    const info = types.u32(at + 4);
    const kind = (info >>> 24) & 31;
    const length = info & 0xffff;
    const extra = extraBytes(kind, length);
    if (extra === undefined) throw types.fail(at + 4, `BTF type of unknown kind ${kind}`);
    types.slice(at, 12 + extra);
    list.push({
      kind,
      name: strings.text(types.u32(at)),
      sizeOrType: types.u32(at + 8),
      ...(kind === BtfKind.array ? { array: { type: types.u32(at + 12), count: types.u32(at + 20) } } : {}),
      members: readMembers(kind, length, types, at + 12, strings, info >>> 31 === 1),
    });
    at += 12 + extra;
  }
  return new Btf(list);
}

/** Bytes behind the three words that every type has. */
function extraBytes(kind: number, length: number): number | undefined {
  switch (kind) {
    case BtfKind.int:
    case BtfKind.var:
    case BtfKind.declTag:
      return 4;
    case BtfKind.array:
      return 12;
    case BtfKind.struct:
    case BtfKind.union:
    case BtfKind.datasec:
    case BtfKind.enum64:
      return length * 12;
    case BtfKind.enum:
    case BtfKind.funcProto:
      return length * 8;
    default:
      return kind >= BtfKind.ptr && kind <= BtfKind.typeTag ? 0 : undefined;
  }
}

function readMembers(
  kind: number,
  length: number,
  types: ByteReader,
  start: number,
  strings: ByteReader,
  hasBitfields: boolean,
): readonly BtfMember[] {
  if (kind !== BtfKind.struct && kind !== BtfKind.union) return [];
  return Array.from({ length }, (_, i) => {
    const at = start + i * 12;
    const offset = types.u32(at + 8);
    return {
      name: strings.text(types.u32(at)),
      type: types.u32(at + 4),
      offset: hasBitfields ? offset & 0xff_ffff : offset,
    };
  });
}
