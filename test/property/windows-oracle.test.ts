/** Azure NPM on Windows nodes, and in clusters of both systems, against the API. */
import { equalsOracle } from "./engine-oracle.ts";

const [windows, mixed] = [{ windowsNodes: ["n1", "n2"] }, { windowsNodes: ["n2"] }];

equalsOracle([
  {
    engine: "azure-npm-windows",
    clusters: [
      { runs: 100, options: windows },
      { runs: 160, options: { ...windows, isPlain: true } },
      { runs: 60, options: { ...windows, ipv6Blocks: true } },
    ],
    fires: [
      "npm-ipv6-policy-skipped",
      "npm-windows-except",
      "npm-windows-inverted-egress",
      "npm-windows-named-port",
      "npm-windows-namespace-negation",
      "npm-windows-own-node",
      "npm-windows-pod-negation",
      "npm-windows-sctp",
    ],
  },
  { engine: "azure-npm-windows", clusters: [{ runs: 20, options: { ...windows, servicesMax: 2 } }] },
  { engine: "azure-npm-windows@2026-09", clusters: [{ runs: 30, options: windows }] },
  {
    engine: "azure-npm",
    clusters: [
      { runs: 50, options: mixed },
      { runs: 70, options: { ...mixed, isPlain: true } },
      { runs: 25, options: { ...mixed, servicesMax: 2 } },
    ],
  },
  { engine: "azure-npm@2026-09", clusters: [{ runs: 30, options: mixed }] },
  {
    engine: "azure-npm-windows+lite",
    clusters: [
      { runs: 8, options: windows },
      { runs: 20, options: windows, isOfBlocks: true },
    ],
    fires: [
      "npm-lite-except-ignored",
      "npm-lite-peers",
      "npm-windows-own-node",
      "npm-windows-pod-negation",
      "npm-windows-sctp",
    ],
  },
  {
    engine: "azure-npm-windows@2026-09+lite",
    clusters: [{ runs: 20, options: windows, isOfBlocks: true }],
    fires: ["npm-lite-except-first", "npm-windows-own-node", "npm-windows-pod-negation", "npm-windows-sctp"],
  },
  {
    engine: "azure-npm+lite",
    clusters: [
      { runs: 10, options: mixed, isOfBlocks: true },
      { runs: 15, options: { servicesMax: 3 }, isOfBlocks: true },
      { runs: 5, options: { servicesMax: 2 } },
    ],
    fires: [
      "egress-own-node",
      "npm-lite-own-pods",
      "npm-lite-peers",
      "npm-windows-own-node",
      "npm-windows-pod-negation",
      "npm-windows-sctp",
      "service-ingress-snat",
    ],
  },
  { engine: "none", clusters: [{ runs: 30, options: mixed }] },
  {
    engine: "none",
    clusters: [
      { runs: 60, options: { ...windows, servicesMax: 3, policiesMax: 0 } },
      { runs: 30, options: { ...mixed, servicesMax: 3, policiesMax: 0 } },
    ],
    fires: [
      "windows-host-network-backend",
      "windows-local-policy-inside",
      "windows-own-node-port",
      "windows-source-ranges",
      "windows-unserved-node-port",
    ],
  },
]);
