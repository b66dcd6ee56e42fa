/** The network as data: nodes with interfaces and routes, and the pods that hang on them. */
import type { Cidr, Ip, Mac } from "../addr/index.ts";
import type { InterfaceAddress } from "../filter/index.ts";

export interface InterfaceSpec {
  /** From 1, unique on the node. */
  readonly index: number;
  readonly name: string;
  readonly mac: Mac;
  /** Where its other end is: the node's own stack, the virtual network, or pods. */
  readonly link: "loopback" | "fabric" | "pod";
  /** In order of precedence. The node's own `addresses` are the ones that it takes for itself. */
  readonly addresses: readonly InterfaceAddress[];
}

export interface RouteSpec {
  readonly net: Cidr;
  /** Interface number. */
  readonly oif: number;
}

export interface NodeSpec {
  readonly name: string;
  readonly os: "linux" | "windows";
  readonly addresses: readonly Ip[];
  readonly interfaces: readonly InterfaceSpec[];
  readonly routes: readonly RouteSpec[];
}

export interface ListenerSpec {
  readonly protocol: "TCP" | "UDP" | "SCTP";
  readonly port: number;
}

export interface EndpointSpec {
  /** `namespace/pod`. */
  readonly id: string;
  readonly node: string;
  /** Interface of the node that the pod's packets arrive on (its veth's host end, or the bridge). */
  readonly interfaceIndex: number;
  readonly mac: Mac;
  readonly ips: readonly Ip[];
  readonly listeners: readonly ListenerSpec[];
}

export interface NetworkSpec {
  readonly nodes: readonly NodeSpec[];
  readonly endpoints: readonly EndpointSpec[];
}
