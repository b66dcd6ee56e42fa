/**
 * One set of rules, two judges: the emulated node of `twoDeviceNode`'s shape and the real kernel. Each condition under
 * test sets a bit of the packet's mark where it holds, so that one packet answers for up to 31 conditions at once.
 */
import { createPrng } from "../../src/base/index.ts";
import { createHookResults, type IptablesBackend } from "../../src/filter/index.ts";
import { restoreIpsets } from "../../src/filter/ipset/index.ts";
import {
  type IptablesDatapath,
  linkIptables,
  RuleCounters,
  restoreRuleset,
  saveRuleset,
} from "../../src/filter/iptables/index.ts";
import type { JudgedPacket, KernelFate, KernelJudge } from "../../src/harness/kernel/index.ts";
import { createBatch } from "../../src/packet/index.ts";
import { type HookWatcher, NodeStack, type SentBack, walkNode } from "../../src/sim/path.ts";
import type { NodeSpec } from "../../src/sim/spec.ts";
import { printPacket } from "../../src/wire/index.ts";
import { ip } from "../filter/node.ts";

const hosts = ["192.0.2.1", "2001:db8::1"].map(ip);
const everywhere = [
  { family: 4 as const, words: [0], prefix: 0 },
  { family: 6 as const, words: [0, 0, 0, 0], prefix: 0 },
];
const inside = [
  { family: 4 as const, words: [0x0a000000], prefix: 8 },
  { family: 6 as const, words: [0xfd000000, 0, 0, 0], prefix: 8 },
];
const mac = [2, 0, 0, 0, 0, 0] as unknown as NodeSpec["interfaces"][number]["mac"];

/** The node of `twoDeviceNode`, emulated. */
export const duelSpec: NodeSpec = {
  name: "judged",
  os: "linux",
  addresses: hosts,
  interfaces: [
    {
      index: 1,
      name: "lo",
      mac,
      link: "loopback",
      addresses: [
        { ...ip("127.0.0.1"), prefix: 8 },
        { ...ip("::1"), prefix: 128 },
      ],
    },
    {
      index: 2,
      name: "in0",
      mac,
      link: "fabric",
      addresses: hosts.map((address) => ({ ...address, prefix: address.family === 4 ? 32 : 128 })),
    },
    { index: 3, name: "out0", mac, link: "fabric", addresses: [] },
  ],
  routes: [...inside.map((net) => ({ net, oif: 2 })), ...everywhere.map((net) => ({ net, oif: 3 }))],
};

export interface DuelTables {
  readonly v4?: string;
  readonly v6?: string;
  readonly sets?: string;
}

/** What became of a packet, in words that both sides can say. */
export function kernelWords({ verdict, output }: KernelFate): string {
  return verdict === "forwarded" || verdict === "delivered"
    ? `${verdict} mark ${(output?.mark ?? 0).toString(16)}`
    : verdict === "answered" || verdict === "rejected"
      ? "answered"
      : verdict;
}

export class EmulatedNode {
  readonly stack: NodeStack;
  readonly datapath: IptablesDatapath;
  readonly clock = { ns: 0 };
  readonly counters: RuleCounters = new RuleCounters();
  readonly #watcher: HookWatcher = {
    before: (_node, _hook, _datapath, batch) => this.counters.watch(batch),
    after: () => {},
  };

  constructor(tables: DuelTables, backend: IptablesBackend) {
    this.stack = new NodeStack(duelSpec, createBatch(1, 70_000), createHookResults(1));
    const sets = restoreIpsets(tables.sets ?? "", "sets");
    this.datapath = linkIptables(
      {
        v4: restoreRuleset(tables.v4 ?? "", "v4", 4),
        v6: restoreRuleset(tables.v6 ?? "", "v6", 6),
        sets,
      },
      {
        facts: this.stack,
        nowNs: () => this.clock.ns,
        random: createPrng(1),
        iptablesBackend: backend,
      },
    );
    this.stack.datapath = this.datapath;
  }

  pass({ from, bytes }: JudgedPacket): string {
    const iif = from === "inside" ? 0 : (duelSpec.interfaces.find(({ name }) => name === from)?.index ?? 0);
    const emitted: SentBack[] = [];
    const end = walkNode(this.stack, bytes, iif, emitted, this.#watcher);
    const mark = (this.stack.batch.state.mark[0] ?? 0).toString(16);
    if (end.kind === "transmit") return `forwarded mark ${mark}`;
    if (end.kind === "local") return `delivered mark ${mark}`;
    return emitted.length > 0 ? "answered" : "dropped";
  }
}

