/**
 * A scenario as data: a virtual cluster, its manifests, and steps with expectations. Frozen; the same object is run
 * on every engine. Nothing here is executed: the harness walks `steps`.
 */
import type { Family } from "../addr/index.ts";
import type { Place } from "../base/index.ts";
import type { End } from "./end.ts";
import type { Expectation } from "./expectation.ts";
import type { ScenarioPort } from "./port.ts";

/** The words of `az aks create`; what is absent is defaulted by the cluster options' resolver. */
export interface ScenarioCluster {
  readonly networkPlugin?: "azure" | "kubenet" | "none";
  readonly networkPluginMode?: "overlay";
  readonly networkDataplane?: "azure" | "cilium";
  readonly networkPolicy?: "none" | "azure" | "calico" | "cilium";
  readonly kubernetesVersion?: string;
  readonly ipFamilies?: readonly ("ipv4" | "ipv6")[];
  /** One prefix a family, separated by commas. */
  readonly podCidr?: string;
  readonly serviceCidr?: string;
  readonly nodeSubnet?: string;
  readonly nodePools?: readonly ScenarioNodePool[];
  /** Emulate combinations that AKS refuses. */
  readonly force?: boolean;
}

export interface ScenarioNodePool {
  readonly name: string;
  readonly osType?: "Linux" | "Windows";
  readonly osSku?: string;
  readonly count?: number;
}

/**
 * Text of one or more API objects. `name` is unique in a scenario: the scenario's file, `#` and the field path
 * (`a.yaml#steps[2].apply`), or the path of a manifest file. Text of an inline manifest starts with as many line
 * breaks as it takes to give each object the line it has in the scenario file.
 */
export interface ManifestText {
  readonly name: string;
  readonly text: string;
}

export type ProbeOutcome = "connected" | "refused" | "timeout" | "undefined";
export type SendOutcome = "delivered" | "lost" | "reset" | "undefined";
/** `some`: the backends of a Service differ. */
export type ExpectedVerdict = "allow" | "deny" | "undefined" | "some";

interface StepBase {
  /** Where the step stands in the scenario file. */
  readonly place: Place;
  /** What the author says the step is for. */
  readonly note: string | undefined;
}

/** One connection attempt's ends. `family` picks the destination's address; `undefined` = its primary. */
export interface Attempt {
  readonly from: End;
  readonly to: End;
  readonly port: ScenarioPort;
  readonly family: Family | undefined;
}

/** Bytes as they are, from the IP header on, in hexadecimal digits; or what a packet to an end is made of. */
export type InjectedPacket =
  | { readonly kind: "bytes"; readonly hex: string }
  | ({
      readonly kind: "fields";
      /** 40000 if not given. */
      readonly sourcePort: number;
      /** TCP's, as bits of its header. */
      readonly flags: number;
    } & Omit<Attempt, "from">);

/** One step of a scenario. */
export type Step = StepBase &
  (
    | { readonly action: "apply"; readonly manifests: readonly ManifestText[] }
    | {
        readonly action: "delete";
        readonly kind: string;
        readonly namespace: string | undefined;
        readonly name: string;
      }
    /** Sets labels; `null` removes one. */
    | {
        readonly action: "label";
        readonly kind: "Pod" | "Namespace" | "Node";
        readonly namespace: string | undefined;
        readonly name: string;
        readonly labels: Readonly<Record<string, string | null>>;
      }
    | {
        readonly action: "createPod";
        readonly namespace: string;
        readonly name: string;
        readonly manifest: ManifestText;
      }
    | { readonly action: "deletePod"; readonly namespace: string; readonly name: string }
    | ({
        readonly action: "probe";
        readonly timeoutNs: number;
        readonly expect: Expectation<ProbeOutcome>;
      } & Attempt)
    | ({
        readonly action: "connect";
        readonly flow: string;
        readonly expect: Expectation<ProbeOutcome>;
      } & Attempt)
    | {
        readonly action: "send";
        readonly flow: string;
        readonly from: "client" | "server";
        readonly expect: Expectation<SendOutcome>;
      }
    | { readonly action: "close"; readonly flow: string }
    /** One packet that belongs to no flow. */
    | {
        readonly action: "inject";
        readonly from: End;
        readonly packet: InjectedPacket;
        readonly expect: Expectation<SendOutcome>;
      }
    | { readonly action: "expectMatrix"; readonly matrix: MatrixExpectation }
    | {
        readonly action: "expectDiagnostic";
        /** Engines (keys as in an expectation) that the step is about; empty = every engine but the oracle. */
        readonly engines: readonly string[];
        readonly code: string | undefined;
        /** `namespace/name`. */
        readonly policy: string | undefined;
        /** Text that the message contains. */
        readonly message: string | undefined;
        /** True: no such diagnostic may have been given. */
        readonly absent: boolean;
      }
    | { readonly action: "advance"; readonly durationNs: number }
    /** The engine's agent on a node, or on every node: starts anew; takes away what it made; comes (back). */
    | { readonly action: "restart" | "uninstall" | "install"; readonly node: string | undefined }
  );

export interface MatrixOverride {
  /** `x/a`, `x/*` or `*`. */
  readonly from: readonly string[];
  readonly to: readonly string[];
  /** Empty = every port of the matrix. */
  readonly ports: readonly ScenarioPort[];
  readonly verdict: Expectation<ExpectedVerdict>;
  readonly place: Place;
}

/** A truth table of pods: a default and overrides, of which the last that matches a cell wins; or one of any ends. */
export interface MatrixExpectation {
  readonly ports: readonly ScenarioPort[];
  /** Given, `default` holds from each of `from` to each of `to`, and there are no overrides. */
  readonly ends: { readonly from: readonly End[]; readonly to: readonly End[] } | undefined;
  /** Empty = every pod that is not on the host's network. */
  readonly pods: readonly string[];
  readonly family: Family | undefined;
  readonly default: Expectation<ExpectedVerdict>;
  readonly overrides: readonly MatrixOverride[];
  readonly place: Place;
}

/** A scenario file, checked. */
export interface Scenario {
  readonly name: string;
  readonly file: string;
  /** The file's leading comment: what it shows, what to look at. */
  readonly description: readonly string[];
  readonly cluster: ScenarioCluster;
  /** Where `cluster` (path "") and what is in it (`networkPlugin`, `nodePools[1]`) stand, for what AKS refuses. */
  readonly clusterPlaces: ReadonlyMap<string, Place>;
  readonly manifests: readonly ManifestText[];
  readonly engines: readonly string[];
  readonly steps: readonly Step[];
}
