/**
 * The state of a virtual cluster: options in the words of `az aks create`, and every object by name. A value: frozen
 * and compared by identity, so that what depends on a part of it can be cached on that part.
 */
import type { Cidr, Family, Ip } from "../addr/index.ts";
import type { EndpointSlice, Namespace, NetworkPolicy, Node, Pod, Service, VendorObject } from "./types.ts";

export interface NodePool {
  readonly name: string;
  readonly osType: "Linux" | "Windows";
  readonly osSku: string;
  readonly count: number;
}

/** A cluster's settings, checked and with defaults filled in. */
export interface ClusterOptions {
  readonly networkPlugin: "azure" | "kubenet" | "none";
  readonly networkPluginMode: "overlay" | undefined;
  readonly networkDataplane: "azure" | "cilium";
  readonly networkPolicy: "none" | "azure" | "calico" | "cilium";
  readonly kubernetesVersion: string;
  readonly ipFamilies: readonly Family[];
  /** One a family, in the order of `ipFamilies`. Not used by Azure CNI without overlay, whose pods live in `subnet`. */
  readonly podCidrs: readonly Cidr[];
  readonly serviceCidrs: readonly Cidr[];
  /** The virtual network's subnet that nodes (and pods of Azure CNI without overlay) take addresses from. */
  readonly nodeSubnets: readonly Cidr[];
  readonly nodePools: readonly NodePool[];
}

/** The API server's view and the cluster's addresses at one instant: what compilers and the oracle work on. */
export interface ClusterState {
  readonly options: ClusterOptions;
  readonly namespaces: ReadonlyMap<string, Namespace>;
  readonly nodes: ReadonlyMap<string, Node>;
  /** Keyed `namespace/name`, as are Services, slices and policies. Iteration order = creation order. */
  readonly pods: ReadonlyMap<string, Pod>;
  readonly services: ReadonlyMap<string, Service>;
  readonly endpointSlices: ReadonlyMap<string, EndpointSlice>;
  readonly networkPolicies: ReadonlyMap<string, NetworkPolicy>;
  /** Objects of kinds that engines declare, keyed by kind, then by `namespace/name` (or `name`). */
  readonly vendor: ReadonlyMap<string, ReadonlyMap<string, VendorObject>>;
}

/** One end of a judged connection, in final (post-translation) addresses. */
export type CellEnd =
  | { readonly kind: "pod"; readonly pod: Pod }
  | { readonly kind: "node"; readonly node: Node }
  | { readonly kind: "external"; readonly ip: Ip };

/** One of the addresses that a Service is reached at, before translation. */
export type ServiceEnd =
  | {
      readonly kind: "service";
      readonly service: Service;
      readonly access: ServiceAccess;
      /** Where it is reached: one of a family, or every endpoint's for a headless Service. */
      readonly ips: readonly Ip[];
    }
  /** A node port; `service` undefined: nobody has it. */
  | {
      readonly kind: "node-port";
      readonly service: Service | undefined;
      readonly node: Node;
      readonly port: number;
    };

/** Headless Services have no address: a client takes one of its endpoints' and keeps the port. */
export type ServiceAccess = "cluster-ip" | "load-balancer" | "external-ip" | "headless";

/** How a Service brought a connection to its final addresses. */
export interface Translation {
  readonly service: Service;
  /** The node that rewrote the destination. */
  readonly node: Node;
  /** The source was rewritten there too: the backend sees that node. */
  readonly isMasqueraded: boolean;
  /** What the client's own node saw, where another node rewrote it: that node and its node port. */
  readonly before: { readonly to: CellEnd; readonly port: number } | undefined;
}

export type CellProtocol = "TCP" | "UDP" | "SCTP" | "ICMP";

/** A new connection as its client opens it. `port` is the ICMP type for ICMP. */
export interface Connection {
  readonly from: CellEnd;
  readonly to: CellEnd | ServiceEnd;
  readonly protocol: CellProtocol;
  readonly port: number;
  readonly family: Family;
}

/** A new connection in final addresses: the unit that oracle and engines are compared on. */
export interface Cell extends Connection {
  readonly to: CellEnd;
  readonly via?: Translation;
}
