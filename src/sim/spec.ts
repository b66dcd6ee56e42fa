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

/** A port of a load balancer's frontend, and the nodes that it takes for healthy. */
export interface FrontendPortSpec {
  readonly protocol: ListenerSpec["protocol"];
  readonly port: number;
  readonly nodes: readonly string[];
}

/**
 * An address of Azure's load balancer with floating IP: a packet to it reaches one of the nodes as it is, still addressed
 * to the frontend, and answers leave the node with the frontend as their source.
 */
export interface FrontendSpec {
  readonly ip: Ip;
  readonly ports: readonly FrontendPortSpec[];
}

export interface NetworkSpec {
  readonly nodes: readonly NodeSpec[];
  readonly endpoints: readonly EndpointSpec[];
  readonly frontends: readonly FrontendSpec[];
}
