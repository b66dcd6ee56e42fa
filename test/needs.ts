/**
 * What a test needs beyond Node: root, a kernel feature, a system tool. `npm test` skips such tests and says how to run
 * them; `npm run test:kernel` (PODWIRE_KERNEL=1) runs them all, and there a missing need is a failure, never a skip.
 */
import { spawnSync } from "node:child_process";
import { existsSync } from "node:fs";
import { describe, it } from "vitest";

const isDemanded = process.env["PODWIRE_KERNEL"] === "1";

/** Debian's package of each tool. */
const packages = {
  tshark: "tshark",
  capinfos: "tshark",
  iptables: "iptables",
  "iptables-nft": "iptables",
  ipset: "ipset",
  conntrack: "conntrack",
  cc: "gcc libc6-dev",
  ip: "iproute2",
  tc: "iproute2",
  tcpdump: "tcpdump",
  clang: "clang",
  bpftool: "bpftool",
} as const;
export type Need = keyof typeof packages | "root" | "tun";

function isMet(need: Need): boolean {
  if (need === "root") return process.getuid?.() === 0;
  if (need === "tun") return existsSync("/dev/net/tun");
  return spawnSync("sh", ["-c", `command -v ${need}`]).status === 0;
}

function missing(needs: readonly Need[]): string | undefined {
  const absent = needs.filter((need) => !isMet(need));
  if (absent.length === 0) return undefined;
  const names = absent.flatMap((need) => (need === "root" || need === "tun" ? [] : packages[need]));
  const install = names.length > 0 ? ` (Debian packages: ${[...new Set(names)].join(" ")})` : "";
  return `needs ${absent.join(", ")}${install}`;
}

/** A suite that runs under `npm run test:kernel` only. */
export function describeNeeding(title: string, needs: readonly Need[], body: () => void): void {
  if (!isDemanded) {
    describe.skip(`${title} (run by: npm run test:kernel, needing ${needs.join(", ")})`, body);
    return;
  }
  const why = missing(needs);
  if (why === undefined) describe(title, body);
  else
    it(`${title}: ${why}`, () => {
      throw new Error(why);
    });
}
