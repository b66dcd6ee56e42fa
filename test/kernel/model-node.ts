/** Our model of the judge's node with two devices: routes, time to live and hooks as the kernel's forwarding has them. */
import { cidrContains, formatIp, type Ip } from "../../src/addr/index.ts";
import { createPrng } from "../../src/base/index.ts";
import {
  createHookResults,
  Hook,
  type HookResults,
  type NodeFacts,
  Verdict,
} from "../../src/filter/index.ts";
import { type IptablesDatapath, linkIptables, restoreRuleset } from "../../src/filter/iptables/index.ts";
import type { ConntrackOptions } from "../../src/filter/netfilter/index.ts";
import { type JudgedPacket, twoDeviceNode } from "../../src/harness/kernel/index.ts";
import {
  append,
  clearBatch,
  createBatch,
  decodeRow,
  decrementTtl,
  leavingPackets,
  type PacketBatch,
  rowAddress,
  rowBytes,
} from "../../src/packet/index.ts";
import { emptyV4, emptyV6 } from "../filter/node.ts";

const loopback = { index: 1, name: "lo", isLoopback: true, addresses: [] };

function factsOf(): NodeFacts {
  const { interfaces, addresses, routes } = twoDeviceNode();
  const numberOf = (name: string): number => interfaces.indexOf(name) + 2;
  return {
    name: "judged",
    generation: 0,
    interfaces: [
      loopback,
      ...interfaces.map((name) => ({
        index: numberOf(name),
        name,
        isLoopback: false,
        addresses: addresses
          .filter((one) => one.interface === name)
          .map(({ ip }) => ({ ...ip, prefix: ip.family === 4 ? 32 : 128 })),
      })),
    ],
    localAddresses: addresses.map(({ ip }) => ip),
    routeTo: (ip: Ip) => numberOf(routes.find(({ net }) => cidrContains(net, ip))?.interface ?? "lo"),
  };
}

export interface ModelFate {
  readonly verdict: "forwarded" | "delivered" | "rejected" | "dropped";
  readonly interface: string;
  readonly mark: number;
  readonly bytes: Uint8Array;
  /** What leaves: the packet, or its fragments. */
  readonly packets: readonly Uint8Array[];
  /** What the node sent back about it, as it left. */
  readonly answers: readonly Uint8Array[];
}

const dropped: ModelFate = {
  verdict: "dropped",
  interface: "",
  mark: 0,
  bytes: new Uint8Array(0),
  packets: [],
  answers: [],
};

export class ModelNode {
  readonly clock: { ns: number } = { ns: 0 };
  readonly datapath: IptablesDatapath;
  readonly facts: NodeFacts = factsOf();
  readonly batch: PacketBatch = createBatch(1, 200_000);
  readonly out: HookResults = createHookResults(1);

  constructor(v4: string, v6: string, options: Partial<ConntrackOptions> = {}) {
    this.datapath = linkIptables(
      {
        v4: v4 === "" ? emptyV4 : restoreRuleset(v4, "v4", 4),
        v6: v6 === "" ? emptyV6 : restoreRuleset(v6, "v6", 6),
        sets: new Map(),
      },
      { facts: this.facts, nowNs: () => this.clock.ns, random: createPrng(1) },
      options,
    );
  }

  judge(packet: JudgedPacket): ModelFate {
    const { batch } = this;
    this.#put(packet.bytes);
    if (packet.from === "inside") return this.#send();
    batch.state.iif[0] = this.facts.interfaces.find(({ name }) => name === packet.from)?.index ?? 0;
    return this.#arrive(packet.from);
  }

  #arrive(from: string): ModelFate {
    const { batch } = this;
    if (!this.#passes(Hook.prerouting)) return dropped;
    const dst = rowAddress(batch, 0, "dst");
    if (this.#isLocal(dst)) return this.#passes(Hook.input) ? this.#end("delivered", from) : this.#refused();
    const oif = this.facts.routeTo(dst);
    batch.state.oif[0] = oif;
    if (!decrementTtl(batch, 0)) return dropped;
    if (!this.#passes(Hook.forward)) return this.#refused();
    if (!this.#passes(Hook.postrouting)) return dropped;
    return this.#end("forwarded", this.facts.interfaces.find(({ index }) => index === oif)?.name ?? "");
  }

  /** The node's own packet: routed, perhaps again, and over loopback if it is for the node itself. */
  #send(): ModelFate {
    const { batch } = this;
    const route = (): void => {
      const dst = rowAddress(batch, 0, "dst");
      batch.state.oif[0] = this.#isLocal(dst) ? loopback.index : this.facts.routeTo(dst);
    };
    route();
    if (!this.#passes(Hook.output)) return this.#refused();
    route();
    if (!this.#passes(Hook.postrouting)) return dropped;
    const oif = batch.state.oif[0];
    if (oif !== loopback.index)
      return this.#end("forwarded", this.facts.interfaces.find(({ index }) => index === oif)?.name ?? "");
    batch.state.iif[0] = loopback.index;
    batch.state.oif[0] = 0;
    return this.#arrive("lo");
  }

  #isLocal(dst: Ip): boolean {
    if (dst.family === 4 && (dst.words[0] ?? 0) >>> 24 === 127) return true;
    return this.facts.localAddresses.some((ip) => formatIp(ip) === formatIp(dst));
  }

  #passes(hook: number): boolean {
    this.datapath.run(hook, this.batch, 0, 1, this.out);
    return this.out.verdict[0] === Verdict.accept;
  }

  #refused(): ModelFate {
    if (this.out.verdict[0] !== Verdict.reject) return dropped;
    const { emitted } = this.out;
    const sent = Array.from({ length: emitted.length }, (_, i) => ({
      bytes: rowBytes(emitted, i).slice(),
      ctState: emitted.state.ctState[i] ?? 0,
      ctEntry: emitted.state.ctEntry[i] ?? 0,
    }));
    clearBatch(emitted);
    const answers = sent.flatMap(({ bytes, ctState, ctEntry }) => {
      this.#put(bytes);
      this.batch.state.ctState[0] = ctState;
      this.batch.state.ctEntry[0] = ctEntry;
      const { verdict, bytes: left } = this.#send();
      return verdict === "dropped" ? [] : [left];
    });
    return { ...dropped, verdict: answers.length > 0 ? "rejected" : "dropped", answers };
  }

  #put(bytes: Uint8Array): void {
    clearBatch(this.batch);
    append(this.batch, bytes);
    decodeRow(this.batch, 0);
  }

  #end(verdict: "forwarded" | "delivered", name: string): ModelFate {
    const bytes = rowBytes(this.batch, 0).slice();
    return {
      answers: [],
      packets: verdict === "forwarded" ? leavingPackets(this.batch, 0) : [bytes],
      verdict,
      interface: name,
      mark: this.batch.state.mark[0] ?? 0,
      bytes,
    };
  }
}
