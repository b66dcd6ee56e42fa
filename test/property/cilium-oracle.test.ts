/** Cilium does what the API says, but for its documented divergences; and each of those says so only where it is true. */
import { divergencesFire, equalsOracle } from "./engine-oracle.ts";

equalsOracle([
  { engine: "cilium", runs: 500, options: {} },
  { engine: "cilium", runs: 100, options: { servicesMax: 3 } },
  { engine: "cilium", runs: 100, options: { ipv6Blocks: true } },
  { engine: "cilium@1.14", runs: 100, options: {} },
  { engine: "cilium@1.16+sctp", runs: 100, options: {} },
  { engine: "cilium@1.19", runs: 100, options: {} },
]);

divergencesFire("cilium@1.14", [
  "egress-own-node",
  "endport-before-1.16",
  "ipblock-nodes",
  "ipblock-pods",
  "named-port-cluster-wide",
  "named-port-duplicates",
  "sctp-off",
  "service-ingress-snat",
  "service-source-ranges",
]);
