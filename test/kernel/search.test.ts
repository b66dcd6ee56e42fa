/** The emulator against the kernel, rule set by rule set: random tables, sets and packet sequences of every kind. */
import { expect, it } from "vitest";
import { searchTables } from "../../src/harness/fuzz/tables.ts";
import { printPacket } from "../../src/wire/index.ts";
import { describeNeeding } from "../needs.ts";

const soakTimes = process.env["PODWIRE_SOAK"] === "1" ? 10 : 1;
const seed = Number(process.env["PODWIRE_SEED"] ?? 1);

describeNeeding("random tables", ["root", "tun", "iptables", "ipset", "conntrack", "ip"], () => {
  it.each([
    { backend: "legacy", runs: 1_000 },
    { backend: "nft", runs: 300 },
  ] as const)(
    "judge every packet as the kernel does on $backend",
    { timeout: 3_600_000 },
    async ({ backend, runs }) => {
      const result = await searchTables({ backend, runs: runs * soakTimes, packets: 300, seed });
      const { ruleSets, verdicts, fates, mismatch } = result;
      console.log(
        `${backend}: ${ruleSets} rule sets, ${verdicts} verdicts compared, of which ${JSON.stringify(fates)}`,
      );
      const small =
        mismatch === undefined
          ? ""
          : [
              `rule set ${mismatch.run} of seed ${seed}`,
              mismatch.tables.sets,
              mismatch.tables.v4,
              mismatch.tables.v6,
              ...mismatch.packets.map(({ from, bytes }) => `${from} ${printPacket(bytes)}`),
              mismatch.difference,
            ].join("\n");
      expect(small).toBe("");
      // a search whose packets all end alike would show nothing
      for (const verdict of ["forwarded", "delivered", "rejected", "dropped"])
        expect(fates[verdict] ?? 0).toBeGreaterThan(verdicts / 100);
    },
  );
});
