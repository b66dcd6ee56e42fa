/**
 * Load balancers of HNS as data. Governing sources: hcsshim hcn/hcnloadbalancer.go (HostComputeLoadBalancer,
 * LoadBalancerPortMapping and their flags), kubernetes pkg/proxy/winkernel/hns.go (flags that hcsshim has no names for)
 * and hcsshim internal/hns/hnspolicylist.go (the ELB policy of v1).
 */
import type { Ip } from "../../addr/index.ts";
import type { Origin } from "../../base/index.ts";

/** In the order of `LoadBalancerDistribution`: by connection, by client address and protocol, by client address. */
export const lbDistributions = ["None", "SourceIPProtocol", "SourceIP"] as const;
export type LbDistribution = (typeof lbDistributions)[number];

/** Bits of a load balancer's `Flags`. */
export const LbFlag = {
  /** Direct server return: the client's address stays, and answers do not come back through the translator. */
  dsr: 1,
  ipv6: 2,
} as const;

/** Bits of a port mapping's `Flags`. */
export const LbPortFlag = {
  ilb: 1,
  localRoutedVip: 2,
  useMux: 4,
  preserveDip: 8,
  vipExternalIp: 16,
} as const;

export interface LbPortMapping {
  /** IP protocol number. */
  readonly protocol: number;
  /** Where backends listen: the same port on each. */
  readonly internalPort: number;
  /** What clients ask for. */
  readonly externalPort: number;
  readonly distribution: LbDistribution;
  /** Of `LbPortFlag`. */
  readonly flags: number;
}

export interface HnsLoadBalancer {
  readonly id: string;
  /** Backends, by the ids of their endpoints, local ones and remote ones. */
  readonly endpoints: readonly string[];
  /** What clients' addresses become without direct server return; `undefined`: the node's own address. */
  readonly sourceVip: Ip | undefined;
  /** Virtual addresses; none: the node's own, for a node port. */
  readonly frontendVips: readonly Ip[];
  readonly portMappings: readonly LbPortMapping[];
  /** Of `LbFlag`. */
  readonly flags: number;
  readonly origin?: Origin;
}
