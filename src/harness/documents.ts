/**
 * Result documents: what `-o json` prints and what reports are made of. Plain data, byte-identical for equal input.
 * Shapes are the public contract of the command line; a change of meaning makes a new `schema` version.
 */
import type { TrafficShape } from "./traffic.ts";

interface Document<Name extends string> {
  readonly schema: `podwire/${Name}/v1`;
  /** podwire's own version. */
  readonly version: string;
}

interface SeededDocument<Name extends string> extends Document<Name> {
  readonly seed: number;
}

/** What an engine could not express, in its own words. */
export interface DiagnosticDocument {
  readonly engine?: string;
  readonly code: string;
  readonly severity: "info" | "warning" | "error";
  readonly policy?: string;
  readonly message: string;
  readonly file?: string;
  readonly line?: number;
}

/**
 * One end of the truth table. `id` is an end as the command line takes it (`x/a`, `node:n1`, `svc:x/web`, `lb:x/web`,
 * `ip:10.0.0.0/8`).
 */
export interface EndpointDocument {
  readonly id: string;
  readonly kind: "pod" | "node" | "service" | "external";
  readonly node?: string;
  readonly addresses: readonly string[];
  /** `Deployment/frontend`: the workload a pod belongs to. */
  readonly owner?: string;
  readonly hostNetwork?: true;
}

/** `undefined`: the API leaves it open (oracle only); `some`: a Service's backends differ. */
export type CellVerdict = "allow" | "deny" | "undefined" | "some";

/** One new connection of a truth table. */
export interface CellDocument {
  readonly from: string;
  readonly to: string;
  readonly protocol: string;
  /** Absent for ICMP. */
  readonly port?: number;
  readonly type?: number;
  /** Dual stack only. */
  readonly family?: 4 | 6;
  readonly verdict: CellVerdict;
  readonly by?: "egress" | "ingress" | "both";
  readonly self?: true;
  /** Between classes, where the answer depends on where their members stand. */
  readonly place?: "same-node" | "other-node";
}

/** Ends that every cell treats alike. */
export interface ClassDocument {
  readonly id: string;
  readonly kind: EndpointDocument["kind"];
  readonly count: number;
  readonly members: readonly string[];
}

/** One engine's part of a truth table. */
export interface EngineMatrix {
  readonly engine: string;
  readonly engineVersion: string;
  readonly method: "walk" | "table" | "oracle";
  /** Above 200,000 cells: what `from` and `to` of the cells name then, instead of ends. */
  readonly classes?: readonly ClassDocument[];
  readonly cells: readonly CellDocument[];
  readonly diagnostics: readonly DiagnosticDocument[];
}

/** What `matrix` prints: verdicts of every ordered pair of ends. */
export interface MatrixDocument extends SeededDocument<"matrix"> {
  readonly endpoints: readonly EndpointDocument[];
  readonly ports: readonly { readonly protocol: string; readonly port?: number; readonly type?: number }[];
  readonly results: readonly EngineMatrix[];
}

export interface ProbePacketDocument {
  readonly atNs: number;
  readonly node: string;
  readonly hook: string;
  readonly line: string;
  readonly verdict: string;
}

/** What `probe` prints: one attempt's outcome. */
export interface ProbeDocument extends SeededDocument<"probe"> {
  readonly engine: string;
  readonly from: string;
  readonly to: string;
  readonly protocol: string;
  readonly port: number;
  readonly outcome: "connected" | "refused" | "timeout";
  readonly elapsedNs: number;
  readonly packets: readonly ProbePacketDocument[];
}

/** The object and line that a rule was made for. */
export interface TraceOriginDocument {
  readonly file?: string;
  readonly line?: number;
  readonly policy?: string;
  readonly path?: string;
  readonly role?: string;
  readonly direction?: "ingress" | "egress";
}

/** A rule that matched, or the nearest miss. */
export interface TraceEntryDocument {
  readonly node: string;
  readonly hook: string;
  readonly table: string;
  readonly chain: string;
  /** Jump depth below the hook's built-in chain. */
  readonly depth: number;
  /** 1-based number in its chain; 0 for the chain's policy. */
  readonly rule: number;
  readonly text: string;
  readonly matched: boolean;
  /** For a near miss: why it did not match. */
  readonly why?: string;
  readonly origin?: TraceOriginDocument;
  /** Where several things are behind it: those after the first. */
  readonly furtherOrigins?: readonly TraceOriginDocument[];
  /** The rule that dropped or rejected the packet. */
  readonly decided?: true;
}

/** One packet's way through one node's hooks. */
export interface TracePacketDocument {
  readonly line: string;
  readonly direction: "request" | "reply";
  readonly disposition: string;
  readonly at?: string;
  /** Every hook that the packet passed, in order. */
  readonly hooks: readonly { readonly node: string; readonly hook: string; readonly verdict: string }[];
  readonly entries: readonly TraceEntryDocument[];
}

