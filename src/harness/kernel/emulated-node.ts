/** The judge's node with two devices, emulated: what the kernel did with a packet is what this must do. */
import { type Ip, parseIp } from "../../addr/index.ts";
import { assert, createPrng } from "../../base/index.ts";
import { compileClassicProgram } from "../../filter/bpf/index.ts";
import { createHookResults, type IptablesBackend } from "../../filter/index.ts";
import { restoreIpsets } from "../../filter/ipset/index.ts";
import {
  type IptablesDatapath,
  linkIptables,
  RuleCounters,
  restoreRuleset,
} from "../../filter/iptables/index.ts";
import type { ConntrackOptions } from "../../filter/netfilter/index.ts";
import { createBatch, leavingPackets } from "../../packet/index.ts";
import { type HookWatcher, type NodeSpec, NodeStack, type SentBack, walkNode } from "../../sim/index.ts";
import type { JudgedPacket, JudgedTables } from "./kernel-judge.ts";

function ip(text: string): Ip {
  const value = parseIp(text);
  assert(value !== undefined, `not an address: ${text}`);
  return value;
}

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

/** The node of `twoDeviceNode`. */
const twoDeviceSpec: NodeSpec = {
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

export interface EmulatedFate {
  readonly verdict: "forwarded" | "delivered" | "answered" | "dropped";
  /** The device that the packet left by. */
  readonly interface: string;
  readonly mark: number;
  /** What left the node or reached its stack: the packet, its fragments, or the answers to it. */
  readonly packets: readonly Uint8Array[];
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

  constructor(tables: JudgedTables, backend: IptablesBackend, options: Partial<ConntrackOptions> = {}) {
    this.stack = new NodeStack(twoDeviceSpec, createBatch(1, 200_000), createHookResults(1));
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
        compileClassic: compileClassicProgram,
      },
      options,
    );
    this.stack.datapath = this.datapath;
  }

  judge({ from, bytes }: JudgedPacket): EmulatedFate {
    return this.#walk({ bytes, kept: undefined }, from === "inside" ? 0 : this.#number(from));
  }

  #walk(
    { bytes, kept }: { bytes: Uint8Array; kept: SentBack["kept"] | undefined },
    iif: number,
    overLoopback: Uint8Array[] = [],
  ): EmulatedFate {
    const { stack } = this;
    const emitted: SentBack[] = [];
    const end = walkNode(stack, bytes, iif, emitted, this.#watcher, kept);
    const mark = stack.batch.state.mark[0] ?? 0;
    if (end.kind === "local") return { verdict: "delivered", interface: "", mark, packets: [end.bytes] };
    if (end.kind === "transmit") {
      if (end.oif === stack.loopbackIndex()) {
        overLoopback.push(end.bytes);
        return this.#walk({ bytes: end.bytes, kept: end.state }, end.oif, overLoopback);
      }
      const name = stack.interfaceOf(end.oif)?.name ?? "";
      return { verdict: "forwarded", interface: name, mark, packets: leavingPackets(stack.batch, 0) };
    }
    const packets = emitted.flatMap((answer) => this.#sendAnswer(answer));
    return { verdict: packets.length > 0 ? "answered" : "dropped", interface: "", mark: 0, packets };
  }

  /**
   * As it left the node, or left for the node itself over loopback, whatever became of it there; or what the node's own
   * rules answered to it.
   */
  #sendAnswer(answer: SentBack): readonly Uint8Array[] {
    const overLoopback: Uint8Array[] = [];
    const { verdict, packets } = this.#walk(answer, 0, overLoopback);
    return [...overLoopback, ...(verdict === "delivered" ? [] : packets)];
  }

  #number(name: string): number {
    const found = twoDeviceSpec.interfaces.find((one) => one.name === name);
    assert(found !== undefined, `no device ${name}`);
    return found.index;
  }
}
