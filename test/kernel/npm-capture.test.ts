/** The real node's dump of the Azure NPM capture: the real tools take what we save of it, and verdicts are the same. */
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { saveIpsets } from "../../src/filter/ipset/index.ts";
import { restoreRuleset, saveRuleset } from "../../src/filter/iptables/index.ts";
import {
  type JudgedTables,
  type KernelJudge,
  startKernelJudge,
  twoDeviceNode,
} from "../../src/harness/kernel/index.ts";
import { tcp, udp } from "../../src/packet/index.ts";
import { TcpFlag } from "../../src/wire/index.ts";
import {
  type Cache,
  isHere,
  probes,
  publishedCells,
  readCaptured,
  setOf,
} from "../conformance/npm-capture.ts";
import { describeNeeding } from "../needs.ts";
import { duel } from "./duel.ts";

const needs = ["root", "tun", "iptables", "ipset", "conntrack", "ip"] as const;

describe.skipIf(!isHere).each(["legacy", "nft"] as const)("on %s", (backend) => {
  describeNeeding("the dump of a real node under Azure NPM", needs, () => {
    let judge: KernelJudge;
    let tables: JudgedTables;
    let cache: Cache;
    beforeAll(async () => {
      judge = await startKernelJudge({ backend, node: twoDeviceNode() });
      cache = JSON.parse(readCaptured("npmcachev2.json")) as Cache;
      const sets = Object.entries(cache.SetMap).map(([name, title]) => setOf(name, title, cache));
      const v4 = restoreRuleset(readCaptured("iptablesave-v2"), "iptablesave-v2");
      tables = { v4: saveRuleset(v4), sets: saveIpsets(sets) };
    });
    afterAll(async () => {
      await judge.close();
    });

    it("is loaded and listed as it was", async () => {
      await judge.load(tables);
      const rules = (text: string): readonly string[] =>
        text
          .split("\n")
          .flatMap((line) => /-A .*/.exec(line)?.[0] ?? [])
          .sort();
      expect(rules(await judge.save(4))).toEqual(rules(tables.v4 ?? ""));
    });

    it("lets and drops the same packets", async () => {
      const packets = publishedCells(readCaptured("netpol.yaml")).map(({ from, to, probe }, i) => {
        const { protocol, port } = probes[probe] ?? probes[0];
        const [src, dst] = [cache.PodMap[from]?.PodIP ?? "", cache.PodMap[to]?.PodIP ?? ""];
        const ends = { src, dst, sport: 20_000 + i, dport: port };
        return {
          from: "in0",
          bytes: protocol === 6 ? tcp({ ...ends, flags: TcpFlag.syn }) : udp(ends),
        };
      });
      // The node owns none of these addresses, and routes all of them back to in0.
      expect((await duel(judge, tables, packets, [])).slice(0, 4)).toEqual([]);
    });
  });
});
