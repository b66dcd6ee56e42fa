/** One node for filter tests: a clock that the test turns, one batch of packets, and hooks run one after another. */
import { type Ip, parseIp } from "../../src/addr/index.ts";
import { createPrng } from "../../src/base/index.ts";
import {
  createHookResults,
  Hook,
  type HookEvent,
  type LinkContext,
  Verdict,
} from "../../src/filter/index.ts";
import {
  type IptablesDatapath,
  type IptablesTables,
  linkIptables,
  type Ruleset,
} from "../../src/filter/iptables/index.ts";
import type { ConntrackOptions } from "../../src/filter/netfilter/index.ts";
import { append, createBatch, decodeRow, type PacketBatch, rowBytes } from "../../src/packet/index.ts";

export const emptyV4: Ruleset = { family: 4, tables: {} };
export const emptyV6: Ruleset = { family: 6, tables: {} };

export function ip(text: string): Ip {
  const value = parseIp(text);
  if (value === undefined) throw new Error(`not an address: ${text}`);
  return value;
}

export interface Clock {
  ns: number;
}

export const nodeAddress = "192.0.2.1";

export function linkContext(clock: Clock = { ns: 0 }, seed = 1): LinkContext {
  return {
    facts: {
      name: "node-1",
      generation: 0,
      interfaces: [
        { index: 1, name: "lo", isLoopback: true, addresses: [{ ...ip("127.0.0.1"), prefix: 8 }] },
        {
          index: 2,
          name: "eth0",
          isLoopback: false,
          addresses: [
            { ...ip(nodeAddress), prefix: 24 },
            { ...ip("2001:db8::1"), prefix: 64 },
          ],
        },
        { index: 3, name: "azv1", isLoopback: false, addresses: [] },
        { index: 4, name: "azv22", isLoopback: false, addresses: [] },
      ],
      localAddresses: [ip(nodeAddress), ip("2001:db8::1")],
      routeTo: () => 2,
    },
    nowNs: () => clock.ns,
    random: createPrng(seed),
  };
}

export interface Passage {
  readonly verdict: number;
  readonly rule: number;
  readonly detail: number;
  readonly mark: number;
  readonly ctState: number;
  /** The packet as it left the last hook. */
  readonly bytes: Uint8Array;
  readonly emitted: readonly Uint8Array[];
  /** What each emitted packet knows of its connection. */
  readonly emittedStates: readonly { readonly ctState: number; readonly ctEntry: number }[];
  readonly events: readonly HookEvent[];
  readonly batch: PacketBatch;
}

export interface PassOptions {
  readonly iif?: number;
  readonly oif?: number;
  readonly mark?: number;
  /** Of `CtState`; default: not looked up yet. */
  readonly ctState?: number;
  readonly ctEntry?: number;
}

export const forwardPath: readonly number[] = [Hook.prerouting, Hook.forward, Hook.postrouting];

/** A linked node and its packets. */
export class TestNode {
  readonly clock: Clock = { ns: 0 };
  readonly datapath: IptablesDatapath;
  readonly #batch = createBatch(1, 2048);
  readonly #out = createHookResults(1);

  constructor(tables: Partial<IptablesTables> = {}, conntrack?: Partial<ConntrackOptions>, seed = 1) {
    const whole: IptablesTables = { v4: emptyV4, v6: emptyV6, sets: new Map(), ...tables };
    this.datapath = linkIptables(whole, linkContext(this.clock, seed), conntrack);
  }

  /** Carries a packet through hooks until one does not accept it. */
  pass(packet: Uint8Array, hooks: readonly number[] = forwardPath, options: PassOptions = {}): Passage {
    const [batch, out] = [this.#batch, this.#out];
    batch.length = 0;
    batch.used = 0;
    if (append(batch, packet) !== 0) throw new Error("the packet does not fit the test's batch");
    decodeRow(batch, 0);
    batch.state.iif[0] = options.iif ?? 3;
    batch.state.oif[0] = options.oif ?? 4;
    batch.state.mark[0] = options.mark ?? 0;
    batch.state.ctState[0] = options.ctState ?? 0;
    batch.state.ctEntry[0] = options.ctEntry ?? 0;
    out.emitted.length = 0;
    out.emitted.used = 0;
    out.events.length = 0;
    for (const hook of hooks) {
      this.datapath.run(hook, batch, 0, 1, out);
      if (out.verdict[0] !== Verdict.accept) break;
    }
    return {
      verdict: out.verdict[0] ?? -1,
      rule: out.rule[0] ?? -1,
      detail: out.detail[0] ?? 0,
      mark: batch.state.mark[0] ?? 0,
      ctState: batch.state.ctState[0] ?? 0,
      bytes: rowBytes(batch, 0).slice(),
      emitted: Array.from({ length: out.emitted.length }, (_, i) => rowBytes(out.emitted, i).slice()),
      emittedStates: Array.from({ length: out.emitted.length }, (_, i) => ({
        ctState: out.emitted.state.ctState[i] ?? 0,
        ctEntry: out.emitted.state.ctEntry[i] ?? 0,
      })),
      events: [...out.events],
      batch,
    };
  }
}
