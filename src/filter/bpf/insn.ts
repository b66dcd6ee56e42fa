/**
 * BPF instructions: the 8-byte encoding, its constants, and instructions as data (the Repr). Governing sources:
 * RFC 9669 (sections 3 to 5) and include/uapi/linux/bpf.h. A 64-bit immediate load takes two slots; here as on the
 * wire the second is an instruction of its own with opcode 0, so that jump offsets count slots.
 */
import { assert } from "../../base/index.ts";

/** Low three bits of an opcode. */
export const InsnClass = { ld: 0, ldx: 1, st: 2, stx: 3, alu: 4, jmp: 5, jmp32: 6, alu64: 7 } as const;
export type InsnClass = (typeof InsnClass)[keyof typeof InsnClass];

/** Operand of ALU and jump instructions: the immediate, or the source register. */
export const SourceBit = { imm: 0x00, reg: 0x08 } as const;

/** High four bits of an ALU opcode. */
export const AluOp = {
  add: 0x00,
  sub: 0x10,
  mul: 0x20,
  div: 0x30,
  or: 0x40,
  and: 0x50,
  lsh: 0x60,
  rsh: 0x70,
  neg: 0x80,
  mod: 0x90,
  xor: 0xa0,
  mov: 0xb0,
  arsh: 0xc0,
  end: 0xd0,
} as const;
export type AluOp = (typeof AluOp)[keyof typeof AluOp];

/** High four bits of a jump opcode. */
export const JmpOp = {
  ja: 0x00,
  jeq: 0x10,
  jgt: 0x20,
  jge: 0x30,
  jset: 0x40,
  jne: 0x50,
  jsgt: 0x60,
  jsge: 0x70,
  call: 0x80,
  exit: 0x90,
  jlt: 0xa0,
  jle: 0xb0,
  jslt: 0xc0,
  jsle: 0xd0,
} as const;
export type JmpOp = (typeof JmpOp)[keyof typeof JmpOp];

/** Width of a memory access. */
export const MemSize = { w: 0x00, h: 0x08, b: 0x10, dw: 0x18 } as const;
export type MemSize = (typeof MemSize)[keyof typeof MemSize];

/** How an instruction of the load and store classes gets at memory. */
export const MemMode = { imm: 0x00, abs: 0x20, ind: 0x40, mem: 0x60, memsx: 0x80, atomic: 0xc0 } as const;
export type MemMode = (typeof MemMode)[keyof typeof MemMode];

/** Immediate of an atomic instruction; `fetch` may be added to the first four. */
export const AtomicOp = {
  add: 0x00,
  or: 0x40,
  and: 0x50,
  xor: 0xa0,
  fetch: 0x01,
  xchg: 0xe1,
  cmpxchg: 0xf1,
} as const;

/** Source field of a call. */
export const CallKind = { helper: 0, local: 1, kfunc: 2 } as const;

/** Source field of a 64-bit immediate load (RFC 9669, section 5.4). */
export const Imm64Kind = {
  value: 0,
  map: 1,
  mapValue: 2,
  variable: 3,
  code: 4,
  mapIndex: 5,
  mapIndexValue: 6,
} as const;

/** Whole opcodes of the instructions that are one of a kind. */
export const Opcode = {
  lddw: 0x18,
  exit: 0x95,
  call: 0x85,
  callRegister: 0x8d,
  ja: 0x05,
  ja32: 0x06,
} as const;

/** Registers by number: r0 result, r1..r5 arguments, r6..r9 kept over calls, r10 frame pointer (read only). */
export const framePointer = 10;
export const registerCount = 11;
export const insnBytes = 8;

export interface Instruction {
  /** 0..255 */
  readonly opcode: number;
  /** 0..15; only 0..10 are registers. */
  readonly dst: number;
  readonly src: number;
  /** Signed, 16 bits. */
  readonly offset: number;
  /** Signed, 32 bits. */
  readonly imm: number;
}

/** Bytes of an access of this size field. */
export function sizeBytes(opcode: number): 1 | 2 | 4 | 8 {
  switch (opcode & 0x18) {
    case MemSize.b:
      return 1;
    case MemSize.h:
      return 2;
    case MemSize.w:
      return 4;
    default:
      return 8;
  }
}

/** Little-endian instruction bytes to instructions. The length must be a multiple of 8. */
export function decodeInstructions(bytes: Uint8Array): readonly Instruction[] {
  assert(bytes.length % insnBytes === 0, `instruction bytes come in eights, not ${bytes.length}`);
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  return Array.from({ length: bytes.length / insnBytes }, (_, i) => {
    const at = i * insnBytes;
    const registers = view.getUint8(at + 1);
    return {
      opcode: view.getUint8(at),
      dst: registers & 15,
      src: registers >>> 4,
      offset: view.getInt16(at + 2, true),
      imm: view.getInt32(at + 4, true),
    };
  });
}

export function encodeInstructions(instructions: readonly Instruction[]): Uint8Array {
  const bytes = new Uint8Array(instructions.length * insnBytes);
  const view = new DataView(bytes.buffer);
  instructions.forEach(({ opcode, dst, src, offset, imm }, i) => {
    const at = i * insnBytes;
    view.setUint8(at, opcode);
    view.setUint8(at + 1, dst | (src << 4));
    view.setInt16(at + 2, offset, true);
    view.setInt32(at + 4, imm, true);
  });
  return bytes;
}

/** The slots of one `lddw`: `low` and `high` are the halves of the immediate, as signed or unsigned words. */
export function loadImm64(
  dst: number,
  low: number,
  high: number,
  kind = 0,
): readonly [Instruction, Instruction] {
  return [
    { opcode: Opcode.lddw, dst, src: kind, offset: 0, imm: low | 0 },
    { opcode: 0, dst: 0, src: 0, offset: 0, imm: high | 0 },
  ];
}
