/**
 * CiliumNetworkPolicy and CiliumClusterwideNetworkPolicy as people write them: the fields of the documented YAML that
 * say something at layers 3 and 4. Nothing is decoded or defaulted here; objects are taken as valid.
 */

/** In CiliumNetworkPolicy documents keys may carry the source they are taken from: `k8s:app`, `any:app`. */
export interface WrittenSelector {
  readonly matchLabels?: Readonly<Record<string, string>>;
  readonly matchExpressions?: readonly {
    readonly key: string;
    readonly operator: string;
    readonly values?: readonly string[];
  }[];
}

export interface WrittenCidrSet {
  readonly cidr?: string;
  /** Names a CiliumCIDRGroup. */
  readonly cidrGroupRef?: string;
  readonly except?: readonly string[];
}

export interface WrittenPorts {
  readonly ports?: readonly {
    readonly port?: string;
    readonly endPort?: number;
    readonly protocol?: string;
  }[];
}

export interface WrittenIcmps {
  readonly fields: readonly { readonly family?: "IPv4" | "IPv6"; readonly type: number | string }[];
}

export interface WrittenService {
  readonly k8sService?: { readonly serviceName: string; readonly namespace: string };
}

export interface WrittenRule {
  readonly fromEndpoints?: readonly WrittenSelector[];
  readonly toEndpoints?: readonly WrittenSelector[];
  readonly fromCIDR?: readonly string[];
  readonly toCIDR?: readonly string[];
  readonly fromCIDRSet?: readonly WrittenCidrSet[];
  readonly toCIDRSet?: readonly WrittenCidrSet[];
  readonly fromEntities?: readonly string[];
  readonly toEntities?: readonly string[];
  readonly toServices?: readonly WrittenService[];
  readonly toPorts?: readonly WrittenPorts[];
  readonly icmps?: readonly WrittenIcmps[];
}

export interface WrittenSpec {
  readonly endpointSelector?: WrittenSelector;
  /** Instead of `endpointSelector`: speaks of nodes; without the host firewall it has no effect. */
  readonly nodeSelector?: WrittenSelector;
  readonly ingress?: readonly WrittenRule[];
  readonly ingressDeny?: readonly WrittenRule[];
  readonly egress?: readonly WrittenRule[];
  readonly egressDeny?: readonly WrittenRule[];
  readonly enableDefaultDeny?: { readonly ingress?: boolean; readonly egress?: boolean };
}

export interface WrittenPolicy {
  readonly kind: "CiliumNetworkPolicy" | "CiliumClusterwideNetworkPolicy";
  readonly metadata: { readonly name: string; readonly namespace?: string };
  readonly spec?: WrittenSpec;
  readonly specs?: readonly WrittenSpec[];
}

export interface WrittenCidrGroup {
  readonly metadata: { readonly name: string };
  readonly spec: { readonly externalCIDRs: readonly string[] };
}
