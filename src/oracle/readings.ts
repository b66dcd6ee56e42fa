/** Where the API leaves a choice, which reading the oracle takes. Each default is what upstream's tests need or, where nothing decides, `undefined`. */
import { InputError, type Issue } from "../base/index.ts";

/** Which of the readings that the API permits the oracle takes. */
export interface OracleReadings {
  /** Whether hostNetwork pods are nodes to policies (the usual reading) or pods like others. */
  readonly hostNetwork: "ignored" | "distinguished";
  /** Whether an ipBlock matches the addresses of pods. Upstream's end-to-end tests need `always`. */
  readonly ipBlockPods: "always" | "never";
  /** A pod that is isolated for egress, to the node it runs on: concept page and API text differ. */
  readonly ownNode: "undefined" | "allowed" | "policed";
  /** ICMP to or from an isolated pod. */
  readonly icmp: "undefined" | "allowed" | "denied";
  /**
   * A connection that a Service's node gave another source, or whose destination another node than the client's own
   * rewrote: whether policies see the addresses of before or of after. The concept page leaves it open; the answer is
   * `undefined` where the two differ.
   */
  readonly rewritten: "undefined" | "before" | "after";
  /** One port name with several numbers in one pod. */
  readonly duplicatePortNames: "undefined" | "every" | "first";
}

/** What is taken where no switch chooses. */
export const defaultReadings: OracleReadings = {
  hostNetwork: "ignored",
  ipBlockPods: "always",
  ownNode: "undefined",
  icmp: "undefined",
  rewritten: "undefined",
  duplicatePortNames: "undefined",
};

export interface ReadingSpec {
  readonly name: keyof OracleReadings;
  /** The default first. */
  readonly values: readonly string[];
  readonly summary: string;
}

export const oracleReadings: readonly ReadingSpec[] = [
  {
    name: "hostNetwork",
    values: ["ignored", "distinguished"],
    summary: "policies see hostNetwork pods as their node, or as pods",
  },
  {
    name: "ipBlockPods",
    values: ["always", "never"],
    summary: "ipBlock matches pod addresses, or addresses outside the cluster only",
  },
  {
    name: "ownNode",
    values: ["undefined", "allowed", "policed"],
    summary: "egress of an isolated pod to its own node",
  },
  { name: "icmp", values: ["undefined", "allowed", "denied"], summary: "ICMP of isolated pods" },
  {
    name: "rewritten",
    values: ["undefined", "before", "after"],
    summary: "addresses that a Service rewrote on a node: policies see those of before, or of after",
  },
  {
    name: "duplicatePortNames",
    values: ["undefined", "every", "first"],
    summary: "which number a name means that one pod declares twice",
  },
];

/** @throws InputError naming the known switches and values. */
export function parseOracleReadings(switches: Readonly<Record<string, string>>): OracleReadings {
  const issues: Issue[] = [];
  for (const [name, value] of Object.entries(switches)) {
    const spec = oracleReadings.find((one) => one.name === name);
    if (spec === undefined) {
      const known = oracleReadings.map((one) => one.name).join(", ");
      issues.push({
        code: "unknown-name",
        path: "",
        message: `unknown reading ${name} of the oracle; known: ${known}`,
      });
    } else if (!spec.values.includes(value)) {
      issues.push({
        code: "invalid",
        path: "",
        message: `reading ${name} of the oracle takes ${spec.values.join(" or ")}, not ${value}`,
      });
    }
  }
  if (issues.length > 0) throw new InputError(issues);
  return { ...defaultReadings, ...switches };
}
