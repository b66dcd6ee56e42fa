/**
 * What the emulator does with a packet at each node on its way, hook by hook, written down so that a real kernel in the
 * node's place can be asked the same: where it came in, and how it left.
 */
import { type Datapath, type FilterObserver, Hook, type HookResults, Verdict } from "../../filter/index.ts";
import { type PacketBatch, rowBytes } from "../../packet/index.ts";
import type { HookWatcher, Network } from "../../sim/index.ts";
import type { KernelFate } from "./fate.ts";

/** One packet's passage through one node. */
export interface HopRecord {
  readonly node: string;
  /** Interface that it came in by; `inside`: the node's own. */
  readonly from: string;
  readonly bytes: Uint8Array;
  /** As `fateText` words the kernel's. */
  fate: string;
}

const hex = (bytes: Uint8Array): string => Buffer.from(bytes).toString("hex");

/** The kernel's fate in the same words. */
export function fateText({ verdict, rejectWith, output }: KernelFate): string {
  switch (verdict) {
    case "forwarded":
      return `out ${output?.interface} mark ${output?.mark} ${hex(output?.bytes ?? new Uint8Array())}`;
    case "delivered":
      return `local mark ${output?.mark} ${hex(output?.bytes ?? new Uint8Array())}`;
    case "rejected":
      return `rejected ${rejectWith}`;
    default:
      return verdict;
  }
}

/** Watches one network; hops of a node stand in the order in which they happened. */
export class HopRecorder implements HookWatcher, FilterObserver {
  readonly hops: HopRecord[] = [];
  /** IPv4 packets that each rule matched, by node and rule. */
  readonly counts: Map<string, Map<number, number>> = new Map();
  readonly #network: Network;
  #hop: HopRecord | undefined;
  #batch: PacketBatch | undefined;
  #counts: Map<number, number> = new Map();

  constructor(network: Network) {
    this.#network = network;
  }

  before(node: string, hook: number, _datapath: Datapath, batch: PacketBatch, row: number): FilterObserver {
    this.#batch = batch;
    if (hook === Hook.prerouting || hook === Hook.output) {
      const from = hook === Hook.output ? "inside" : this.#interface(node, batch.state.iif[row] ?? 0);
      // what a node sends to itself comes back over loopback: the kernel carries it on by itself
      if (from !== "lo") {
        this.#hop = { node, from, bytes: rowBytes(batch, row).slice(), fate: "dropped" };
        this.hops.push(this.#hop);
      }
    }
    this.#counts = this.counts.get(node) ?? new Map();
    this.counts.set(node, this.#counts);
    return this;
  }

  after(node: string, hook: number, results: HookResults, row: number): void {
    const [hop, batch] = [this.#hop, this.#batch];
    // a node further on says nothing of this one
    if (hop === undefined || batch === undefined || hop.node !== node) return;
    const verdict = results.verdict[row];
    if (verdict === Verdict.reject) hop.fate = `rejected ${results.detail[row]}`;
    else if (verdict !== Verdict.accept) hop.fate = "dropped";
    else if (hook === Hook.postrouting) {
      const name = this.#interface(node, batch.state.oif[row] ?? 0);
      if (name !== "lo") hop.fate = `out ${name} mark ${batch.state.mark[row]} ${hex(rowBytes(batch, row))}`;
    } else if (hook === Hook.input)
      hop.fate = `local mark ${batch.state.mark[row]} ${hex(rowBytes(batch, row))}`;
  }

  enter(): void {}

  rule(index: number, failedMatch: number): void {
    if (failedMatch < 0 && this.#batch?.family[0] === 4)
      this.#counts.set(index, (this.#counts.get(index) ?? 0) + 1);
  }

  lookup(): void {}

  verdict(): void {}

  #interface(node: string, index: number): string {
    return this.#network.node(node).interfaceOf(index)?.name ?? `#${index}`;
  }
}
