/** Instructions in the words of the kernel and of bpftool; the real ones are asked in test/kernel. */
import { describe, expect, it } from "vitest";
import { assemble, kernelText } from "../../../src/filter/bpf/index.ts";

/** Assembler line, and the kernel's line without its number. */
const pairs: readonly (readonly [string, string])[] = [
  ["mov %r1, -5", "(b7) r1 = -5"],
  ["mov32 %r1, %r2", "(bc) w1 = w2"],
  ["movsx864 %r1, %r2", "(bf) r1 = (s8)r2"],
  ["arsh %r3, 7", "(c7) r3 s>>= 7"],
  ["sdiv32 %r3, %r4", "(3c) w3 s/= w4"],
  ["neg %r5", "(87) r5 = -r5"],
  ["neg32 %r5", "(84) w5 = -w5"],
  ["be16 %r2", "(dc) r2 = be16 r2"],
  ["swap64 %r2", "(d7) r2 = bswap64 r2"],
  ["ldxw %r1, [%r2+4]", "(61) r1 = *(u32 *)(r2 +4)"],
  ["ldxsh %r1, [%r2]", "(89) r1 = *(s16 *)(r2 +0)"],
  ["stb [%r10-8], 255", "(72) *(u8 *)(r10 -8) = 255"],
  ["stxdw [%r10-16], %r3", "(7b) *(u64 *)(r10 -16) = r3"],
  ["lock add [%r10-8], %r1", "(db) lock *(u64 *)(r10 -8) += r1"],
  ["lock fetch or32 [%r10-8], %r1", "(c3) r1 = atomic_fetch_or((u32 *)(r10 -8), r1)"],
  ["lock xchg [%r10-8], %r1", "(db) r1 = atomic64_xchg((u64 *)(r10 -8), r1)"],
  ["lock cmpxchg32 [%r10-8], %r1", "(c3) r0 = atomic_cmpxchg((u32 *)(r10 -8), r0, r1)"],
  ["ja +0", "(05) goto pc+0"],
  ["ja32 +0", "(06) gotol pc+0"],
  ["jsgt32 %r1, -1, +0", "(66) if w1 s> 0xffffffff goto pc+0"],
  ["jset %r1, %r2, +0", "(4d) if r1 & r2 goto pc+0"],
  ["call 1", "(85) call bpf_map_lookup_elem#1"],
  ["call 7777", "(85) call unknown#7777"],
  ["call local +1", "(85) call pc+1"],
  ["lddw %r1, 0x1122334455667788", "(18) r1 = 0x1122334455667788"],
  ["lddw %r1, map 3 0", "(18) r1 = map[id:3]"],
  ["lddw %r1, mapvalue 3 8", "(18) r1 = map[id:3][0]+8"],
  ["ldabsh 12", "(28) r0 = *(u16 *)skb[12]"],
  ["ldindb %r3, 4", "(50) r0 = *(u8 *)skb[r3 + 4]"],
  ["exit", "(95) exit"],
];

describe("a program in the kernel's words", () => {
  it.each(pairs)("%s", (line, expected) => {
    expect(kernelText(assemble(line))).toEqual([`   0: ${expected}`]);
  });

  it("counts slots, of which a 64-bit load has two", () => {
    expect(kernelText(assemble("lddw %r1, 1\nlddw %r2, 2\nexit"))).toEqual([
      "   0: (18) r1 = 0x1",
      "   2: (18) r2 = 0x2",
      "   4: (95) exit",
    ]);
  });
});
