/** Programs in the kernel's words are those that bpftool prints of the program loaded. */
import { execFileSync } from "node:child_process";
import { afterAll, beforeAll, expect, it } from "vitest";
import { assemble, kernelText, ProgramType } from "../../src/filter/bpf/index.ts";
import { type BpfJudge, startBpfJudge } from "../../src/harness/kernel/index.ts";
import { describeNeeding } from "../needs.ts";

/**
 * Nothing that the verifier rewrites: no field of the context, no division by a register, no branch that is never
 * taken. `%r7` is a number that it knows nothing of. What came with version 4 of the instruction set is left out: many a
 * bpftool does not know it.
 */
const source = `
mov %r6, %r1
call 7
mov %r7, %r0
stdw [%r10-8], -1
stw [%r10-12], 77
sth [%r10-14], -3
stb [%r10-15], 255
stxdw [%r10-24], %r7
stxw [%r10-28], %r7
stxh [%r10-30], %r7
stxb [%r10-31], %r7
ldxdw %r1, [%r10-8]
ldxw %r2, [%r10-12]
ldxh %r3, [%r10-14]
ldxb %r4, [%r10-15]
add %r1, %r2
sub %r1, 5
mul %r1, %r3
div %r1, 3
mod %r1, 9
or %r1, %r4
and %r1, -16
xor %r1, %r3
lsh %r1, 3
rsh %r1, 1
arsh %r1, 2
neg %r1
add32 %r2, -1
sub32 %r2, %r3
mul32 %r2, 7
div32 %r2, 5
mod32 %r2, 11
or32 %r2, 64
and32 %r2, %r4
xor32 %r2, -1
lsh32 %r2, 2
rsh32 %r2, 3
arsh32 %r2, 4
neg32 %r2
mov32 %r2, %r7
mov32 %r3, -9
be16 %r2
be32 %r2
be64 %r2
le16 %r2
lddw %r5, 0x8899aabbccddeeff
lock add [%r10-8], %r1
lock or32 [%r10-12], %r1
lock fetch and [%r10-8], %r1
lock fetch xor32 [%r10-12], %r2
lock xchg [%r10-8], %r1
lock cmpxchg32 [%r10-12], %r2
jeq %r7, 1, +1
jne %r7, 70000, +1
jgt %r7, 5, +1
mov %r1, 1
jge32 %r7, 6, +1
mov %r1, 2
jlt %r7, 90, +1
mov %r1, 3
jle32 %r7, 60, +1
mov %r1, 4
jsgt32 %r7, -5, +1
mov %r1, 5
jset %r7, 64, +1
mov %r1, 6
mov %r3, %r7
rsh %r3, 60
jsle %r3, %r7, +1
mov %r1, 7
jne32 %r3, %r7, +1
mov %r1, 8
mov %r0, 0
exit
`;

interface Listed {
  readonly id: number;
}

const loaded = (): readonly number[] =>
  (JSON.parse(execFileSync("bpftool", ["-j", "prog", "list"]).toString()) as readonly Listed[]).map(
    ({ id }) => id,
  );

describeNeeding("bpftool's text of a program", ["root", "cc", "bpftool"], () => {
  let judge: BpfJudge;
  beforeAll(() => {
    judge = startBpfJudge();
  });
  afterAll(() => judge.close());

  it("is ours, line by line, but for calls, which the kernel resolves", async () => {
    const instructions = assemble(source);
    const before = new Set(loaded());
    await judge.load(ProgramType.schedCls, instructions);
    const ids = loaded().filter((id) => !before.has(id));
    const dumps = ids.map((id) =>
      execFileSync("bpftool", ["prog", "dump", "xlated", "id", String(id)])
        .toString()
        .trimEnd()
        .split("\n"),
    );
    const [dump = []] = dumps.filter((lines) => lines.length === kernelText(instructions).length);
    const withoutCalls = (lines: readonly string[]): readonly string[] =>
      lines.map((line) => line.replace(/call .*/, "call"));
    expect(withoutCalls(dump)).toEqual(withoutCalls(kernelText(instructions)));
  });
});
