/**
 * Policies of all three kinds in one form, as Cilium's own rules are: whom a rule is about, which identities its peers
 * are, and which ports. Selectors are about labels of identities, whose keys carry a source (`k8s:app`; `any:app` for
 * labels of whatever source).
 */
import type { Cidr } from "../../../addr/index.ts";
import type { SourceRef } from "../../../base/index.ts";
import type { LabelSelector } from "../../../k8s/index.ts";
import type { CidrField } from "../variant.ts";
import type { Direction } from "./entry.ts";

export interface CiliumRule {
  /** API kind and `namespace/name` of the object. */
  readonly kind: string;
  readonly name: string;
  readonly source: SourceRef | undefined;
  /** Where in the object it stands. */
  readonly path: string;
  /** Of pods, or of nodes. */
  readonly subject: LabelSelector;
  readonly isForNodes: boolean;
  /** Directions that it isolates its subjects in; `false`: it says something, and leaves the rest allowed. */
  readonly isolates: ReadonlyMap<Direction, boolean>;
  readonly statements: readonly RuleStatement[];
}

/** From whom (or to whom) what is allowed or denied: any of the peers, on any of the ports. */
export interface RuleStatement {
  readonly direction: Direction;
  readonly deny: boolean;
  readonly peers: readonly RulePeer[];
  /** `undefined`: everything. */
  readonly ports: readonly RulePort[] | undefined;
}

export type RulePeer = { readonly path: string } & (
  | { readonly kind: "anyone" }
  | { readonly kind: "labels"; readonly selector: LabelSelector }
  /** Never pods or nodes: their identities carry no CIDR. */
  | {
      readonly kind: "cidr";
      readonly field: CidrField;
      readonly cidr: Cidr;
      readonly except: readonly Cidr[];
    }
);

export interface RulePort {
  readonly path: string;
  readonly protocol: number;
  /** A number (of ICMP: the type), a name, or `undefined` = every port of the protocol. */
  readonly port: number | string | undefined;
  readonly endPort: number | undefined;
  readonly redirect: number;
}

export const podNamespaceKey = "k8s:io.kubernetes.pod.namespace";
export const namespaceLabelPrefix = "k8s:io.cilium.k8s.namespace.labels.";

export const everything: LabelSelector = { matchLabels: {}, matchExpressions: [] };

/** A selector with other keys. */
export function withKeys(selector: LabelSelector, rename: (key: string) => string): LabelSelector {
  const { matchLabels, matchExpressions } = selector;
  return {
    matchLabels: Object.fromEntries(Object.entries(matchLabels).map(([key, value]) => [rename(key), value])),
    matchExpressions: matchExpressions.map((one) => ({ ...one, key: rename(one.key) })),
  };
}

export function bothSelectors(a: LabelSelector, b: LabelSelector): LabelSelector {
  // one key with two values selects nothing, so that labels become requirements rather than being overwritten
  const asRequirements = Object.entries(b.matchLabels).map(([key, value]) => ({
    key,
    operator: "In" as const,
    values: [value],
  }));
  return {
    matchLabels: a.matchLabels,
    matchExpressions: [...a.matchExpressions, ...b.matchExpressions, ...asRequirements],
  };
}

/** In a namespace, or with `undefined` in any: of pods. */
export function inNamespace(selector: LabelSelector, namespace: string | undefined): LabelSelector {
  const where = namespace === undefined ? hasLabel(podNamespaceKey) : labelIs(podNamespaceKey, namespace);
  return bothSelectors(selector, where);
}

export function hasLabel(key: string): LabelSelector {
  return { matchLabels: {}, matchExpressions: [{ key, operator: "Exists", values: [] }] };
}

function labelIs(key: string, value: string): LabelSelector {
  return { matchLabels: { [key]: value }, matchExpressions: [] };
}
