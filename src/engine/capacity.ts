/**
 * How far a product carries: limits that it has beside those of the tables it makes, and the memory that its agent
 * takes on a node. Data of each engine, in its own folder; every figure says how it is known.
 */
import type { Evidence } from "../filter/index.ts";
import type { ClusterState, Node } from "../k8s/index.ts";
import type { NodeTables } from "./engine.ts";

/** A node with what an engine made for it. */
export interface CapacityPlace {
  readonly state: ClusterState;
  readonly node: Node;
  readonly tables: NodeTables;
}

export interface Sourced {
  readonly evidence: Evidence;
  readonly source: string;
}

/** Something that there may be only so many of. */
export interface CapacityLimit extends Sourced {
  /** Stable, kebab-case. */
  readonly id: string;
  /** What is counted, in the plural: `nodes of the cluster`. */
  readonly what: string;
  readonly max: number;
  /** What happens past it. */
  readonly beyond: string;
  /** How many there are, in the cluster or on this node. */
  used(place: CapacityPlace): number;
}

/** A part of an agent's memory. */
export interface MemoryPart extends Sourced {
  readonly what: string;
  readonly bytes: number;
  /** It does not grow with the cluster. */
  readonly isFixed?: true;
}

/** How a product names a group of the stores that its tables are in (`StoreUsage.group`), and what a full one means. */
export interface StoreWords {
  readonly id: string;
  readonly what: string;
  readonly source: string;
  readonly beyond: string;
}

/** What is known of an engine's capacity. */
export interface EngineCapacity {
  readonly limits: readonly CapacityLimit[];
  /** In the end as `agentMemoryMax` counts: all of a container's. */
  agentMemory(place: CapacityPlace): readonly MemoryPart[];
  readonly agentMemoryMax?: Sourced & { readonly bytes: number; readonly beyond: string };
  readonly stores?: Readonly<Record<string, StoreWords>>;
  /** Codes of the diagnostics that say of tables that not all of them found a place. */
  readonly overflows?: readonly string[];
}
