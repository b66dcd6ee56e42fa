/**
 * WebAssembly's binary format, as far as compiled programs need it: the opcodes, and modules of functions over one imported
 * memory. Governing source: WebAssembly Core Specification 2.0, chapter 5.
 */

export const Wasm = {
  unreachable: 0x00,
  block: 0x02,
  loop: 0x03,
  if: 0x04,
  else: 0x05,
  end: 0x0b,
  br: 0x0c,
  brIf: 0x0d,
  brTable: 0x0e,
  return: 0x0f,
  call: 0x10,
  select: 0x1b,
  localGet: 0x20,
  localSet: 0x21,
  localTee: 0x22,
  i32Load: 0x28,
  i64Load: 0x29,
  i64Load8S: 0x30,
  i64Load8U: 0x31,
  i64Load16S: 0x32,
  i64Load16U: 0x33,
  i64Load32S: 0x34,
  i64Load32U: 0x35,
  i64Store: 0x37,
  i64Store8: 0x3c,
  i64Store16: 0x3d,
  i64Store32: 0x3e,
  i32Const: 0x41,
  i64Const: 0x42,
  i32Eqz: 0x45,
  /** The comparisons of i32 and i64 stand in the order eq ne lt_s lt_u gt_s gt_u le_s le_u ge_s ge_u. */
  i32Eq: 0x46,
  i64Eqz: 0x50,
  i64Eq: 0x51,
  /** Arithmetic, in the order add sub mul div_s div_u rem_s rem_u and or xor shl shr_s shr_u rotl. */
  i32Add: 0x6a,
  i64Add: 0x7c,
  i32WrapI64: 0xa7,
  i64ExtendI32S: 0xac,
  i64ExtendI32U: 0xad,
  i32Extend8S: 0xc0,
  i32Extend16S: 0xc1,
  i64Extend8S: 0xc2,
  i64Extend16S: 0xc3,
  i64Extend32S: 0xc4,
} as const;

export const WasmType = { i32: 0x7f, i64: 0x7e, nothing: 0x40 } as const;

/** Places in the lists of comparisons and of arithmetic. */
export const Compare = {
  eq: 0,
  ne: 1,
  ltS: 2,
  ltU: 3,
  gtS: 4,
  gtU: 5,
  leS: 6,
  leU: 7,
  geS: 8,
  geU: 9,
} as const;
export const Arith = {
  add: 0,
  sub: 1,
  mul: 2,
  divS: 3,
  divU: 4,
  remS: 5,
  remU: 6,
  and: 7,
  or: 8,
  xor: 9,
  shl: 10,
  shrS: 11,
  shrU: 12,
  rotl: 13,
} as const;

export interface FunctionType {
  readonly parameters: readonly number[];
  readonly results: readonly number[];
}

export interface WasmFunction extends FunctionType {
  /** Of the locals behind the parameters. */
  readonly locals: readonly number[];
  /** Without its last `end`. */
  readonly code: readonly number[];
}

/** Appends LEB128 of an unsigned number of 32 bits. */
export function putUnsigned(bytes: number[], value: number): void {
  let rest = value >>> 0;
  for (; rest > 0x7f; rest >>>= 7) bytes.push((rest & 0x7f) | 0x80);
  bytes.push(rest);
}

/** Appends LEB128 of a signed number of 32 bits: for i32.const, and i64.const of what fits. */
export function putSigned(bytes: number[], value: number): void {
  let rest = value | 0;
  for (; rest < -0x40 || rest > 0x3f; rest >>= 7) bytes.push((rest & 0x7f) | 0x80);
  bytes.push(rest & 0x7f);
}

/** Appends LEB128 of a signed number of 64 bits. */
export function putSigned64(bytes: number[], value: bigint): void {
  let rest = BigInt.asIntN(64, value);
  for (; rest < -0x40n || rest > 0x3fn; rest >>= 7n) bytes.push(Number(rest & 0x7fn) | 0x80);
  bytes.push(Number(rest & 0x7fn));
}

function unsigned(value: number): readonly number[] {
  const bytes: number[] = [];
  putUnsigned(bytes, value);
  return bytes;
}

const importKind = { function: 0, memory: 2 } as const;

/** A module that imports the memory `m.memory` and functions `m.NAME`, and exports its first function as `run`. */
export function encodeModule(
  imports: readonly (FunctionType & { readonly name: string })[],
  functions: readonly WasmFunction[],
): Uint8Array {
  const types = [...imports, ...functions].map(({ parameters, results }) =>
    joined([[0x60], unsigned(parameters.length), parameters, unsigned(results.length), results]),
  );
  const importList = [
    joined([name("m"), name("memory"), [importKind.memory, 0, 0]]),
    ...imports.map((one, i) => joined([name("m"), name(one.name), [importKind.function], unsigned(i)])),
  ];
  const codes = functions.map(({ locals, code }) => {
    const declared = vector(locals.map((type) => [1, type]));
    return joined([unsigned(declared.length + code.length + 1), declared, code, [Wasm.end]]);
  });
  return joined([
    [0x00, 0x61, 0x73, 0x6d, 1, 0, 0, 0],
    section(1, vector(types)),
    section(2, vector(importList)),
    section(3, vector(functions.map((_, i) => unsigned(imports.length + i)))),
    section(7, vector([joined([name("run"), [0], unsigned(imports.length)])])),
    section(10, vector(codes)),
  ]);
}

type Bytes = Uint8Array | readonly number[];

function section(id: number, content: Bytes): Bytes {
  return joined([[id], unsigned(content.length), content]);
}

function vector(items: readonly Bytes[]): Bytes {
  return joined([unsigned(items.length), ...items]);
}

function name(text: string): Bytes {
  const bytes = new TextEncoder().encode(text);
  return joined([unsigned(bytes.length), bytes]);
}

function joined(parts: readonly Bytes[]): Uint8Array {
  const bytes = new Uint8Array(parts.reduce((sum, { length }) => sum + length, 0));
  let at = 0;
  for (const part of parts) {
    bytes.set(part, at);
    at += part.length;
  }
  return bytes;
}