/** Rules of one chain that set bit `i` of the mark where condition `i` holds. */
export function markingRules(table: string, chain: string, conditions: readonly string[]): string {
  const rules = conditions.map(
    (condition, i) => `-A ${chain} ${condition} -j MARK --or-mark 0x${(2 ** i).toString(16)}`,
  );
  return `*${table}\n${rules.join("\n")}\nCOMMIT\n`;
}

/** Judges the packets on both sides; each difference in one line, with what the mark says about the conditions. */
export async function duel(
  judge: KernelJudge,
  tables: DuelTables,
  packets: readonly JudgedPacket[],
  conditions: readonly string[],
): Promise<readonly string[]> {
  // With every chain named, so that both backends count what policies decide, from zero.
  const whole = (text: string, family: 4 | 6): string => saveRuleset(restoreRuleset(text, "t", family));
  await judge.load({ ...tables, v4: whole(tables.v4 ?? "", 4), v6: whole(tables.v6 ?? "", 6) });
  await judge.run("sh", ["-c", zeroPolicies]);
  const fates = await judge.judge(packets);
  const node = new EmulatedNode(tables, judge.backend);
  const fatesDiffer = packets.flatMap((packet, i) => {
    const [kernel, ours] = [kernelWords(fates[i] as KernelFate), node.pass(packet)];
    if (kernel === ours) return [];
    const marks = [kernel, ours].map((words) => Number.parseInt(/mark (\w+)/.exec(words)?.[1] ?? "0", 16));
    const differing = conditions.filter((_, bit) => (((marks[0] ?? 0) ^ (marks[1] ?? 0)) >>> bit) & 1);
    return [`kernel ${kernel}, model ${ours}: ${printPacket(packet.bytes)} [${differing.join(" | ")}]`];
  });
  if (fatesDiffer.length > 0) return fatesDiffer;
  const { v4, v6 } = node.datapath.tables();
  const differences: string[] = [];
  for (const rules of [v4, v6]) {
    const listed = counted(await judge.save(rules.family));
    const ours = counted(saveRuleset(node.counters.apply(rules), { counters: true }));
    for (const line of ours) if (!listed.has(line)) differences.push(`model counts: ${line}`);
    const isLoaded = (line: string): boolean =>
      Object.keys(rules.tables).includes(line.slice(1, line.indexOf(" ")));
    for (const line of listed)
      if (!ours.has(line) && isLoaded(line)) differences.push(`kernel counts: ${line}`);
  }
  return differences;
}

/** iptables-legacy keeps what policies have counted when a table is restored. */
const zeroPolicies = `for t in $(cat /proc/self/net/ip_tables_names); do iptables-legacy -t $t -Z; done
for t in $(cat /proc/self/net/ip6_tables_names); do ip6tables-legacy -t $t -Z; done`;

/** Rules and policies with counters above zero, by table; not of chains that the node's own chatter passes. */
function counted(text: string): ReadonlySet<string> {
  let table = "";
  const lines = text.split("\n").flatMap((line) => {
    if (line.startsWith("*")) table = line;
    const isOurs = /\[[1-9]\d*:\d+\]/.test(line) && !/^:(INPUT|OUTPUT|POSTROUTING) /.test(line);
    return isOurs ? [`${table} ${line}`] : [];
  });
  return new Set(lines);
}
