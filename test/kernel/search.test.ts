/**
 * The emulator against the kernel, rule set by rule set: random tables, sets and packet sequences of every kind. One long
 * search is the same every time; a short one beside it has a seed of its own, so that each run sees something new.
 */
import { expect, it } from "vitest";
import { searchTables, type TableMismatch } from "../../src/harness/fuzz/index.ts";
import { printPacket } from "../../src/wire/index.ts";
import { describeNeeding } from "../needs.ts";

const soakTimes = process.env["PODWIRE_SOAK"] === "1" ? 10 : 1;
const fixedSeed = Number(process.env["PODWIRE_SEED"] ?? 1);
const freshSeed = Math.floor(Date.now() / 1000);

function mismatchText({ seed, run, tables, packets, difference, trace }: TableMismatch): string {
  return [
    `rule set ${run} of seed ${seed}`,
    tables.sets,
    tables.v4,
    tables.v6,
    ...packets.map(
      ({ from, bytes }) => `${from} ${printPacket(bytes)} ${Buffer.from(bytes).toString("hex")}`,
    ),
    difference,
    ...(trace?.lines ?? []),
  ].join("\n");
}

describeNeeding("random tables", ["root", "tun", "iptables", "ipset", "conntrack", "ip"], () => {
  it.each([
    { backend: "legacy", runs: 1_000 * soakTimes, seed: fixedSeed },
    { backend: "nft", runs: 300 * soakTimes, seed: fixedSeed },
    { backend: "legacy", runs: 60 * soakTimes, seed: freshSeed },
    { backend: "nft", runs: 60 * soakTimes, seed: freshSeed },
  ] as const)(
    "judge every packet as the kernel does on $backend, $runs rule sets of seed $seed",
    { timeout: 7_200_000 },
    async ({ backend, runs, seed }) => {
      const result = await searchTables({ backend, runs, packets: 300, seed });
      const { ruleSets, verdicts, fates, mismatch } = result;
      console.log(
        `${backend}, seed ${seed}: ${ruleSets} rule sets, ${verdicts} verdicts compared, of which ${JSON.stringify(fates)}`,
      );
      expect(mismatch === undefined ? "" : mismatchText(mismatch)).toBe("");
      // a search whose packets all end alike would show nothing
      for (const verdict of ["forwarded", "delivered", "rejected", "dropped"])
        expect(fates[verdict] ?? 0).toBeGreaterThan(verdicts / 100);
    },
  );
});
