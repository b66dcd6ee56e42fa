/** One Linux node with NPM's agent on it: tables that obey, a clock that the test turns, and a record of what was done. */
import { createPrng } from "../../../src/base/index.ts";
import type { Agent, Diagnostic, NodeTables } from "../../../src/engine/index.ts";
import { platformTables } from "../../../src/engine/platform/index.ts";
import type { TableOp } from "../../../src/filter/index.ts";
import { entryText, type IpsetCommand } from "../../../src/filter/ipset/index.ts";
import { type IptablesOp, type RuleCommand, ruleText } from "../../../src/filter/iptables/index.ts";
import type { ProductSelection } from "../../../src/harness/index.ts";
import { linkTables } from "../../../src/harness/kinds.ts";
import { type ClusterState, type Node, stateChanges } from "../../../src/k8s/index.ts";
import { linkContext } from "../../filter/node.ts";
import { npm } from "./npm.ts";

export class LiveNode {
  readonly diagnostics: Diagnostic[] = [];
  /** Operations since the last `takeOps`, one line a command. */
  readonly #ops: string[] = [];
  readonly #linked: NonNullable<ReturnType<typeof linkTables>>;
  readonly #agent: Agent;
  #state: ClusterState;
  #nowNs = 0;
  wakeAtNs: number | undefined;

  constructor(state: ClusterState, selection: ProductSelection = npm()) {
    this.#state = state;
    const node: Node | undefined = state.nodes.get("n1");
    const engine = selection.engines.linux;
    const linked = node && linkTables(platformTables(state, node), linkContext());
    if (node === undefined || engine === undefined || linked === undefined)
      throw new Error("there is a Linux node n1, and the engine runs on it");
    this.#linked = linked;
    this.#agent = engine.agent({
      node,
      random: createPrng(1),
      nowNs: () => this.#nowNs,
      tables: () => linked.tables(),
      apply: (op) => {
        this.#ops.push(...describeOp(op));
        return linked.datapath.apply(op);
      },
      log: (diagnostic) => this.diagnostics.push(diagnostic),
      wakeAt: (atNs) => {
        this.wakeAtNs = atNs;
      },
    });
    this.#agent.start(state);
  }

  get state(): ClusterState {
    return this.#state;
  }

  tables(): NodeTables {
    return this.#linked.tables();
  }

  edit(after: ClusterState): void {
    const before = this.#state;
    this.#state = after;
    for (const { type, object, old } of stateChanges(before, after))
      this.#agent.event({ type, object, old, state: after });
  }

  restart(): void {
    this.#agent.start(this.#state);
  }

  stop(): void {
    this.#agent.stop();
  }

  /** The reconcile task runs. */
  reconcile(): void {
    this.#nowNs = this.wakeAtNs ?? this.#nowNs;
    this.#agent.wake();
  }

  /** Another program changes the node's tables. */
  interfere(op: IptablesOp): void {
    const result = this.#linked.datapath.apply(op);
    if (!result.ok) throw new Error(result.message);
  }

  takeOps(): readonly string[] {
    return this.#ops.splice(0);
  }
}

function describeOp(op: TableOp): readonly string[] {
  const known = op as IptablesOp;
  return known.kind === "ipset-restore" ? known.commands.map(setLine) : known.commands.map(ruleLine);
}

function setLine(command: IpsetCommand): string {
  const entry = "entry" in command ? ` ${entryText(command.entry)}` : "";
  return `ipset ${command.op} ${"name" in command ? command.name : ""}${entry}`;
}

function ruleLine(command: RuleCommand): string {
  if (!("rule" in command)) return `iptables ${command.op} ${command.chain}`;
  const number = "number" in command ? ` ${command.number}` : "";
  return `iptables ${command.op}${number} ${ruleText(command.chain, command.rule).replace(/^-A /, "")}`;
}
