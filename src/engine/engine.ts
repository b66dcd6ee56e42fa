/**
 * What an engine is: a compiler (pure, steady state) and an agent (everything with a past). Compilers produce data
 * and never run it. An engine is one product at one version on one node system.
 */
import type { Origin, Prng } from "../base/index.ts";
import type { BpfTables } from "../filter/bpf/index.ts";
import type { HnsTables } from "../filter/hns/index.ts";
import type { ApplyResult, TableOp } from "../filter/index.ts";
import type { IptablesTables } from "../filter/iptables/index.ts";
import type {
  Cell,
  ClusterState,
  ClusterWords,
  Connection,
  ManifestInput,
  Node,
  ServiceEnd,
  VendorKind,
  WatchedObject,
} from "../k8s/index.ts";
import type { EngineCapacity } from "./capacity.ts";

export type { CapacityPlace, EngineCapacity, MemoryPart } from "./capacity.ts";

/** Products that engines belong to. */
export type ProductName = "azure-npm" | "calico" | "calico-ebpf" | "cilium" | "none" | "program";

/** Repr of each kind of filter table; a node may carry several. */
export interface TablesByKind {
  readonly iptables: IptablesTables;
  readonly hns: HnsTables;
  readonly bpf: BpfTables;
}
export type Kind = keyof TablesByKind;
/** The tables of one node, by kind. */
export type NodeTables = { readonly [K in Kind]?: TablesByKind[K] };

/** What an engine cannot express, worded as the real engine logs it; the run goes on as the real engine would. */
export interface Diagnostic {
  /** Stable, kebab-case. */
  readonly code: string;
  readonly severity: "info" | "warning" | "error";
  /** `namespace/name` of the policy concerned, or `undefined`. */
  readonly policy: string | undefined;
  readonly message: string;
  readonly origin?: Origin;
}

/** A documented difference between an engine and the oracle (or the platform without engine). */
export interface Divergence {
  readonly id: string;
  readonly cause: string;
  readonly source: string;
  readonly versions: string;
  /**
   * The engine's verdict where this divergence makes it differ from what the API says, else `null`. Written from the
   * source's statement over API objects, never from tables. Must be `null` where the verdicts agree anyway.
   * `expected` is the oracle's verdict of the same cell; where the API leaves it open, a divergence may still say what
   * the engine does, so that two engines can be told apart. Services' addresses are translated before anyone asks:
   * `cell.via` says how.
   */
  when(state: ClusterState, cell: Cell, expected: "allow" | "deny" | "undefined"): "allow" | "deny" | null;
  /**
   * The engine's verdict where this divergence keeps a Service's address from being translated as the API says, whatever
   * its backends; else `null`.
   */
  whenService?(
    state: ClusterState,
    connection: Connection & { readonly to: ServiceEnd },
  ): "allow" | "deny" | "some" | null;
}

export type FeatureSupport = "yes" | "no" | "partial";

/** Rows of the feature table of `podwire engines`. */
export interface EngineFeatures {
  readonly platforms: readonly string[];
  readonly networkPlugins: readonly string[];
  readonly filters: string;
  readonly features: Readonly<Record<string, { readonly support: FeatureSupport; readonly note?: string }>>;
  /** API kinds of its own, beside NetworkPolicy, that it obeys. */
  readonly beyond?: readonly string[];
  /** Rows that no other engine has: where a cluster has to do with one. Those of NetworkPolicy are in `featureUses`. */
  readonly ownUses?: FeatureUses;
}

/** Has a connection in a cluster to do with a feature? By its name in the table. */
export type FeatureUses = Readonly<Record<string, (state: ClusterState, connection: Connection) => boolean>>;

/** What an engine makes for one node. */
export interface CompiledNode {
  readonly tables: NodeTables;
  readonly diagnostics: readonly Diagnostic[];
}

/** One event of the API server's watch stream, with the cluster as it is after the event. */
export interface WatchEvent {
  readonly type: "added" | "modified" | "deleted";
  readonly object: WatchedObject;
  readonly old: WatchedObject | undefined;
  readonly state: ClusterState;
}

