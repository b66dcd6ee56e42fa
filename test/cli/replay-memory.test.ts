/** Replay's memory does not grow with the capture: what is read is judged and forgotten. */
import { closeSync, openSync, rmSync, statSync, writeSync } from "node:fs";
import { join } from "node:path";
import { afterAll, expect, it } from "vitest";
import { type TrafficOptions, trafficCapture } from "../../bench/capture-traffic.ts";
import { isSoak } from "../runs.ts";
import { folderWith, podwire } from "./installed.ts";

const cwd = folderWith("replay-memory", {
  "iptables.save":
    "*filter\n:FORWARD DROP [0:0]\n-A FORWARD -m conntrack --ctstate ESTABLISHED -j ACCEPT\n-A FORWARD -p tcp --dport 80 -j ACCEPT\nCOMMIT\n",
});
const file = join(cwd, "big.pcap");
afterAll(() => rmSync(file, { force: true }));

const megabyte = 1 << 20;
/** What the project promises for a capture of 1 GB. */
const rssMax = 256 * megabyte;
/**
 * Tells on standard error what the process took at most, when it ends: what proc(5) says of its own memory, since the
 * maximum of getrusage(2) begins with the size of the process that started it. Garbage is collected on the thread that
 * makes it: on a busy machine collectors of their own fall behind, and what is measured is how busy it was.
 */
const report = `import { readFileSync } from "node:fs";
process.on("exit", () => process.stderr.write(readFileSync("/proc/self/status", "utf8").match(/VmHWM:.*kB/)[0]));`;

/** Replays made-up traffic with its comments written; returns the capture's size and the most memory that it took. */
function measured(traffic: Omit<TrafficOptions, "seed" | "addresses">): { size: number; rss: number } {
  const addresses = Array.from({ length: 80 }, (_, i) => `10.0.${i >> 4}.${(i & 15) + 1}`);
  const descriptor = openSync(file, "w");
  for (const piece of trafficCapture({ seed: 1, addresses, ...traffic })) writeSync(descriptor, piece);
  closeSync(descriptor);
  const NODE_OPTIONS = `--import=data:text/javascript,${encodeURIComponent(report)}`;
  const args = ["replay", file, "--iptables", "iptables.save", "-o", "csv", "-q"];
  const run = podwire(args, { cwd, env: { NODE_OPTIONS }, nodeArgs: ["--single-threaded-gc"] });
  expect(run.code).toBe(0);
  expect(run.stdout.split("\n").length).toBeGreaterThan(traffic.flows);
  return { size: statSync(file).size, rss: Number(/VmHWM:\s+(\d+) kB$/.exec(run.stderr)?.[1]) * 1024 };
}

const isLinux = process.platform === "linux";

it.runIf(isLinux)(
  "a capture is never in memory as a whole",
  () => {
    const { size, rss } = measured({ packets: 5200, flows: 50, packetsPerFlow: 40, payloads: [60_000] });
    expect(size).toBeGreaterThan(1.05 * rssMax);
    expect(rss).toBeGreaterThan(0);
    expect(rss).toBeLessThan(rssMax);
  },
  60_000,
);

if (isLinux && isSoak)
  it("a capture of 1 GB with many connections takes 256 MB", () => {
    const { size, rss } = measured({ packets: 740_000, flows: 2000, packetsPerFlow: 40, payloads: [1400] });
    expect(size).toBeGreaterThan(1e9);
    expect(rss).toBeLessThan(rssMax);
  }, 600_000);
