/**
 * What a rule costs that is tried and does not match: ours beside the kernel's, for the same rules in one run. Kernel: the
 * slope between few and many rules of its whole forwarding of a packet, in the judge's own loop. Ours: the same slope of
 * `Datapath.run` at FORWARD, JIT warm, trace off. Best of interleaved rounds on both sides.
 */
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { createHookResults, Hook, Verdict } from "../../src/filter/index.ts";
import { saveIpsets } from "../../src/filter/ipset/index.ts";
import { IptablesDatapath, saveRuleset } from "../../src/filter/iptables/index.ts";
import { parseSelection, prepareBench } from "../../src/harness/index.ts";
import {
  EmulatedNode,
  type KernelJudge,
  startKernelJudge,
  twoDeviceNode,
} from "../../src/harness/kernel/index.ts";
import { append, createBatch, decodeRow, rowBytes, tcp } from "../../src/packet/index.ts";
import { describeNeeding } from "../needs.ts";

const needs = ["root", "tun", "iptables", "ipset", "conntrack", "ip"] as const;
const rounds = 7;
const few = 100;
const many = 1000;

const address = (i: number): string => `10.${100 + (i >> 16)}.${(i >> 8) & 255}.${i & 255}`;

/** `count` rules of which none fits 10.0.0.1:1000 > 203.0.113.5:80/tcp, and the sets that they name. */
const shapes: Readonly<
  Record<string, (count: number) => { readonly rules: string[]; readonly sets: string }>
> = {
  "-s A -d B": (count) => ({
    rules: Array.from({ length: count }, (_, i) => `-s ${address(i)} -d ${address(i + 1)} -j ACCEPT`),
    sets: "",
  }),
  "-p tcp --dport P": (count) => ({
    rules: Array.from({ length: count }, (_, i) => `-p tcp -m tcp --dport ${2000 + i} -j ACCEPT`),
    sets: "",
  }),
  "one set": (count) => ({
    rules: Array.from({ length: count }, (_, i) => `-m set --match-set s${i % 50} dst -j ACCEPT`),
    sets: manySets(),
  }),
  "two sets, comment, jump": (count) => ({
    rules: Array.from(
      { length: count },
      (_, i) =>
        `-m set --match-set s${i % 50} dst -m set --match-set s${(i + 1) % 50} dst -m comment --comment c${i} -j U`,
    ),
    sets: manySets(),
  }),
};

function manySets(): string {
  const lines: string[] = [];
  for (let s = 0; s < 50; s++) {
    lines.push(`create s${s} hash:net`);
    for (let i = 0; i < 200; i++) lines.push(`add s${s} ${address(s * 200 + i)}`);
  }
  return `${lines.join("\n")}\n`;
}

const packetBytes = tcp({ src: "10.0.0.1", dst: "203.0.113.5", sport: 1000, dport: 80, flags: 2 });

