/**
 * What the specs of CiliumNetworkPolicy and CiliumClusterwideNetworkPolicy say at layers 3 and 4, decoded and nothing
 * more: namespaces are added to selectors and names are looked up when policies are resolved.
 */
import type { Cidr } from "../../../addr/index.ts";
import type { LabelSelector, Labels } from "../../../k8s/index.ts";

/** The `spec` of a VendorObject of these two kinds. */
export interface CiliumPolicySpec {
  /** `spec`, then `specs`. */
  readonly rules: readonly CiliumRuleSpec[];
}

export interface CiliumRuleSpec {
  /** `spec` or `specs[1]`. */
  readonly path: string;
  /** Exactly one of the two. Keys are as written: `app`, `k8s:app`, `any:app`, `reserved:host`. */
  readonly endpointSelector: LabelSelector | undefined;
  readonly nodeSelector: LabelSelector | undefined;
  readonly sections: readonly CiliumSection[];
  /** `undefined`: isolated if there is a section of the direction. */
  readonly defaultDeny: { readonly ingress: boolean | undefined; readonly egress: boolean | undefined };
  /** Fields that speak of more than layers 3 and 4. */
  readonly beyond: readonly BeyondField[];
}

/** One element of `ingress`, `ingressDeny`, `egress` or `egressDeny`. */
export interface CiliumSection {
  readonly path: string;
  readonly direction: "ingress" | "egress";
  readonly deny: boolean;
  /** `undefined`: no list of peers is there. A list that is there and empty stands for nobody. */
  readonly peers: readonly CiliumPeer[] | undefined;
  /** What it allows waits until both ends have shown who they are. */
  readonly needsAuthentication: boolean;
  /** `undefined`: no ports and no ICMP types are named. */
  readonly ports: readonly CiliumPort[] | undefined;
}

export type CiliumPeer = { readonly path: string } & (
  | { readonly kind: "endpoints"; readonly selector: LabelSelector }
  | { readonly kind: "cidr"; readonly cidr: Cidr }
  | { readonly kind: "cidr-set"; readonly cidr: Cidr; readonly except: readonly Cidr[] }
  | { readonly kind: "cidr-group"; readonly name: string; readonly except: readonly Cidr[] }
  | {
      readonly kind: "cidr-group-selector";
      readonly selector: LabelSelector;
      readonly except: readonly Cidr[];
    }
  | { readonly kind: "entity"; readonly entity: CiliumEntity }
  | { readonly kind: "service"; readonly namespace: string | undefined; readonly name: string }
  | {
      readonly kind: "service-selector";
      readonly namespace: string | undefined;
      readonly selector: LabelSelector;
    }
);

export const ciliumEntities = [
  "all",
  "world",
  "world-ipv4",
  "world-ipv6",
  "cluster",
  "host",
  "init",
  "ingress",
  "unmanaged",
  "remote-node",
  "health",
  "none",
  "kube-apiserver",
] as const;
export type CiliumEntity = (typeof ciliumEntities)[number];

/** Protocol numbers that a port of a rule stands for, with its ports; of ICMP, types. */
export interface CiliumPort {
  readonly path: string;
  readonly protocols: readonly number[];
  /** `undefined`: every port of the protocols. */
  readonly port: number | string | undefined;
  readonly endPort: number | undefined;
  /** Listener priority of the proxy that layer 7 rules send it to; 0: none. */
  readonly redirect: number;
}

/** A field that AKS takes with the add-on alone, or not at all. */
export type BeyondField = { readonly path: string } & (
  | {
      readonly need: "l7" | "fqdn" | "node-labels" | "cloud-groups" | "requirements" | "authentication";
    }
  /** What no setting changes: the agent's reason to refuse the policy. */
  | { readonly need: "other"; readonly why: string }
);

/** The `spec` of a CiliumCIDRGroup. */
export interface CiliumCidrGroupSpec {
  readonly cidrs: readonly Cidr[];
  readonly labels: Labels;
}
