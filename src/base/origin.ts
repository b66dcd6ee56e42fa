/**
 * Provenance: why a rule, ACL or map entry exists. Attached when the thing is made, never guessed when it fires.
 * A line number is not stored: it is found from `file`, `documentIndex` and `path` when an error or a trace asks.
 */

/** The object of an input that something came from. */
export interface SourceRef {
  readonly file: string;
  /** Index of the YAML document (or 0 for JSON) in the file. */
  readonly documentIndex: number;
  /** Indices in the `items` of `List`s, outermost first, where the object stands in one. */
  readonly items?: readonly number[];
}

export type OriginRole =
  | "select" // picks the pods a policy applies to
  | "allow"
  | "deny"
  | "default-deny" // what isolation drops when nothing allowed it
  | "base"; // the platform's or the engine's own scaffolding

export interface Origin {
  /** API kind (`NetworkPolicy`), or `platform` / `engine` for what no manifest asked for. */
  readonly kind: string;
  /** `namespace/name` of the object, or the component's name (`kube-proxy`, `azure-cni`, `azure-npm`). */
  readonly name: string;
  /** Field path in the object (`spec.ingress[0].from[1]`); `""` for the whole object. */
  readonly path: string;
  readonly role: OriginRole;
  readonly direction?: "ingress" | "egress";
  readonly source?: SourceRef;
}
