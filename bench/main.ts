/**
 * `npm run bench [-- NAME...] [-- --out DIR]`: each question as a benny suite (JSON with details and an HTML table in
 * the output folder), and beside it interleaved rounds, whose ratios are the ones to quote: turns of the cases follow
 * each other in one process, and the best of nine rounds counts.
 */
import { join } from "node:path";
import { parseArgs } from "node:util";
import benny from "benny";
import { interleavedRounds, quantile } from "../src/harness/index.ts";
import { type Benchmark, type BenchmarkFile, machineLine, nowMs } from "./benchmark.ts";
import { bpfPrograms } from "./bpf-programs.ts";
import { ciliumTables } from "./cilium-tables.ts";
import { decodeHeaders } from "./decode.ts";
import { hnsAcls } from "./hns-acls.ts";
import { npmWalk } from "./npm-walk.ts";
import { replayCaptures } from "./replay.ts";
import { sharedMaps } from "./shared-maps.ts";
import { sharedTables } from "./shared-tables.ts";

const benchmarks: readonly BenchmarkFile[] = [
  bpfPrograms,
  ciliumTables,
  decodeHeaders,
  hnsAcls,
  npmWalk,
  replayCaptures,
  sharedMaps,
  sharedTables,
];

const { values, positionals } = parseArgs({
  options: { out: { type: "string", default: ".bench-results" } },
  allowPositionals: true,
});
const unknown = positionals.filter((name) => !benchmarks.some((one) => one.name === name));
if (unknown.length > 0) {
  process.stderr.write(
    `unknown: ${unknown.join(", ")}; there is ${benchmarks.map((one) => one.name).join(", ")}\n`,
  );
  process.exit(2);
}

const rounds = 9;
const print = (line: string): void => void process.stdout.write(`${line}\n`);

print(machineLine());
for (const file of benchmarks) {
  if (positionals.length > 0 && !positionals.includes(file.name)) continue;
  print(`\n${file.name}: ${file.question}`);
  const benchmark = file.prepare("full");
  print(
    Object.entries(benchmark.facts)
      .map(([name, value]) => `${name} ${value}`)
      .join(", "),
  );
  await runSuite(file, benchmark);
  await printRounds(benchmark);
}

async function runSuite(file: BenchmarkFile, benchmark: Benchmark): Promise<void> {
  const folder = join(process.cwd(), values.out);
  const report = { file: file.name, folder, version: null, details: true } as const;
  await benny.suite(
    `${file.name}: one call ${benchmark.unit}`,
    ...benchmark.cases.map((one) => benny.add(one.name, one.run)),
    benny.cycle(),
    benny.save({ ...report, format: "json" }),
    benny.save({ ...report, format: "table.html" }),
  );
}

async function printRounds({ cases, unit, resultHash, peers: findPeers }: Benchmark): Promise<void> {
  const peers = (await findPeers?.()) ?? [];
  const samples = [...cases, ...peers].map((): number[] => []);
  for (let round = 0; round < rounds; round++) {
    const turns = interleavedRounds(
      cases.map((one) => one.run),
      { rounds: 1, roundMs: 100, nowMs },
    ).map(({ bestMs }) => bestMs);
    for (const peer of peers) turns.push(await peer.measureMs());
    for (const [i, ms] of turns.entries()) samples[i]?.push(ms);
  }
  for (const peer of peers) await peer.close();
  const base = Math.min(...(samples[0] ?? [1]));
  print(`interleaved, best (median, worst) of ${rounds} rounds; one call ${unit}:`);
  for (const [i, { name }] of [...cases, ...peers].entries()) {
    const ms = samples[i] ?? [];
    const [best, middle, worst] = [Math.min(...ms), quantile(ms, 0.5), Math.max(...ms)].map((one) =>
      one.toFixed(3),
    );
    print(
      `  ${name.padEnd(22)} ${best} ms (${middle}, ${worst}), ${(Number(best) / base).toFixed(2)} x ${cases[0]?.name}`,
    );
  }
  print(`result hash ${resultHash()}`);
}
