/** Every engine does what the API says, but for its documented divergences; and each of those says so only where it is true. */
import { divergencesFire, equalsOracle } from "./engine-oracle.ts";

equalsOracle([
  { engine: "azure-npm", runs: 700, options: {} },
  { engine: "azure-npm", runs: 100, options: { ipv6Blocks: true } },
  { engine: "azure-npm@2026-09", runs: 200, options: {} },
  { engine: "azure-npm@2026-08+place-first+on-need", runs: 100, options: {} },
  { engine: "azure-npm@2022-04", runs: 100, options: {} },
  { engine: "azure-npm@2022-04", runs: 60, options: { servicesMax: 3 } },
  { engine: "azure-npm@1.5.36", runs: 50, options: {} },
  { engine: "none", runs: 50, options: {} },
  { engine: "none", runs: 50, options: { servicesMax: 3 } },
  { engine: "azure-npm", runs: 150, options: { servicesMax: 3 } },
  { engine: "azure-npm@2026-08+place-first", runs: 60, options: { servicesMax: 3 } },
]);

divergencesFire("azure-npm", [
  "egress-own-node",
  "npm-bare-negation",
  "npm-ipv6-policy-skipped",
  "npm-namespace-not-in",
  "npm-sidecar-port-names",
  "service-ingress-snat",
]);
