/** Every engine does what the API says, but for its documented divergences; and each of those says so only where it is true. */
import { equalsOracle } from "./engine-oracle.ts";

equalsOracle([
  {
    engine: "azure-npm",
    clusters: [
      { runs: 700, options: {} },
      { runs: 150, options: { ipv6Blocks: true } },
      { runs: 200, options: { servicesMax: 3 } },
    ],
    fires: [
      "egress-own-node",
      "npm-bare-negation",
      "npm-ipv6-policy-skipped",
      "npm-namespace-not-in",
      "npm-sidecar-port-names",
      "service-ingress-snat",
    ],
  },
  { engine: "azure-npm@2026-09", clusters: [{ runs: 120, options: {} }] },
  { engine: "azure-npm@2026-08+place-first+on-need", clusters: [{ runs: 100, options: {} }] },
  { engine: "azure-npm@2026-08+place-first", clusters: [{ runs: 30, options: { servicesMax: 3 } }] },
  {
    engine: "azure-npm@2022-04",
    clusters: [
      { runs: 60, options: {} },
      { runs: 30, options: { servicesMax: 3 } },
    ],
  },
  { engine: "azure-npm@1.5.36", clusters: [{ runs: 50, options: {} }] },
  {
    engine: "none",
    clusters: [
      { runs: 50, options: {} },
      { runs: 50, options: { servicesMax: 3 } },
    ],
  },
]);
