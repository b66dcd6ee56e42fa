/** One connection attempt as an application makes it, with every hook that its packets pass. */

import { assert, createPrng, type Prng } from "../base/index.ts";
import { type HookResults, hookName, verdictName } from "../filter/index.ts";
import type { ClusterState, Connection } from "../k8s/index.ts";
import { type PacketBatch, rowBytes } from "../packet/index.ts";
import {
  createEventLoop,
  type EventLoop,
  type FlowRequest,
  type HookWatcher,
  Hosts,
  type Network,
} from "../sim/index.ts";
import { printPacket } from "../wire/index.ts";
import { type ConnectionWords, connectionBetween, sendingOf } from "./attempt.ts";
import { emulate } from "./compose.ts";
import type { ProbeDocument, ProbePacketDocument } from "./documents.ts";
import type { SourceEnd, TableEnd } from "./ends.ts";
import type { ProductSelection } from "./selection.ts";

export interface ProbeWords extends ConnectionWords {
  readonly from: SourceEnd;
  readonly to: TableEnd;
  readonly timeoutNs: number;
}

/** `agnhost connect` on steady-state tables. */
export function probeConnection(
  state: ClusterState,
  selection: ProductSelection,
  words: ProbeWords,
  seed: number,
  version: string,
): ProbeDocument {
  const loop = createEventLoop();
  const log = new HookLog(loop);
  const cluster = emulate(state, selection, { seed, network: { loop, watcher: log } });
  const hosts = new Hosts(cluster.network);
  listenOnNodes(state, hosts);
  const connection = connectionBetween(words.from, words.to, words);
  const flow = hosts.connect(flowRequest(cluster.network, connection, createPrng(seed)), words.timeoutNs);
  return {
    schema: "podwire/probe/v1",
    version,
    seed,
    engine: selection.label,
    from: words.from.id,
    to: words.to.id,
    protocol: words.protocol,
    port: words.port,
    outcome: flow.outcome,
    elapsedNs: flow.elapsedNs,
    packets: log.packets,
  };
}

/** The flow between two ends; hosts outside the cluster come to exist on the way. Both ends have the family. */
export function flowRequest(network: Network, connection: Connection, random: Prng): FlowRequest {
  const sending = sendingOf(network, connection, random);
  assert(sending !== undefined, `the ends have addresses of IPv${connection.family}`);
  const { protocol, port } = connection;
  return { ...sending, protocol, port };
}

/** A node answers on the ports of its hostNetwork pods. */
export function listenOnNodes(state: ClusterState, hosts: Hosts): void {
  const pods = [...state.pods.values()].filter((pod) => pod.hostNetwork);
  for (const name of state.nodes.keys()) {
    const ports = pods.filter((pod) => pod.nodeName === name).flatMap((pod) => pod.ports);
    hosts.listen(
      `node:${name}`,
      ports.map(({ protocol, containerPort }) => ({ protocol, port: containerPort })),
    );
  }
}

/** Writes down each packet at each hook. */
class HookLog implements HookWatcher {
  readonly packets: ProbePacketDocument[] = [];
  readonly #loop: EventLoop;
  #line = "";

  constructor(loop: EventLoop) {
    this.#loop = loop;
  }

  before(_node: string, _hook: number, _datapath: unknown, batch: PacketBatch, row: number): undefined {
    this.#line = printPacket(rowBytes(batch, row));
    return undefined;
  }

  after(node: string, hook: number, results: HookResults, row: number): void {
    const verdict = verdictName[results.verdict[row] ?? 0] ?? "accept";
    this.packets.push({
      atNs: this.#loop.nowNs(),
      node,
      hook: hookName[hook] ?? String(hook),
      line: this.#line,
      verdict,
    });
  }
}
