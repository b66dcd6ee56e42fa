/**
 * API objects after decoding and defaulting: what the rest of the house works on. Field names are the API's own.
 * `[]`, `null` and absence of a list all arrive here as what the API means by them (semantics of
 * networking.k8s.io/v1). Objects are frozen; an edit makes a new object.
 */
import type { Cidr, Ip } from "../addr/index.ts";
import type { SourceRef } from "../base/index.ts";

export type Labels = Readonly<Record<string, string>>;
export type Protocol = "TCP" | "UDP" | "SCTP";

interface Meta {
  readonly name: string;
  readonly labels: Labels;
  readonly annotations: Labels;
  readonly source: SourceRef | undefined;
}

/** Always carries the label `kubernetes.io/metadata.name`. */
export interface Namespace extends Meta {
  readonly kind: "Namespace";
}

/** A node with its addresses. */
export interface Node extends Meta {
  readonly kind: "Node";
  readonly os: "linux" | "windows";
  readonly osSku: string;
  readonly pool: string;
  /** InternalIP addresses, one a family; the first is the primary. */
  readonly addresses: readonly Ip[];
  /** Pod ranges of this node (overlay and kubenet); empty where pods take addresses of the node's subnet. */
  readonly podCidrs: readonly Cidr[];
  readonly unschedulable: boolean;
}

export interface ContainerPort {
  readonly name: string | undefined;
  readonly containerPort: number;
  readonly protocol: Protocol;
  /** Of a sidecar (an init container that goes on running beside the app containers). */
  readonly ofSidecar: boolean;
}

/** The workload that a pod was expanded from or is controlled by. */
export interface OwnerRef {
  readonly kind: string;
  readonly name: string;
}

/** A pod as the cluster runs it: scheduled, with addresses. */
export interface Pod extends Meta {
  readonly kind: "Pod";
  readonly namespace: string;
  readonly nodeName: string;
  readonly hostNetwork: boolean;
  /** One a family, primary first; a hostNetwork pod has its node's, an ended one what it had. Empty when none was given. */
  readonly ips: readonly Ip[];
  readonly phase: "Pending" | "Running" | "Succeeded" | "Failed";
  /** Condition `Ready`; a manifest without status stands for a pod that is. */
  readonly ready: boolean;
  /** Has a deletionTimestamp: on its way out, still running. */
  readonly terminating: boolean;
  /** Ports of sidecars and app containers in order (other init containers are gone when the pod runs). */
  readonly ports: readonly ContainerPort[];
  readonly owner: OwnerRef | undefined;
}

export interface ServicePort {
  readonly name: string | undefined;
  readonly protocol: Protocol;
  readonly port: number;
  readonly targetPort: number | string;
  readonly nodePort: number | undefined;
}

/** A Service with its ports and addresses. */
export interface Service extends Meta {
  readonly kind: "Service";
  readonly namespace: string;
  readonly type: "ClusterIP" | "NodePort" | "LoadBalancer" | "ExternalName";
  /** `undefined`: a Service without selector (its EndpointSlices are given). */
  readonly selector: Labels | undefined;
  readonly ports: readonly ServicePort[];
  /** Empty for headless and ExternalName. */
  readonly clusterIPs: readonly Ip[];
  readonly headless: boolean;
  /** Slices list pods that are not ready as if they were. */
  readonly publishNotReadyAddresses: boolean;
  readonly externalIPs: readonly Ip[];
  /** Addresses that the load balancer leaves in the packets it hands to a node (`ipMode` VIP). */
  readonly loadBalancerIPs: readonly Ip[];
  readonly loadBalancerSourceRanges: readonly Cidr[];
  readonly externalTrafficPolicy: "Cluster" | "Local";
  readonly internalTrafficPolicy: "Cluster" | "Local";
  /** Where a load balancer asks a node whether it has endpoints of its own (external policy Local). */
  readonly healthCheckNodePort: number | undefined;
  readonly sessionAffinitySeconds: number | undefined;
}

export interface Endpoint {
  readonly ips: readonly Ip[];
  readonly nodeName: string | undefined;
  /** Takes new connections: serving and not terminating (or published all the same). */
  readonly ready: boolean;
  /** Its pod is ready, terminating or not. */
  readonly serving: boolean;
  readonly terminating: boolean;
}

export interface EndpointSlice extends Meta {
  readonly kind: "EndpointSlice";
  readonly namespace: string;
  readonly serviceName: string;
  /** Made from the Service's selector; `false`: the input's. */
  readonly derived: boolean;
  readonly ports: readonly {
    readonly name: string | undefined;
    readonly protocol: Protocol;
    readonly port: number;
  }[];
  readonly endpoints: readonly Endpoint[];
}

export interface LabelSelectorRequirement {
  readonly key: string;
  readonly operator: "In" | "NotIn" | "Exists" | "DoesNotExist";
  readonly values: readonly string[];
}

/** Both lists empty = selects everything. */
export interface LabelSelector {
  readonly matchLabels: Labels;
  readonly matchExpressions: readonly LabelSelectorRequirement[];
}

export interface IpBlock {
  readonly cidr: Cidr;
  /** As the object has it: engines that compare text see host bits and leading zeros. */
  readonly cidrText: string;
  readonly except: readonly Cidr[];
}

/** Exactly one of: `ipBlock`; or one or both selectors. */
export interface NetworkPolicyPeer {
  readonly podSelector: LabelSelector | undefined;
  readonly namespaceSelector: LabelSelector | undefined;
  readonly ipBlock: IpBlock | undefined;
}

export interface NetworkPolicyPort {
  readonly protocol: Protocol;
  /** A number, a name, or `undefined` = every port of the protocol. */
  readonly port: number | string | undefined;
  readonly endPort: number | undefined;
}

export interface NetworkPolicyRule {
  /** Empty = every peer, in and outside the cluster (`from`/`to` missing or empty). */
  readonly peers: readonly NetworkPolicyPeer[];
  /** Empty = every port of every protocol. */
  readonly ports: readonly NetworkPolicyPort[];
}

/** networking.k8s.io/v1 NetworkPolicy, defaulted. */
export interface NetworkPolicy extends Meta {
  readonly kind: "NetworkPolicy";
  readonly namespace: string;
  readonly podSelector: LabelSelector;
  /** Defaulted: Ingress, and Egress if there are egress rules, when the input has none. */
  readonly policyTypes: readonly ("Ingress" | "Egress")[];
  readonly ingress: readonly NetworkPolicyRule[];
  readonly egress: readonly NetworkPolicyRule[];
}

/** An object of a kind that an engine declared; `spec` is what the engine's schema made of it. */
export interface VendorObject extends Meta {
  readonly kind: string;
  readonly apiVersion: string;
  readonly namespace: string | undefined;
  readonly spec: unknown;
  readonly mentions: Mentions;
}

/** What a policy names: whoever asks where verdicts may differ asks at these ports and addresses, of pods that these tell apart. */
export interface Mentions {
  /** Single ports, and both ends of ranges; of ICMP, types. */
  readonly ports: readonly { readonly protocol: Protocol | "ICMP"; readonly port: number }[];
  /** Exceptions too. */
  readonly blocks: readonly Cidr[];
  /** Namespaces by name. */
  readonly namespaces: readonly string[];
  /** Keys of labels, of pods and of their namespaces. */
  readonly podKeys: readonly string[];
  readonly namespaceKeys: readonly string[];
}

export type ApiObject = Namespace | Node | Pod | Service | EndpointSlice | NetworkPolicy;
