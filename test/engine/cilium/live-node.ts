/** One node with Cilium's agent on it: tables that obey, a clock that the test turns, and a record of what was done. */
import { createPrng } from "../../../src/base/index.ts";
import type { Agent, Diagnostic, NodeTables } from "../../../src/engine/index.ts";
import { platformTables } from "../../../src/engine/platform/index.ts";
import { type BpfOp, contentOf, MapType } from "../../../src/filter/bpf/index.ts";
import type { TableOp } from "../../../src/filter/index.ts";
import { saveRuleset } from "../../../src/filter/iptables/index.ts";
import { type ProductSelection, parseSelection } from "../../../src/harness/index.ts";
import { linkTables } from "../../../src/harness/kinds.ts";
import { type ClusterState, type Node, stateChanges } from "../../../src/k8s/index.ts";
import { linkContext } from "../../filter/node.ts";

export function cilium(label = "cilium"): ProductSelection {
  const selection = parseSelection(label);
  if (selection.kind !== "product") throw new Error(`${label} is no product`);
  return selection;
}

/** Maps that agents write; the others are the programs' own. */
const written =
  /^(\.rodata\.config|cilium_(lxc|ipcache|policy.*|lb\d_(services|backends|reverse_nat|source_range).*))$/;

/** Rules, programs and written maps as text, whatever the order of maps and entries. */
export function tablesText({ iptables, bpf }: NodeTables): string {
  if (iptables === undefined || bpf === undefined) throw new Error("a node of Cilium has both kinds");
  const maps = bpf.maps
    .filter(({ name }) => written.test(name))
    .flatMap((map) => [
      map.name,
      ...contentOf(map).map(({ key, value }) => {
        const place = (): number => new DataView(value.buffer, value.byteOffset).getUint32(0, true);
        const text = map.type === MapType.hashOfMaps ? bpf.maps[place()]?.name : value.join(" ");
        return `${map.name} ${key.join(" ")}: ${text}`;
      }),
    ]);
  const programs = bpf.programs.map(({ name, instructions }) => `${name} ${instructions.length}`);
  return [saveRuleset(iptables.v4), saveRuleset(iptables.v6), ...maps.sort(), ...programs].join("\n");
}

export class LiveNode {
  readonly diagnostics: Diagnostic[] = [];
  /** Operations on maps since the last `takeOps`. */
  #ops: BpfOp[] = [];
  readonly #node: Node;
  readonly #selection: ProductSelection;
  readonly #linked: NonNullable<ReturnType<typeof linkTables>>;
  readonly #agent: Agent;
  #state: ClusterState;
  readonly #clock = { ns: 0 };
  #wakeAtNs: number | undefined;

  constructor(state: ClusterState, selection: ProductSelection = cilium()) {
    const node = state.nodes.get("n1");
    const engine = selection.engines.linux;
    const linked = node && linkTables(platformTables(state, node), linkContext(this.#clock));
    if (node === undefined || engine === undefined || linked === undefined)
      throw new Error("there is a Linux node n1, and the engine runs on it");
    this.#state = state;
    this.#node = node;
    this.#selection = selection;
    this.#linked = linked;
    this.#agent = engine.agent({
      node,
      random: createPrng(1),
      nowNs: () => this.#clock.ns,
      tables: () => linked.tables(),
      apply: (op) => {
        if (op.kind.startsWith("bpf")) this.#ops.push(op as BpfOp);
        return linked.datapath.apply(op);
      },
      log: (diagnostic) => this.diagnostics.push(diagnostic),
      wakeAt: (atNs) => {
        this.#wakeAtNs = atNs;
      },
    });
    this.#agent.start(state);
  }

  tables(): NodeTables {
    return this.#linked.tables();
  }

  /** As the compiler makes them of the present state, linked like the agent's. */
  compiled(): NodeTables {
    const base = platformTables(this.#state, this.#node);
    const { tables } = this.#selection.engines.linux?.compile(this.#state)(this.#node, base) ?? {};
    const linked = tables && linkTables(tables, linkContext(this.#clock));
    if (linked === undefined) throw new Error("the compiler makes tables");
    return linked.tables();
  }

  edit(after: ClusterState): void {
    const before = this.#state;
    this.#state = after;
    for (const { type, object, old } of stateChanges(before, after))
      this.#agent.event({ type, object, old, state: after });
  }

  advance(durationNs: number): void {
    const end = this.#clock.ns + durationNs;
    while (this.#wakeAtNs !== undefined && this.#wakeAtNs <= end) {
      this.#clock.ns = Math.max(this.#clock.ns, this.#wakeAtNs);
      this.#wakeAtNs = undefined;
      this.#agent.wake();
    }
    this.#clock.ns = end;
  }

  apply(op: TableOp): void {
    const result = this.#linked.datapath.apply(op);
    if (!result.ok) throw new Error(result.message);
  }

  restart(): void {
    this.#agent.start(this.#state);
  }

  stop(): void {
    this.#agent.stop();
  }

  takeOps(): readonly BpfOp[] {
    const ops = this.#ops;
    this.#ops = [];
    return ops;
  }
}
