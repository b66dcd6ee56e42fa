/**
 * A program attached with tc to a device of a private namespace, in front of netfilter: what each return code does to the
 * packet, and that its mark reaches the rules. The device carries no link header, so that the program reads the packet
 * relative to its network header.
 */
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, it } from "vitest";
import { assemble, encodeInstructions, linkBpf, ProgramType } from "../../src/filter/bpf/index.ts";
import { CompositeDatapath, createHookResults, Hook, Verdict } from "../../src/filter/index.ts";
import { linkIptables, restoreRuleset } from "../../src/filter/iptables/index.ts";
import { startKernelJudge, twoDeviceNode } from "../../src/harness/kernel/index.ts";
import { append, createBatch, decodeRow, udp } from "../../src/packet/index.ts";
import { writeElf } from "../filter/bpf/elf-writer.ts";
import { emptyV6, ip, linkContext } from "../filter/node.ts";
import { describeNeeding } from "../needs.ts";

/** Returns the low four bits of the destination port, less one; the mark becomes the port. */
const program = assemble(`
  mov %r6, %r1
  mov %r2, 22
  mov %r3, %r10
  add %r3, -8
  mov %r4, 2
  mov %r5, 1
  call 68
  jne %r0, 0, out
  ldxh %r7, [%r10-8]
  be16 %r7
  stxw [%r6+8], %r7
  mov %r0, %r7
  and %r0, 15
  sub %r0, 1
  exit
  out:
  mov %r0, 0
  exit`);

const rules = "*filter\n:FORWARD ACCEPT [0:0]\n-A FORWARD -m mark --mark 0x20/0x20 -j DROP\nCOMMIT\n";

function objectBytes(): Uint8Array {
  const code = encodeInstructions(program);
  return writeElf({
    sections: [
      { name: "tc", flags: 6, data: code },
      { name: "license", flags: 3, data: new TextEncoder().encode("GPL\0") },
    ],
    symbols: [{ name: "by_port", type: 2, section: 0, value: 0, size: code.length }],
  });
}

/** Does a packet to this port get past tc and FORWARD, and with which mark? */
function ourFate(port: number): string {
  const context = linkContext();
  const interfaceName = context.facts.interfaces[2]?.name ?? "";
  const bpf = linkBpf(
    {
      maps: [],
      programs: [{ name: "by_port", type: ProgramType.schedCls, instructions: program }],
      attachments: [{ kind: "tc", direction: "ingress", interface: interfaceName, program: 0 }],
    },
    context,
  );
  const iptables = linkIptables(
    { v4: restoreRuleset(rules, "rules"), v6: emptyV6, sets: new Map() },
    context,
  );
  const node = new CompositeDatapath([
    { datapath: iptables, ops: [] },
    { datapath: bpf, ops: [] },
  ]);
  const batch = createBatch(1);
  append(batch, udp({ src: ip("10.0.0.1"), dst: ip("203.0.113.9"), sport: 999, dport: port }));
  decodeRow(batch, 0);
  batch.state.iif[0] = context.facts.interfaces[2]?.index ?? 0;
  const out = createHookResults(1);
  for (const hook of [Hook.tcIngress, Hook.prerouting, Hook.forward, Hook.postrouting]) {
    node.run(hook, batch, 0, 1, out);
    if (out.verdict[0] !== Verdict.accept) return "gone";
  }
  return `forwarded, mark ${batch.state.mark[0]}`;
}

describeNeeding("a program on tc", ["root", "tun", "cc", "iptables", "tc"], () => {
  it("does to packets and marks what it does in the kernel, for every return code", {
    timeout: 60_000,
  }, async () => {
    const folder = mkdtempSync(join(tmpdir(), "podwire-tc-"));
    const judge = await startKernelJudge({ backend: "nft", node: twoDeviceNode() });
    try {
      const object = join(folder, "by-port.o");
      writeFileSync(object, objectBytes());
      await judge.load({ v4: rules });
      for (const args of [
        ["qdisc", "add", "dev", "in0", "clsact"],
        ["filter", "add", "dev", "in0", "ingress", "bpf", "da", "obj", object, "sec", "tc"],
      ])
        expect((await judge.run("tc", args)).status).toBe(0);
      const ports = Array.from({ length: 64 }, (_, i) => 0x4000 + i);
      const fates = await judge.judge(
        ports.map((port) => ({
          from: "in0",
          bytes: udp({ src: ip("10.0.0.1"), dst: ip("203.0.113.9"), sport: 999, dport: port }),
        })),
      );
      const theirs = fates.map(({ verdict, output }) =>
        verdict === "forwarded" ? `forwarded, mark ${output?.mark}` : "gone",
      );
      expect(theirs).toEqual(ports.map(ourFate));
      expect(new Set(theirs.map((fate) => fate.split(",")[0]))).toEqual(new Set(["forwarded", "gone"]));
    } finally {
      await judge.close();
      rmSync(folder, { recursive: true });
    }
  });
});
