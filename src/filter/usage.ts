/**
 * What tables take in the kernel, and how full it is: figures about data, computed without linking it. Each kind
 * measures its own tables; bytes are those that the kernel itself would report where it reports any.
 */

/** How a figure is known: stated by the platform (its source, its documentation), or worked out by this project. */
export type Evidence = "documented" | "inferred";

/** A kind of thing in the kernel that fills up or takes memory. */
export interface StoreKind {
  /** `ipset`, `BPF map`... */
  readonly name: string;
  /** What its entries are called, in the plural. */
  readonly entries: string;
  /** How the bytes are known; absent: nobody says, and `StoreUsage.bytes` is `undefined`. */
  readonly memory?: { readonly evidence: Evidence; readonly source: string };
  /** What a full one does with a further entry. */
  readonly whenFull?: { readonly source: string; readonly beyond: string };
}

/** One of them on a node. */
export interface StoreUsage {
  readonly kind: StoreKind;
  /** As the platform's own tool prints it. */
  readonly name: string;
  /** Stores that are alike: of each group a summary names the fullest. */
  readonly group: string;
  readonly entries: number;
  /** Absent: as many as memory holds. */
  readonly entriesMax?: number;
  readonly bytes: number | undefined;
}