/** What `trace` prints: a connection's packets, rule by rule. */
export interface TraceDocument extends SeededDocument<"trace"> {
  readonly engine: string;
  readonly engineVersion: string;
  readonly from: string;
  readonly to: string;
  readonly protocol: string;
  readonly port: number;
  readonly verdict: "allow" | "deny";
  readonly by?: "egress" | "ingress";
  readonly packets: readonly TracePacketDocument[];
  /** What the Kubernetes API says of the same connection, in words. */
  readonly oracle: { readonly verdict: string; readonly explanation: readonly string[] };
  /** The rule that dropped or rejected the packet. */
  readonly decidedBy?: TraceEntryDocument;
  /** The policies (with their lines) whose denials the packet met before it was dropped. */
  readonly deniedBecause?: readonly TraceOriginDocument[];
}

/** Cells that differ for one reason, with the smallest of them. */
export interface DiffGroup {
  /** A divergence's id, or `unexplained`. */
  readonly divergence: string;
  readonly cause?: string;
  readonly source?: string;
  readonly cells: number;
  readonly witness: CellDocument & { readonly a: CellVerdict; readonly b: CellVerdict };
}

/** What `diff` prints: where two sides differ, and why. */
export interface DiffDocument extends SeededDocument<"diff"> {
  readonly engines: readonly [string, string];
  readonly compared: number;
  readonly undefined: number;
  readonly groups: readonly DiffGroup[];
}

/** What became of one step. */
export interface StepResult {
  readonly step: number;
  readonly action: string;
  readonly line?: number;
  readonly ok: boolean;
  /** What was expected and what was seen, one line each problem; empty when ok. */
  readonly problems: readonly string[];
  /** Not compared because the API leaves it open. */
  readonly undefined?: number;
}

/** One scenario on one engine. */
export interface RunResultDocument {
  readonly scenario: string;
  readonly file: string;
  readonly engine: string;
  readonly engineVersion: string;
  readonly seed: number;
  readonly ok: boolean;
  readonly virtualNs: number;
  readonly packets: number;
  readonly steps: readonly StepResult[];
  readonly diagnostics: readonly DiagnosticDocument[];
}

/** What `run` prints: results of scenarios. */
export interface RunDocument extends SeededDocument<"run"> {
  readonly results: readonly RunResultDocument[];
  readonly passed: number;
  readonly failed: number;
}

/** What `engines` prints: features, switches and documented divergences. */
export interface EnginesDocument extends Document<"engines"> {
  /** A column each of the comparison that AKS makes. */
  readonly products: readonly {
    readonly product: string;
    readonly platforms: readonly string[];
    readonly networkOptions: readonly string[];
    readonly networkPolicy: readonly string[];
    /** API kinds beside NetworkPolicy. */
    readonly beyond: readonly string[];
    readonly filters: readonly string[];
  }[];
  readonly engines: readonly {
    readonly name: string;
    readonly product: string;
    readonly os: string;
    readonly versions: readonly string[];
    readonly defaultVersion: string;
    readonly switches: readonly {
      readonly name: string;
      readonly values: readonly string[];
      readonly summary: string;
    }[];
    readonly platforms: readonly string[];
    readonly networkPlugins: readonly string[];
    readonly filters: string;
    readonly beyond: readonly string[];
    /** `scenarios`: files of those that assert it, wherever they are known. */
    readonly features: Readonly<
      Record<
        string,
        { readonly support: string; readonly note?: string; readonly scenarios: readonly string[] }
      >
    >;
    /** Of all versions and switches. */
    readonly divergences: readonly {
      readonly id: string;
      readonly cause: string;
      readonly source: string;
      readonly versions: string;
      readonly scenarios: readonly string[];
    }[];
  }[];
  /** Clusters that AKS does not make. */
  readonly refusals: readonly {
    readonly id: string;
    readonly reason: string;
    readonly source: string;
    readonly scenarios: readonly string[];
  }[];
  readonly retirements: readonly {
    readonly what: string;
    readonly until: string;
    readonly source: string;
  }[];
  /** What stands behind all this, and what does not. */
  readonly notes: readonly string[];
}

export interface BenchResultDocument {
  readonly engine: string;
  readonly engineVersion: string;
  /**
   * By the exact verdict table from header columns, or from frames; the step-faithful walk of one node's tables, or the
   * same with a trace recorder.
   */
  readonly path: "decide" | "parse+decide" | "slice" | "walk" | "walk-traced";
  /** What the packets are: first packets of connections, or packets of known ones. */
  readonly connections: "new" | "established";
  readonly nsPerDecision: number;
  readonly decisionsPerSecond: number;
  /** Nanoseconds a decision, of slices of 256 packets by the verdict table, of 16 by the walk. */
  readonly p50: number;
  readonly p99: number;
  readonly packets: number;
  readonly accepted: number;
  /** What the verdict table leaves to the walk. */
  readonly asked: number;
  readonly resultHash: string;
  readonly rules: number;
  readonly setEntries: number;
  readonly buildMs: number;
  readonly compileMs: number;
  readonly linkMs: number;
  /** From linked tables to the verdict table of the cluster; its size. */
  readonly verdictTableMs: number;
  readonly verdictTableBytes: number;
  readonly classes: number;
  /** Estimated from the data's shape: one node's tables, and all nodes' with shared parts once. */
  readonly tableBytes: number;
  readonly allTablesBytes: number;
  readonly rssBytes: number;
}

