/** What the real kernel as judge needs of the machine, and how to get it. */
import { spawnSync } from "node:child_process";
import { existsSync } from "node:fs";

/** Debian's package of each tool. */
const tools = {
  ip: "iproute2",
  unshare: "util-linux",
  nsenter: "util-linux",
  nft: "nftables",
  "iptables-legacy-restore": "iptables",
  "iptables-nft-restore": "iptables",
  ipset: "ipset",
  conntrack: "conntrack",
} as const;

/** `needs ...`, or `undefined` when all is there. */
export function missingForKernel(): string | undefined {
  if (process.platform !== "linux") return "needs Linux";
  if (process.getuid?.() !== 0) return "needs root, to make network namespaces";
  if (!existsSync("/dev/net/tun")) return "needs TUN devices: there is no /dev/net/tun";
  const absent = Object.entries(tools).filter(
    ([tool]) => spawnSync("sh", ["-c", `command -v ${tool}`]).status !== 0,
  );
  if (absent.length === 0) return undefined;
  const packages = [...new Set(absent.map(([, name]) => name))].join(" ");
  return `needs ${absent.map(([tool]) => tool).join(", ")} (Debian packages: ${packages})`;
}
