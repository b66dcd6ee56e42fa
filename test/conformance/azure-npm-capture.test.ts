/**
 * A capture of a real AKS cluster running Azure NPM: its iptables dump, NPM's own cache of pods, namespaces and set
 * names, and the published table of which of nine pods may reach which (four protocol-port pairs a cell).
 */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { Verdict } from "../../src/filter/index.ts";
import { restoreRuleset, saveRuleset } from "../../src/filter/iptables/index.ts";
import { tcp, udp } from "../../src/packet/index.ts";
import { IpProtocol, TcpFlag } from "../../src/wire/index.ts";
import { TestNode } from "../filter/node.ts";
import { type Cache, type Cell, folder, isHere, probes, publishedCells, setOf } from "./npm-capture.ts";

describe.skipIf(!isHere)(
  "capture of an AKS node under Azure NPM (skipped where the external truth is absent)",
  () => {
    const dump = isHere ? readFileSync(join(folder, "iptablesave-v2"), "utf8") : "";
    const load = () => {
      const cache = JSON.parse(readFileSync(join(folder, "npmcachev2.json"), "utf8")) as Cache;
      const sets = Object.entries(cache.SetMap).map(([name, title]) => setOf(name, title, cache));
      return { cache, sets, v4: restoreRuleset(dump, "iptablesave-v2") };
    };
    const verdictOf = (node: TestNode, cache: Cache, { from, to, probe }: Cell, sport: number): number => {
      const [src, dst] = [cache.PodMap[from]?.PodIP ?? "", cache.PodMap[to]?.PodIP ?? ""];
      const { protocol, port } = probes[probe] ?? probes[0];
      const ends = { src, dst, sport, dport: port };
      return node.pass(protocol === IpProtocol.tcp ? tcp({ ...ends, flags: TcpFlag.syn }) : udp(ends))
        .verdict;
    };

    it("restores the whole dump: saved again it is the same text, counters included", () => {
      const statements = (text: string) =>
        text.split("\n").filter((line) => line !== "" && !line.startsWith("#"));
      expect(statements(saveRuleset(restoreRuleset(dump, "iptablesave-v2"), { counters: true }))).toEqual(
        statements(dump),
      );
      expect(Object.keys(restoreRuleset(dump, "iptablesave-v2").tables)).toEqual([
        "mangle",
        "nat",
        "filter",
        "security",
      ]);
    });

    it("gives every one of the 324 published verdicts to NEW packets at FORWARD", () => {
      const { cache, sets, v4 } = load();
      const cells = publishedCells(readFileSync(join(folder, "netpol.yaml"), "utf8"));
      expect(cells).toHaveLength(9 * 9 * probes.length);
      const node = new TestNode({ v4, sets: new Map(sets.map((set) => [set.name, set])) });
      const wrong = cells.filter(
        (cell, i) => (verdictOf(node, cache, cell, 20_000 + i) === Verdict.accept) !== cell.isAllowed,
      );
      expect(wrong).toEqual([]);
    });

    it("depends on the sets: with all of them empty nothing is denied", () => {
      const { cache, sets, v4 } = load();
      const cells = publishedCells(readFileSync(join(folder, "netpol.yaml"), "utf8"));
      const node = new TestNode({
        v4,
        sets: new Map(sets.map((set) => [set.name, { ...set, entries: [] }])),
      });
      const denied = cells.filter((cell, i) => verdictOf(node, cache, cell, 20_000 + i) !== Verdict.accept);
      expect(denied).toEqual([]);
      expect(cells.some(({ isAllowed }) => !isAllowed)).toBe(true);
    });

    it("runs kube-proxy's rules: a packet to the DNS service goes to one of its two pods, by chance", () => {
      const { cache, sets, v4 } = load();
      const node = new TestNode({ v4, sets: new Map(sets.map((set) => [set.name, set])) });
      const rule = dump
        .split("\n")
        .find((line) => line.includes('"kube-system/kube-dns:dns cluster IP"') && line.includes("KUBE-SVC-"));
      const service = /-d ([0-9.]+)\/32/.exec(rule ?? "")?.[1] ?? "";
      const reached = new Map<string, number>();
      for (let i = 0; i < 200; i++) {
        const src = cache.PodMap["x/b"]?.PodIP ?? "";
        const { bytes } = node.pass(udp({ src, dst: service, sport: 30_000 + i, dport: 53 }));
        const dst = bytes.subarray(16, 20).join(".");
        reached.set(dst, (reached.get(dst) ?? 0) + 1);
      }
      const endpoints = [
        ...dump.matchAll(/"kube-system\/kube-dns:dns" .*--to-destination ([0-9.]+):53/g),
      ].map(([, to]) => to);
      expect(endpoints).toHaveLength(2);
      expect([...reached.keys()].sort()).toEqual(endpoints.sort());
      expect(Math.min(...reached.values())).toBeGreaterThan(60);
    });
  },
);
