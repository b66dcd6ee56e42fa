/**
 * Flows of packets judged twice: by the kernel, whose rules show conntrack's answer for each packet in its mark, and by
 * our model. Flows differ in a port or address, so that hundreds of them share one run; what differs is shrunk alone.
 */
import { createPrng, type Prng } from "../../src/base/index.ts";
import { createHookResults, Hook, Verdict } from "../../src/filter/index.ts";
import { type IptablesDatapath, linkIptables, restoreRuleset } from "../../src/filter/iptables/index.ts";
import { type ConntrackOptions, formatEntry } from "../../src/filter/netfilter/index.ts";
import type { JudgedPacket, KernelFate, KernelJudge } from "../../src/harness/kernel/index.ts";
import { append, createBatch, decodeRow } from "../../src/packet/index.ts";
import { printPacket } from "../../src/wire/index.ts";
import { emptyV4, emptyV6, linkContext } from "../filter/node.ts";

export const stateRules: string = `*mangle
:FORWARD ACCEPT [0:0]
-A FORWARD -m conntrack --ctstate INVALID -j MARK --set-xmark 0x4/0xffffffff
-A FORWARD -m conntrack --ctstate NEW -j MARK --set-xmark 0x1/0xffffffff
-A FORWARD -m conntrack --ctstate ESTABLISHED -j MARK --set-xmark 0x2/0xffffffff
-A FORWARD -m conntrack --ctstate RELATED -j MARK --set-xmark 0x3/0xffffffff
-A FORWARD -m conntrack --ctstate UNTRACKED -j MARK --set-xmark 0x5/0xffffffff
COMMIT
`;

const stateNames = ["?", "NEW", "ESTABLISHED", "RELATED", "INVALID", "UNTRACKED"];

/** `NEW`, `ESTABLISHED` ... or the verdict, if it was not forwarded. */
export function kernelAnswer({ verdict, output }: KernelFate): string {
  return verdict === "forwarded" ? (stateNames[output?.mark ?? 0] ?? "?") : verdict;
}

export interface ModelAnswer {
  readonly answer: string;
  readonly bytes: Uint8Array;
}

export class Model {
  readonly datapath: IptablesDatapath;
  readonly #batch = createBatch(1, 140_000);
  readonly #out = createHookResults(1);
  readonly clock = { ns: 0 };

  constructor(options: Partial<ConntrackOptions> = {}, v4: string = stateRules, v6: string = stateRules) {
    const tables = {
      v4: v4 === "" ? emptyV4 : restoreRuleset(v4, "v4", 4),
      v6: v6 === "" ? emptyV6 : restoreRuleset(v6, "v6", 6),
      sets: new Map(),
    };
    this.datapath = linkIptables(tables, linkContext(this.clock), options);
  }

