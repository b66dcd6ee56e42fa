/** Cilium does what the API says, but for its documented divergences; and each of those says so only where it is true. */
import { equalsOracle } from "./engine-oracle.ts";

equalsOracle([
  {
    engine: "cilium",
    clusters: [
      { runs: 200, options: {} },
      { runs: 60, options: { servicesMax: 3 } },
      { runs: 60, options: { ipv6Blocks: true } },
    ],
  },
  {
    engine: "cilium@1.14",
    clusters: [
      { runs: 60, options: { ipv6Blocks: true } },
      { runs: 80, options: { servicesMax: 3 } },
    ],
    fires: [
      "egress-own-node",
      "endport-before-1.16",
      "ipblock-nodes",
      "ipblock-other-family",
      "ipblock-pods",
      "named-port-cluster-wide",
      "named-port-duplicates",
      "sctp-off",
      "service-ingress-snat",
      "service-source-ranges",
      "unlisted-rules",
    ],
  },
  { engine: "cilium@1.16+sctp", clusters: [{ runs: 60, options: {} }] },
  { engine: "cilium@1.19", clusters: [{ runs: 40, options: { ipv6Blocks: true } }] },
]);
