/**
 * How far a cluster's tables and agents carry: on each node what they take in the kernel and in the agent, and of every
 * hard limit how much is used, computed from the tables themselves. Which limit breaks first is the one that is used most,
 * at the size where all of the cluster grows alike.
 */
import type { CapacityPlace, EngineCapacity, MemoryPart, Sourced } from "../engine/index.ts";
import type { Evidence, StoreUsage } from "../filter/index.ts";
import type { ClusterState, Node } from "../k8s/index.ts";
import { compileCluster } from "./compose.ts";
import type {
  CapacityLimitDocument,
  CapacityNodeDocument,
  CapacityResultDocument,
  CapacityStoreDocument,
} from "./documents.ts";
import { tablesUsage } from "./kinds.ts";
import { diagnosticDocument, diagnosticText } from "./matrix.ts";
import { engineFor, type ProductSelection } from "./selection.ts";

/** What to measure on. */
export interface CapacityOptions {
  /** Processors of a node: the kernel keeps counters for each. Default: 4. */
  readonly processors?: number;
  /** All nodes, not the worst alone. */
  readonly allNodes?: boolean;
}

/** Default of `CapacityOptions.processors`: as many as AKS's usual sizes of nodes have. */
export const capacityProcessors = 4;

/** What one engine takes in the cluster. */
export function computeCapacity(
  state: ClusterState,
  selection: ProductSelection,
  { processors = capacityProcessors, allNodes = false }: CapacityOptions = {},
): CapacityResultDocument {
  const diagnostics = new Map<string, ReturnType<typeof diagnosticDocument>>();
  const nodes: CapacityNodeDocument[] = [];
  const limits = new LimitTable();
  for (const [name, compiled] of compileCluster(state, selection)) {
    const node = state.nodes.get(name) as Node;
    const { capacity } = engineFor(selection, node.os);
    for (const one of compiled.diagnostics)
      if (capacity?.overflows?.includes(one.code))
        diagnostics.set(diagnosticText(one), diagnosticDocument(one));
    const usages = tablesUsage(compiled.tables, processors);
    const place: CapacityPlace = { state, node, tables: compiled.tables };
    const agent = capacity?.agentMemory(place) ?? [];
    nodes.push(nodeDocument(node, usages, agent));
    for (const usage of usages) limits.addStore(node, usage, capacity);
    if (capacity !== undefined) limits.addEngine(place, agent, capacity);
  }
  const sorted = limits.sorted();
  for (const limit of sorted) {
    const diagnostic = exceeded(limit);
    if (diagnostic !== undefined) diagnostics.set(limit.id, diagnostic);
  }
  const worst = worstOf(nodes);
  const first = limits.breaksFirst();
  return {
    engine: selection.label,
    engineVersion: selection.version,
    ...(worst === undefined ? {} : { worstNode: worst.node }),
    ...(first === undefined
      ? {}
      : { breaksFirst: { limit: first.limit, atScale: rounded(first.atScale, 2) } }),
    limits: sorted,
    nodes: allNodes ? nodes : nodes.filter((node) => node === worst),
    diagnostics: [...diagnostics.values()],
  };
}

/** The node whose kernel and agent take most; where nobody says what they take, the one with most entries. */
function worstOf(nodes: readonly CapacityNodeDocument[]): CapacityNodeDocument | undefined {
  const weight = ({ kernelBytes, agentBytes, stores }: CapacityNodeDocument): readonly [number, number] => [
    (kernelBytes ?? 0) + (agentBytes ?? 0),
    stores.reduce((sum, { entries }) => sum + entries, 0),
  ];
  return nodes.reduce<CapacityNodeDocument | undefined>((worst, node) => {
    if (worst === undefined) return node;
    const [[bytes, entries], [most, mostEntries]] = [weight(node), weight(worst)];
    return bytes > most || (bytes === most && entries > mostEntries) ? node : worst;
  }, undefined);
}

function nodeDocument(
  { name, os }: Node,
  usages: readonly StoreUsage[],
  agent: readonly MemoryPart[],
): CapacityNodeDocument {
  const groups = new Map<string, StoreUsage[]>();
  for (const usage of usages) {
    const key = `${usage.kind.name}\n${usage.group}`;
    const group = groups.get(key);
    if (group === undefined) groups.set(key, [usage]);
    else group.push(usage);
  }
  const stores = [...groups.values()].map(storeDocument);
  return {
    node: name,
    os,
    // no sum where no part is known
    ...(stores.some(({ bytes }) => bytes !== undefined) ? { kernelBytes: bytesOf(stores) } : {}),
    ...(agent.length === 0 ? {} : { agentBytes: bytesOf(agent) }),
    stores,
    agent: agent.map(({ what, bytes, evidence, source }) => ({ what, bytes, evidence, source })),
  };
}

function bytesOf(parts: readonly { readonly bytes?: number }[]): number {
  return parts.reduce((sum, { bytes = 0 }) => sum + bytes, 0);
}

