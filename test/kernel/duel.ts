/**
 * One set of rules, two judges: the emulated node of `twoDeviceNode`'s shape and the real kernel. Each condition under
 * test sets a bit of the packet's mark where it holds, so that one packet answers for up to 31 conditions at once.
 */
import { restoreRuleset, saveRuleset } from "../../src/filter/iptables/index.ts";
import {
  type EmulatedFate,
  EmulatedNode,
  type JudgedPacket,
  type JudgedTables,
  type KernelFate,
  type KernelJudge,
} from "../../src/harness/kernel/index.ts";
import { printPacket } from "../../src/wire/index.ts";

/** What became of a packet, in words that both sides can say. */
export function kernelWords({ verdict, output }: KernelFate): string {
  return verdict === "forwarded" || verdict === "delivered"
    ? `${verdict} mark ${(output?.mark ?? 0).toString(16)}`
    : verdict === "answered" || verdict === "rejected"
      ? "answered"
      : verdict;
}

function emulatedWords({ verdict, mark }: EmulatedFate): string {
  return verdict === "forwarded" || verdict === "delivered"
    ? `${verdict} mark ${mark.toString(16)}`
    : verdict;
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
  tables: JudgedTables,
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
    const [kernel, ours] = [kernelWords(fates[i] as KernelFate), emulatedWords(node.judge(packet))];
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
