/** What does a long list of HNS ACLs cost a packet, asked through bits and asked one by one? */
import { formatIp, parseCidr } from "../src/addr/index.ts";
import { createPrng, hashText } from "../src/base/index.ts";
import { AclList, anyAcl, HnsSets, type OrderedAcl } from "../src/filter/hns/index.ts";
import { append, createBatch, decode, tcp } from "../src/packet/index.ts";
import { TcpFlag } from "../src/wire/index.ts";
import { type BenchmarkFile, seed } from "./benchmark.ts";

/** Blocks of a /24 with a port each, as NPM Lite writes them, and the denial behind them all. */
function acls(count: number): readonly OrderedAcl[] {
  const random = createPrng(seed).fork("acls");
  const allowed = Array.from({ length: count - 1 }, (_, rule): OrderedAcl => {
    const net = parseCidr(`10.${random.below(4)}.${random.below(256)}.0/24`);
    const port = 8000 + random.below(64);
    return {
      conditions: {
        ...anyAcl,
        protocols: [6],
        remoteAddresses: net === undefined ? [] : [{ kind: "net", net }],
        localPorts: [{ first: port, last: port }],
      },
      action: "Allow",
      priority: 222,
      rule,
    };
  });
  return [...allowed, { conditions: anyAcl, action: "Block", priority: 3000, rule: count - 1 }];
}

export const hnsAcls: BenchmarkFile = {
  name: "hns-acls",
  question: "What does a long list of HNS ACLs cost a packet, asked through bits and asked one by one?",
  prepare(size) {
    const [count, rows] = size === "full" ? [1024, 1024] : [64, 64];
    const random = createPrng(seed).fork("packets");
    const sources = Array.from({ length: 256 }, () => ({
      family: 4 as const,
      words: [0x0a00_0000 + random.below(0x4_0000)],
    }));
    const batch = createBatch(rows);
    for (let i = 0; i < rows; i++)
      append(
        batch,
        tcp({
          src: formatIp(sources[random.below(sources.length)] ?? { family: 4, words: [0] }),
          dst: "10.224.0.72",
          sport: 40_000,
          dport: 8000 + random.below(64),
          flags: TcpFlag.syn,
        }),
      );
    decode(batch, 0, rows);
    const sets = new HnsSets([]);
    const list = new AclList("In", acls(count));
    const ignore = (): void => {};
    const found = new Map<string, Int32Array>();
    const ask = (name: string, tried?: (rule: number, failed: number) => void): void => {
      const rules = found.get(name) ?? new Int32Array(rows);
      for (let row = 0; row < rows; row++) rules[row] = list.first(sets, batch, row, tried)?.rule ?? -1;
      found.set(name, rules);
    };
    const names = ["bits", "one by one"];
    const hashOf = (name: string): string => hashText((found.get(name) ?? []).join()).toString(16);
    return {
      unit: `asks the list of ${rows} packets`,
      cases: [
        { name: "bits", run: () => ask("bits") },
        // who is told of every ACL tried makes the list be asked so
        { name: "one by one", run: () => ask("one by one", ignore) },
      ],
      facts: { acls: count, packets: rows, sources: sources.length, ports: 64, family: "IPv4" },
      resultHash: () => names.map(hashOf).join(" "),
    };
  },
};