function storeDocument(group: readonly StoreUsage[]): CapacityStoreDocument {
  const fullest = group.reduce((most, one) => (one.entries > most.entries ? one : most));
  const { kind } = fullest;
  return {
    store: kind.name,
    group: fullest.group,
    count: group.length,
    entries: group.reduce((sum, { entries }) => sum + entries, 0),
    unit: kind.entries,
    fullest: { name: fullest.name, entries: fullest.entries },
    ...(kind.memory === undefined
      ? {}
      : { bytes: group.reduce((sum, { bytes }) => sum + (bytes ?? 0), 0), ...kind.memory }),
  };
}

/** Of every limit the place where it is used most. */
class LimitTable {
  readonly #limits = new Map<string, CapacityLimitDocument>();
  /** How many times the cluster it takes to meet a limit, where parts of what is used do not grow with it. */
  readonly #scales = new Map<string, number>();

  addStore(
    node: Node,
    { kind, name, group, entries, entriesMax }: StoreUsage,
    capacity?: EngineCapacity,
  ): void {
    if (entriesMax === undefined || kind.whenFull === undefined) return;
    const words = capacity?.stores?.[group];
    const id = words?.id ?? `${kind.name}: ${group}`;
    if (!this.#isMore(id, entries)) return;
    this.#add({
      id,
      what: words?.what ?? `${kind.entries} of ${kind.name} (${group})`,
      where: { node: node.name, store: name },
      used: entries,
      max: entriesMax,
      unit: "entries",
      usedEvidence: "counted",
      evidence: "documented",
      ...(words === undefined ? kind.whenFull : { source: words.source, beyond: words.beyond }),
    });
  }

  addEngine(
    place: CapacityPlace,
    agent: readonly MemoryPart[],
    { limits, agentMemoryMax }: EngineCapacity,
  ): void {
    for (const { id, what, max, evidence, source, beyond, used } of limits) {
      const count = used(place);
      if (!this.#isMore(id, count)) continue;
      this.#add({
        id,
        what,
        used: count,
        max,
        unit: "entries",
        usedEvidence: "counted",
        evidence,
        source,
        beyond,
      });
    }
    const [bytesUsed, fixed] = [bytesOf(agent), bytesOf(agent.filter(({ isFixed }) => isFixed === true))];
    if (agentMemoryMax === undefined || !this.#isMore("agent-memory", bytesUsed)) return;
    const { bytes, ...sourced }: Sourced & { readonly bytes: number; readonly beyond: string } =
      agentMemoryMax;
    this.#add({
      id: "agent-memory",
      what: "memory of the agent's container",
      where: { node: place.node.name },
      used: bytesUsed,
      max: bytes,
      unit: "bytes",
      usedEvidence: "inferred",
      ...sourced,
    });
    this.#scales.set("agent-memory", (bytes - fixed) / (bytesUsed - fixed));
  }

  /** Of the limits that are used at all. */
  breaksFirst(): { readonly limit: string; readonly atScale: number } | undefined {
    return this.sorted()
      .filter(({ used }) => used > 0)
      .map(({ id, used, max }) => ({ limit: id, atScale: this.#scales.get(id) ?? max / used }))
      .reduce<{ readonly limit: string; readonly atScale: number } | undefined>(
        (first, one) => (first === undefined || one.atScale < first.atScale ? one : first),
        undefined,
      );
  }

  /** Most used first; of equal ones in the order in which they came. */
  sorted(): readonly CapacityLimitDocument[] {
    return [...this.#limits.values()].sort((a, b) => b.used / b.max - a.used / a.max);
  }

  #isMore(id: string, used: number): boolean {
    return used > (this.#limits.get(id)?.used ?? -1);
  }

  #add(limit: Omit<CapacityLimitDocument, "percent">): void {
    this.#limits.set(limit.id, { ...limit, percent: rounded((100 * limit.used) / limit.max, 1) });
  }
}

/** The engine's tables never hold more than fits: full is where it began to break. */
function exceeded(limit: CapacityLimitDocument): ReturnType<typeof diagnosticDocument> | undefined {
  const { id, what, used, max, unit, where, evidence, usedEvidence, beyond } = limit;
  const isFull = where?.store !== undefined && used >= max;
  if (used <= max && !isFull) return undefined;
  const known: readonly (Evidence | "counted")[] = [evidence, usedEvidence];
  const place = where === undefined ? "" : ` on ${[where.node, where.store].filter(Boolean).join(", ")}`;
  const [have, most] = unit === "bytes" ? [mebibytes(used), mebibytes(max)] : [used, max];
  return diagnosticDocument({
    code: "limit-exceeded",
    severity: known.includes("inferred") ? "warning" : "error",
    policy: undefined,
    message: `${id}: ${have} of ${most} ${what}${place}: ${beyond}`,
  });
}

const mebibytes = (bytes: number): string => `${rounded(bytes / 2 ** 20, 1)} MiB`;

function rounded(value: number, digits: number): number {
  return Math.round(value * 10 ** digits) / 10 ** digits;
}
