/** How many decisions a second do Azure NPM's tables give at their documented limit, walked rule by rule? */

import { hashText } from "../src/base/index.ts";
import { createHookResults } from "../src/filter/index.ts";
import { benchCases, parseSelection, prepareBench, walkRows } from "../src/harness/index.ts";
import { type BenchmarkFile, nowMs, seed } from "./benchmark.ts";

export const npmWalk: BenchmarkFile = {
  name: "npm-walk",
  question: "How many decisions a second do Azure NPM's tables give, walked rule by rule?",
  prepare(size) {
    const selection = parseSelection("azure-npm");
    if (selection.kind !== "product") throw new RangeError("azure-npm is a product");
    const setup = prepareBench(selection, {
      profile: "aks-npm-limit",
      seed,
      nowMs,
      packets: size === "full" ? 1024 : 64,
      ...(size === "full" ? {} : { sizes: { nodes: 4, pods: 200, namespaces: 8, policies: 20 } }),
    });
    const results = createHookResults(setup.batch.capacity);
    const hashes = new Map<string, string>();
    const { sizes, rules, setEntries, tableBytes, compileMs, linkMs } = setup;
    return {
      unit: `judges ${setup.batch.length} packets, TCP:UDP:SCTP 80:15:5`,
      cases: benchCases.map((which) => ({
        name: which === "traced" ? "new, traced" : which,
        run: () => {
          walkRows(setup, which, 0, setup.batch.length, results);
          hashes.set(which, hashText(results.verdict.subarray(0, setup.batch.length).join("")).toString(16));
        },
      })),
      facts: {
        engine: `${selection.label} ${selection.version}`,
        ...sizes,
        rules,
        setEntries,
        tableBytes,
        compileMs: Math.round(compileMs),
        linkMs: Math.round(linkMs),
      },
      resultHash: () => benchCases.map((which) => hashes.get(which) ?? "-").join(" "),
    };
  },
};