  /** Forwards a packet as the judge's node does, TTL aside. */
  pass(packet: JudgedPacket): ModelAnswer {
    const [batch, out] = [this.#batch, this.#out];
    batch.length = 0;
    batch.used = 0;
    append(batch, packet.bytes);
    decodeRow(batch, 0);
    batch.state.iif[0] = packet.from === "in0" ? 3 : 4;
    batch.state.oif[0] = packet.from === "in0" ? 4 : 3;
    for (const hook of [Hook.prerouting, Hook.forward, Hook.postrouting]) {
      this.datapath.run(hook, batch, 0, 1, out);
      if (out.verdict[0] !== Verdict.accept) return { answer: "dropped", bytes: new Uint8Array(0) };
    }
    const bytes = batch.bytes.slice(batch.offset[0]!, batch.offset[0]! + batch.size[0]!);
    return { answer: stateNames[batch.state.ctState[0]!] ?? "?", bytes };
  }

  connections(): readonly string[] {
    const nowNs = this.clock.ns;
    return this.datapath.conntrack.list().map((entry) => formatEntry(entry, nowNs));
  }
}

/** A connection line without its seconds, and the seconds. */
function splitLine(line: string): { readonly text: string; readonly seconds: number } {
  const words = line.replace(/^ipv[46]\s+\d+\s+/, "").split(/\s+/);
  const at = words.findIndex((word, i) => i > 1 && /^\d+$/.test(word));
  const seconds = Number(words[at]);
  return { text: words.filter((_, i) => i !== at).join(" "), seconds };
}

/** What is in one list only; seconds may differ by three, for the kernel's clock runs on. */
export function compareConnections(kernel: readonly string[], model: readonly string[]): readonly string[] {
  const differences: string[] = [];
  const left = new Map(model.map(splitLine).map((line) => [line.text, line]));
  for (const line of kernel.map(splitLine)) {
    const ours = left.get(line.text);
    left.delete(line.text);
    if (ours === undefined) differences.push(`kernel only: ${line.seconds} ${line.text}`);
    else if (Math.abs(ours.seconds - line.seconds) > 3)
      differences.push(`seconds ${line.seconds} (model ${ours.seconds}): ${line.text}`);
  }
  for (const { text, seconds } of left.values()) differences.push(`model only: ${seconds} ${text}`);
  return differences.sort();
}

export type Flow = readonly JudgedPacket[];

export async function compareFlows(
  judge: KernelJudge,
  flows: readonly Flow[],
  options: Partial<ConntrackOptions>,
  family: 4 | 6,
): Promise<readonly string[]> {
  await judge.forgetFlows();
  const fates = await judge.judge(flows.flat());
  const connections = await judge.connections(family);
  const model = new Model(options);
  const differences: string[] = [];
  let at = 0;
  for (const [number, flow] of flows.entries())
    for (const [i, packet] of flow.entries()) {
      const kernel = kernelAnswer(fates[at++] as KernelFate);
      const { answer } = model.pass(packet);
      if (kernel !== answer)
        differences.push(`flow ${number} packet ${i}: kernel ${kernel}, model ${answer}`);
    }
  return [...differences, ...compareConnections(connections, model.connections())];
}

/** Fewest packets that still differ. */
export async function shrinkFlow(flow: Flow, differs: (flow: Flow) => Promise<boolean>): Promise<Flow> {
  let current = flow;
  for (let isSmaller = true; isSmaller; ) {
    isSmaller = false;
    for (let i = current.length - 1; i >= 0; i--) {
      const shorter = current.filter((_, at) => at !== i);
      if (shorter.length === 0 || !(await differs(shorter))) continue;
      current = shorter;
      isSmaller = true;
    }
  }
  return current;
}

/** Runs random flows until one differs; returns the shrunk one's differences and packets, or nothing. */
export async function searchDifference(
  judge: KernelJudge,
  seed: number,
  rounds: number,
  flowsPerRound: number,
  draw: (random: Prng, number: number) => Flow,
  options: Partial<ConntrackOptions> = {},
  family: 4 | 6 = 4,
): Promise<{ readonly differences: readonly string[]; readonly flow: Flow } | undefined> {
  const random = createPrng(seed);
  for (let round = 0; round < rounds; round++) {
    const flows = Array.from({ length: flowsPerRound }, (_, i) => draw(random, i));
    if ((await compareFlows(judge, flows, options, family)).length === 0) continue;
    const differs = async (flow: Flow): Promise<boolean> =>
      (await compareFlows(judge, [flow], options, family)).length > 0;
    for (const flow of flows)
      if (await differs(flow)) {
        const small = await shrinkFlow(flow, differs);
        return { differences: await compareFlows(judge, [small], options, family), flow: small };
      }
    return { differences: await compareFlows(judge, flows, options, family), flow: flows.flat() };
  }
  return undefined;
}

/** For the message of a failed comparison. */
export function describeFlow(flow: Flow | undefined): string {
  return (flow ?? []).map(({ from, bytes }) => `${from} ${printPacket(bytes)}`).join("\n");
}
