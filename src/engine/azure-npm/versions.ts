/** What differs between NPM's versions and settings, as data: translation and chains ask here, never for a version. */
import type { SwitchSpec } from "../engine.ts";
import { fnvNaming, type Naming, sha256Naming } from "./naming.ts";

export interface Marks {
  readonly ingressAllow: number;
  readonly ingressDrop: number;
  readonly egressDrop: number;
  /** Mask of setting and testing: one bit each now, the whole word in early v2. */
  readonly mask: (value: number) => number;
  /** As comments print it: `0x400/0x400` or `0x4000`. */
  readonly text: (value: number) => string;
  /** Early v2: the ACCEPT chain sets the mark to 0 first. */
  readonly isCleared: boolean;
}

export interface NpmVariant {
  readonly marks: Marks;
  readonly naming: Naming;
  /** Readable names of CIDR sets and nested label sets. */
  readonly setNames: "2022" | "dashes" | "delimited";
  /** Multi-value NotIn of a namespaceSelector: one rule a value (#4866), or one rule with all negations. */
  readonly namespaceNotIn: "any-of-negations" | "all-of-negations";
  /** A namespaceSelector of negations only: as it is (#4868: matches addresses that are no pod's), or within all namespaces. */
  readonly bareNegation: "unscoped" | "within-all-namespaces";
  /** Toggle PlaceAzureChainFirst. */
  readonly placeFirst: boolean;
  /** What it programs; Windows lacks some of what policies ask for. */
  readonly dataplane: "linux" | "windows";
  /**
   * Windows: a namespaceSelector's negations. Up to 2026-08 HNS conversion refuses them in ingress rules (for ever tried
   * again), and in egress rules takes the set as if it were not negated; since then the policy is refused (#4866).
   */
  readonly windowsNegations: "unseen" | "refused";
  /** Windows: what a change of policy does to flows that VFP knows; no published source says. */
  readonly vfpFlows: "keep" | "forget";
  /**
   * Toggle EnableNPMLite: a node knows its own pods alone, and peers may be CIDRs only. On Windows they stand in ACLs as
   * they are, and so no set is needed.
   */
  readonly isLite: boolean;
  /** NPM Lite on Windows: exceptions of a block. Up to 2026-08 nobody looks at them, since then each is blocked (#4823). */
  readonly liteExcept: "ignored" | "blocked";
  /** Toggle ApplyIPSetsOnNeed: only sets that rules (or lists that rules use) refer to are in the kernel. */
  readonly onNeed: boolean;
}

const hex = (value: number): string => `0x${value.toString(16)}`;

const wordMarks: Marks = {
  ingressAllow: 0x2000,
  ingressDrop: 0x4000,
  egressDrop: 0x5000,
  mask: () => 0xffffffff,
  text: hex,
  isCleared: true,
};
const bitMarks: Marks = {
  ingressAllow: 0x200,
  ingressDrop: 0x400,
  egressDrop: 0x800,
  mask: (value) => value,
  text: (value) => `${hex(value)}/${hex(value)}`,
  isCleared: false,
};

const knownBugs = {
  namespaceNotIn: "any-of-negations",
  bareNegation: "unscoped",
  placeFirst: false,
  onNeed: false,
  dataplane: "linux",
  windowsNegations: "unseen",
  vfpFlows: "keep",
  isLite: false,
  liteExcept: "ignored",
} as const;

const variants: Readonly<Record<string, NpmVariant>> = {
  // early v2, as in a live capture of April 2022
  "2022-04": { ...knownBugs, marks: wordMarks, naming: fnvNaming, setNames: "2022", placeFirst: true },
  "1.5.36": { ...knownBugs, marks: bitMarks, naming: fnvNaming, setNames: "dashes" },
  "2026-08": { ...knownBugs, marks: bitMarks, naming: sha256Naming, setNames: "delimited" },
  "2026-09": {
    ...knownBugs,
    marks: bitMarks,
    naming: sha256Naming,
    setNames: "delimited",
    namespaceNotIn: "all-of-negations",
    bareNegation: "within-all-namespaces",
    windowsNegations: "refused",
    liteExcept: "blocked",
  },
};

export const npmVersions: readonly string[] = Object.keys(variants);
export const npmDefaultVersion = "2026-08";

export const npmSwitches: readonly SwitchSpec[] = [
  {
    name: "place-first",
    values: ["true", "false"],
    summary: "AZURE-NPM is the first rule of FORWARD (PlaceAzureChainFirst)",
  },
  {
    name: "on-need",
    values: ["true", "false"],
    summary: "only sets that policies use are in the kernel (ApplyIPSetsOnNeed)",
  },
  {
    name: "fix-4866",
    values: ["true", "false"],
    summary: "NotIn of several values in a namespaceSelector means none of them",
  },
  { name: "fix-4868", values: ["true", "false"], summary: "negative namespaceSelectors match pods only" },
  {
    name: "lite",
    values: ["true", "false"],
    summary: "NPM Lite: peers are CIDRs, and a node knows its own pods alone (EnableNPMLite)",
  },
  {
    name: "fix-4823",
    values: ["true", "false"],
    summary: "Windows, NPM Lite: exceptions of a block are blocked",
  },
  {
    name: "vfp-flows",
    values: ["keep", "forget"],
    summary: "Windows: flows that go on when a policy changes, or are judged anew (no source says which)",
  },
];

/** `version` and `switches` have been checked against the lists above. */
export function npmVariant(
  version: string,
  switches: Readonly<Record<string, string>>,
  dataplane: NpmVariant["dataplane"] = "linux",
): NpmVariant {
  const base = variants[version] as NpmVariant;
  const on = (name: string): boolean | undefined =>
    switches[name] === undefined ? undefined : switches[name] === "true";
  const fixed = <T>(name: string, isOn: T, isOff: T, otherwise: T): T =>
    ({ true: isOn, false: isOff })[String(on(name)) as "true" | "false"] ?? otherwise;
  return {
    ...base,
    dataplane,
    vfpFlows: switches["vfp-flows"] === "forget" ? "forget" : "keep",
    placeFirst: on("place-first") ?? base.placeFirst,
    onNeed: on("on-need") ?? base.onNeed,
    isLite: on("lite") ?? base.isLite,
    liteExcept: fixed("fix-4823", "blocked", "ignored", base.liteExcept),
    namespaceNotIn: fixed("fix-4866", "all-of-negations", "any-of-negations", base.namespaceNotIn),
    bareNegation: fixed("fix-4868", "within-all-namespaces", "unscoped", base.bareNegation),
  };
}