/** What an agent may do to the world. All calls are synchronous in virtual time. */
export interface AgentContext {
  readonly node: Node;
  readonly random: Prng;
  nowNs(): number;
  /** The node's tables as they are now, as `iptables -S` would list them. */
  tables(): NodeTables;
  apply(op: TableOp): ApplyResult;
  log(diagnostic: Diagnostic): void;
  /** Asks for `wake()` at virtual time `atNs`; a later call replaces an earlier one. */
  wakeAt(atNs: number): void;
}

/** The stateful half. Handling the same quiet end state must end at `compile`'s tables, whatever came before. */
export interface Agent {
  /** Boot: clears what an earlier life left, writes base chains. The state is what the first list call returns. */
  start(state: ClusterState): void;
  event(event: WatchEvent): void;
  wake(): void;
  /** Uninstall: removes what the agent made. */
  stop(): void;
}

/** A node whose tables are to be listed. */
export interface ListingContext {
  readonly node: Node;
  readonly tables: NodeTables;
  /** Number of an interface of the node; `undefined` for one that is not there. */
  interfaceIndex(name: string): number | undefined;
}

/** One product at one version on one node system: a pure compiler and an agent. */
export interface Engine {
  /** `azure-npm-linux`, `none-linux`... */
  readonly name: string;
  readonly product: ProductName;
  readonly os: "linux" | "windows";
  /** The resolved version (never "default"), as printed in results. */
  readonly version: string;
  readonly switches: Readonly<Record<string, string>>;
  readonly features: EngineFeatures;
  readonly divergences: readonly Divergence[];
  /** Tables of kinds that the platform may lack, as its agent finds them on a node. */
  readonly firstTables?: NodeTables;
  /** Its tables are on the nodes from the beginning, as `compile` makes them; no agent ever changes them. */
  readonly isStatic?: true;
  /**
   * Steady state of a cluster. Node-independent parts are built once, frozen and shared by identity; `base` is what
   * the platform put on the node, and tables of equal `base` identity are again shared.
   */
  compile(state: ClusterState): (node: Node, base: NodeTables) => CompiledNode;
  agent(context: AgentContext): Agent;
  /** Limits of its own, and what its agent takes; absent: none are known. */
  readonly capacity?: EngineCapacity;
  /** A node's tables as the product's own tools list them: content by file name. */
  readonly listings?: (state: ClusterState, context: ListingContext) => ReadonlyMap<string, string>;
}

/** Tables that a person brings instead of an engine, as they stand on the nodes of a cluster. */
export interface TableSource {
  /** What its filter is, for the feature table (`iptables and ipset dump`, `BPF program at tc-ingress`). */
  readonly filters: string;
  /**
   * Dumps take the place of the platform's tables of their kind, programs stand beside them. @throws InputError where
   * they are not of this cluster.
   */
  on(state: ClusterState): (node: Node, base: NodeTables) => CompiledNode;
}

/** One live node, out of what its own tools list of it. */
export interface ListedNode {
  isOf(node: Node): boolean;
  on: TableSource["on"];
}

/** How listings of live nodes are read. */
export interface ListingReader {
  readonly filters: string;
  isListing(file: string): boolean;
  /** Files of one node, by name. @throws InputError with file, line and column of whatever is not understood. */
  read(files: ReadonlyMap<string, ManifestInput>): ListedNode;
}

export interface SwitchSpec {
  readonly name: string;
  readonly values: readonly string[];
  readonly summary: string;
}

/** One line of the registry: how to make an engine of a version with switches. */
export interface EngineDefinition {
  readonly name: string;
  readonly product: ProductName;
  readonly os: "linux" | "windows";
  /** Oldest first. */
  readonly versions: readonly string[];
  readonly defaultVersion: string;
  readonly switches: readonly SwitchSpec[];
  /** What `az aks create` is told to get this product. */
  readonly aks: ClusterWords;
  /** Its version by that of Kubernetes (`1.33`), oldest first, where AKS ties them; absent: any goes with any. */
  readonly kubernetesVersions?: ReadonlyMap<string, string>;
  /** API kinds of its own, which loaders then take. */
  readonly resources?: readonly VendorKind[];
  /** Listings of its own tools, which then stand where an engine may. */
  readonly listings?: ListingReader;
  /** `switches` holds only declared names with declared values. */
  create(version: string, switches: Readonly<Record<string, string>>): Engine;
}