/** What `bench` prints: figures, and what they depend on. */
export interface BenchDocument extends SeededDocument<"bench"> {
  readonly traffic: TrafficShape;
  readonly machine: {
    readonly node: string;
    readonly cpu: string;
    readonly cores: number;
    readonly load: number;
  };
  readonly cluster: {
    readonly profile: string;
    readonly nodes: number;
    readonly pods: number;
    readonly namespaces: number;
    readonly policies: number;
  };
  readonly results: readonly BenchResultDocument[];
}

/** What `compile` wrote. */
export interface CompileDocument extends Document<"compile"> {
  readonly engine: string;
  readonly engineVersion: string;
  readonly nodes: readonly {
    readonly node: string;
    readonly directory: string;
    readonly files: readonly string[];
  }[];
  readonly diagnostics: readonly DiagnosticDocument[];
}

/** What `generate` wrote. */
export interface GenerateDocument extends SeededDocument<"generate"> {
  readonly cluster: BenchDocument["cluster"];
  readonly files: readonly string[];
}

/** A kind of store on a node: sets of one type, a table, the maps of one purpose. */
export interface CapacityStoreDocument {
  readonly store: string;
  readonly group: string;
  readonly count: number;
  readonly entries: number;
  /** What the entries are called. */
  readonly unit: string;
  readonly fullest: { readonly name: string; readonly entries: number };
  /** In the kernel; absent where nobody says. */
  readonly bytes?: number;
  readonly evidence?: "documented" | "inferred";
  readonly source?: string;
}

/** One node in `capacity`. */
export interface CapacityNodeDocument {
  readonly node: string;
  readonly os: string;
  readonly kernelBytes?: number;
  readonly agentBytes?: number;
  readonly stores: readonly CapacityStoreDocument[];
  readonly agent: readonly {
    readonly what: string;
    readonly bytes: number;
    readonly evidence: "documented" | "inferred";
    readonly source: string;
  }[];
}

/** A hard limit where it is used most. */
export interface CapacityLimitDocument {
  readonly id: string;
  readonly what: string;
  /** Absent: the whole cluster. */
  readonly where?: { readonly node: string; readonly store?: string };
  readonly used: number;
  readonly max: number;
  readonly percent: number;
  readonly unit: "entries" | "bytes";
  readonly usedEvidence: "counted" | "inferred";
  /** Of `max`. */
  readonly evidence: "documented" | "inferred";
  readonly source: string;
  /** What happens past it. */
  readonly beyond: string;
}

/** One engine in `capacity`. */
export interface CapacityResultDocument {
  readonly engine: string;
  readonly engineVersion: string;
  readonly worstNode?: string;
  /** The limit used most, and how many times this cluster would meet it. */
  readonly breaksFirst?: { readonly limit: string; readonly atScale: number };
  /** Most used first. */
  readonly limits: readonly CapacityLimitDocument[];
  /** The worst one; with `--nodes` all. */
  readonly nodes: readonly CapacityNodeDocument[];
  readonly diagnostics: readonly DiagnosticDocument[];
}

/** What `capacity` found. */
export interface CapacityDocument extends Document<"capacity"> {
  readonly cluster: {
    readonly nodes: number;
    readonly pods: number;
    readonly namespaces: number;
    readonly policies: number;
  };
  /** Of a node. */
  readonly processors: number;
  readonly results: readonly CapacityResultDocument[];
}

/** One search of `fuzz`: an engine, or a backend of the kernel's, or both. */
export interface FuzzResultDocument {
  readonly engine?: string;
  readonly engineVersion?: string;
  readonly backend?: "legacy" | "nft";
  /** Clusters or rule sets that were compared. */
  readonly runs: number;
  /** Cells, hops or packets that were compared. */
  readonly compared: number;
  /** Divergences that explained a difference, by id. */
  readonly divergences?: readonly string[];
  readonly finding?: {
    /** Number of the cluster or rule set, from zero. */
    readonly run: number;
    /** What disagrees, a line each. */
    readonly lines: readonly string[];
    /** What reproduces it. */
    readonly files: readonly string[];
  };
}

/** What `fuzz` found. */
export interface FuzzDocument extends SeededDocument<"fuzz"> {
  readonly level: "cluster" | "tables";
  readonly against: "oracle" | "kernel" | "engine";
  /** Clusters or rule sets that each search was to compare. */
  readonly runs: number;
  readonly results: readonly FuzzResultDocument[];
  readonly interrupted?: true;
}

/** What `version` prints. */
export interface VersionDocument extends Document<"version"> {
  /** Node's version. */
  readonly node: string;
}