describeNeeding("what a rule costs, beside the kernel", needs, () => {
  describe.each(["legacy"] as const)("iptables-%s", (backend) => {
    let judge: KernelJudge;
    beforeAll(async () => {
      judge = await startKernelJudge({ backend, node: twoDeviceNode(), conntrack: "by-rules" });
    });
    afterAll(async () => {
      await judge.close();
    });

    it.each(Object.keys(shapes))("%s", async (name) => {
      const tables = (count: number) => {
        const { rules, sets } = shapes[name]?.(count) ?? { rules: [], sets: "" };
        const lines = rules.map((rule) => `-A FORWARD ${rule}`).join("\n");
        return { v4: `*filter\n:FORWARD DROP [0:0]\n:U - [0:0]\n${lines}\nCOMMIT\n`, sets };
      };
      const kernel = { few: Number.POSITIVE_INFINITY, many: Number.POSITIVE_INFINITY };
      const ours = { few: Number.POSITIVE_INFINITY, many: Number.POSITIVE_INFINITY };
      const walks = { few: walker(tables(few)), many: walker(tables(many)) };
      for (let round = 0; round < rounds; round++)
        for (const size of ["few", "many"] as const) {
          await judge.load(tables(size === "few" ? few : many));
          const packet = { from: "in0", bytes: packetBytes };
          kernel[size] = Math.min(kernel[size], await judge.measure(packet, 2000));
          ours[size] = Math.min(ours[size], walks[size]());
        }
      const slope = (side: typeof kernel): number => (side.many - side.few) / (many - few);
      const [theirs, own] = [slope(kernel), slope(ours)];
      process.stdout.write(
        `  ${name}: kernel ${theirs.toFixed(1)} ns a rule (${kernel.many.toFixed(0)} ns a packet at ${many}), ours ${own.toFixed(2)} ns a rule (${ours.many.toFixed(0)} ns a packet)\n`,
      );
      if (name.includes("set")) expect(own).toBeLessThan(theirs / 20);
      else expect(own).toBeLessThan(theirs);
    });

    it("Azure NPM at its documented limit, new connections that it denies", {
      timeout: 120_000,
    }, async () => {
      const selection = parseSelection("azure-npm");
      if (selection.kind !== "product") throw new RangeError("azure-npm is a product");
      const nowMs = (): number => performance.now();
      const { datapath, batch } = prepareBench(selection, {
        profile: "aks-npm-limit",
        seed: 1,
        packets: 512,
        nowMs,
      });
      if (!(datapath instanceof IptablesDatapath)) throw new RangeError("NPM's tables are of iptables");
      const out = createHookResults(batch.capacity);
      const pass = (first: number, last: number): void => {
        batch.state.mark.fill(0, first, last);
        batch.state.ctState.fill(1, first, last);
        datapath.run(Hook.forward, batch, first, last, out);
      };
      for (let i = 0; i < 20; i++) pass(0, batch.length);
      // A packet that is let through would be ESTABLISHED when the judge sends it again.
      const denied = [...out.verdict.keys()].filter(
        (row) => row < batch.length && out.verdict[row] === Verdict.drop,
      );
      const { v4, sets } = datapath.tables();
      await judge.load({ v4: saveRuleset(v4), sets: saveIpsets(sets.values()) });
      const best = { kernel: 0, ours: 0 };
      const rows = denied.slice(0, 8);
      for (const row of rows) {
        const bytes = rowBytes(batch, row).slice();
        let [kernel, ours] = [Number.POSITIVE_INFINITY, Number.POSITIVE_INFINITY];
        for (let round = 0; round < rounds; round++) {
          kernel = Math.min(kernel, await judge.measure({ from: "in0", bytes }, 100));
          const started = performance.now();
          for (let i = 0; i < 200; i++) pass(row, row + 1);
          ours = Math.min(ours, ((performance.now() - started) * 1e6) / 200);
        }
        best.kernel += kernel / rows.length;
        best.ours += ours / rows.length;
      }
      process.stdout.write(
        `  Azure NPM at its limit: kernel ${best.kernel.toFixed(0)} ns a denied packet (whole way), ours ${best.ours.toFixed(0)} ns (FORWARD)\n`,
      );
      expect(best.ours).toBeLessThan(best.kernel / 10); // measured: 19 to 29 times less
    });
  });
});

/** Judges 1,000 copies of the packet; nanoseconds a packet. */
function walker(tables: { readonly v4: string; readonly sets: string }): () => number {
  const { datapath } = new EmulatedNode(tables, "legacy");
  const batch = createBatch(1000, 64);
  while (append(batch, packetBytes) >= 0) decodeRow(batch, batch.length - 1);
  const out = createHookResults(batch.capacity);
  const pass = (): void => datapath.run(Hook.forward, batch, 0, batch.length, out);
  for (let i = 0; i < 20; i++) pass();
  return () => {
    const started = performance.now();
    pass();
    return ((performance.now() - started) * 1e6) / batch.length;
  };
}
