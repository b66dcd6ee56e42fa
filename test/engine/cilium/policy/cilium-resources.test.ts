/** Validation of Cilium's policies with field paths, the deny truth table, and what is said of rules beyond layer 4. */
import { describe, expect, it } from "vitest";
import { InputError } from "../../../../src/base/index.ts";
import { resolvePolicies } from "../../../../src/engine/cilium/policy/resolve.ts";
import { ciliumKinds } from "../../../../src/engine/cilium/resources/kinds.ts";
import { ciliumVariant } from "../../../../src/engine/cilium/variant.ts";
import type { Diagnostic } from "../../../../src/engine/engine.ts";
import { buildCluster, type ClusterState, loadObjects } from "../../../../src/k8s/index.ts";
import { get, node, pod } from "../../../k8s/cluster.ts";
import type { RawObject } from "../../../k8s/load.ts";
import { lookUp } from "./naive-lookup.ts";

const policy = (spec: unknown, kind = "CiliumNetworkPolicy"): RawObject => ({
  apiVersion: "cilium.io/v2",
  kind,
  metadata: { name: "p", ...(kind === "CiliumNetworkPolicy" ? { namespace: "x" } : {}) },
  spec,
});

function stateOf(...objects: readonly RawObject[]): ClusterState {
  const client = pod("x/client", { labels: { app: "client" }, spec: { nodeName: "n1" } });
  const server = pod("x/server", { labels: { app: "server" }, spec: { nodeName: "n1" } });
  const all = [node("n1", "10.224.0.4"), client, server, ...objects];
  return buildCluster(loadObjects("test", all, { vendorKinds: ciliumKinds })).state;
}

function issuesOf(object: RawObject): readonly string[] {
  try {
    stateOf(object);
    return [];
  } catch (error) {
    if (!(error instanceof InputError)) throw error;
    return error.issues.map(({ path }) => path);
  }
}

const all = { endpointSelector: {} };

describe("validation tells the path of", () => {
  it.each<readonly [string, unknown, string]>([
    ["no selector", { ingress: [{}] }, "spec"],
    ["no rules", all, "spec"],
    ["an unknown field", { ...all, ingress: [{ fromEndpoint: [] }] }, "spec.ingress[0].fromEndpoint"],
    ["a peer of the other side", { ...all, egress: [{ fromCIDR: [] }] }, "spec.egress[0].fromCIDR"],
    [
      "two kinds of peers",
      { ...all, ingress: [{ fromEndpoints: [{}], fromEntities: ["all"] }] },
      "spec.ingress[0].fromEntities",
    ],
    ["an entity", { ...all, ingress: [{ fromEntities: ["moon"] }] }, "spec.ingress[0].fromEntities[0]"],
    ["a CIDR", { ...all, egress: [{ toCIDR: ["10.0.0.0/33"] }] }, "spec.egress[0].toCIDR[0]"],
    [
      "an exception outside its block",
      { ...all, egress: [{ toCIDRSet: [{ cidr: "10.0.0.0/8", except: ["11.0.0.0/16"] }] }] },
      "spec.egress[0].toCIDRSet[0].except[0]",
    ],
    ["an empty CIDR set", { ...all, egress: [{ toCIDRSet: [{}] }] }, "spec.egress[0].toCIDRSet[0]"],
    [
      "a label key",
      { ...all, ingressDeny: [{ fromEndpoints: [{ matchLabels: { "k8s:-": "a" } }] }] },
      "spec.ingressDeny[0].fromEndpoints[0].matchLabels",
    ],
    [
      "a port",
      { ...all, ingress: [{ toPorts: [{ ports: [{ port: "70000" }] }] }] },
      "spec.ingress[0].toPorts[0].ports[0].port",
    ],
    [
      "a range that ends before it begins",
      { ...all, ingress: [{ toPorts: [{ ports: [{ port: "80", endPort: 79 }] }] }] },
      "spec.ingress[0].toPorts[0].ports[0].endPort",
    ],
    [
      "a protocol",
      { ...all, ingress: [{ toPorts: [{ ports: [{ port: "80", protocol: "tcp" }] }] }] },
      "spec.ingress[0].toPorts[0].ports[0].protocol",
    ],
    [
      "too many ports",
      { ...all, ingress: [{ toPorts: [{ ports: Array.from({ length: 41 }, () => ({ port: "80" })) }] }] },
      "spec.ingress[0].toPorts[0].ports",
    ],
    [
      "layer 7 in a denying rule",
      { ...all, ingressDeny: [{ toPorts: [{ ports: [{ port: "80" }], rules: {} }] }] },
      "spec.ingressDeny[0].toPorts[0].rules",
    ],
    [
      "ICMP beside ports",
      { ...all, ingress: [{ toPorts: [{ ports: [{ port: "80" }] }], icmps: [{ fields: [{ type: 8 }] }] }] },
      "spec.ingress[0].icmps",
    ],
    [
      "an ICMP type",
      { ...all, ingress: [{ icmps: [{ fields: [{ type: 256 }] }] }] },
      "spec.ingress[0].icmps[0].fields[0].type",
    ],
    ["a node selector in a namespace", { nodeSelector: {}, ingress: [{}] }, "spec.nodeSelector"],
  ])("%s", (_, spec, path) => {
    expect(issuesOf(policy(spec))).toEqual([path]);
  });
});

it("a cluster-wide rule is of pods or of nodes, not of both", () => {
  const spec = { ...all, nodeSelector: {}, ingress: [{}] };
  expect(issuesOf(policy(spec, "CiliumClusterwideNetworkPolicy"))).toEqual(["spec"]);
});

describe("the documented truth table of denies", () => {
  const from = [{ matchLabels: { app: "client" } }];
  const on = (port: string): unknown => [{ ports: [{ port, protocol: "TCP" }] }];
  const allow = [{ fromEndpoints: from }, { fromEndpoints: from, toPorts: on("81") }, { toPorts: on("80") }];
  const denyPort = [{ fromEndpoints: from, toPorts: on("80") }];
  const denyPod = [...denyPort, { fromEndpoints: from }];

  it.each(
    ["1.16", "1.18", "1.19"].flatMap((version) => [
      { version, ingressDeny: denyPort, expected: ["allow", "181", "allow"] },
      { version, ingressDeny: denyPod, expected: ["181", "181", "181"] },
    ]),
  )("holds: $version, $ingressDeny.length denies: $expected", ({ version, ingressDeny, expected }) => {
    const endpointSelector = { matchLabels: { app: "server" } };
    const state = stateOf(policy({ endpointSelector, ingress: allow, ingressDeny }));
    const variant = ciliumVariant(version);
    const repository = resolvePolicies(state, variant);
    const identity = repository.identityOf(get(state, "x/client"));
    const { entries } = repository.policyOf(get(state, "x/server"));
    const packets = [
      { protocol: 6, port: 81 },
      { protocol: 6, port: 80 },
      { protocol: 1, port: 8 },
    ];
    const answers = packets.map((packet) =>
      lookUp(entries, { identity, direction: "ingress", ...packet }, variant.generation),
    );
    expect(answers.map((answer) => answer.split(" ")[0])).toEqual(expected);
  });
});

describe("a rule beyond layer 4", () => {
  const said = (spec: unknown, switches: Readonly<Record<string, string>> = {}): readonly Diagnostic[] =>
    resolvePolicies(stateOf(policy(spec)), ciliumVariant("1.18", switches)).diagnostics;
  const http = { ...all, ingress: [{ toPorts: [{ ports: [{ port: "80" }], rules: { http: [{}] } }] }] };
  const names = { ...all, egress: [{ toFQDNs: [{ matchName: "example.com" }] }] };

  it.each([
    [http, {}, "l7-refused", "spec.ingress[0].toPorts[0].rules.http"],
    [http, { acns: "true" }, "l7-not-emulated", "spec.ingress[0].toPorts[0].rules.http"],
    [names, {}, "fqdn-refused", "spec.egress[0].toFQDNs"],
    [names, { acns: "true" }, "fqdn-not-emulated", "spec.egress[0].toFQDNs"],
  ] as const)("%#: is told of, with its path", (spec, switches, code, path) => {
    expect(said(spec, switches).map(({ code: one, origin }) => [one, origin?.path])).toEqual([[code, path]]);
  });

  it("leaves pods unisolated where the policy is refused", () => {
    const enforced = (switches: Readonly<Record<string, string>>): boolean => {
      const state = stateOf(policy(http));
      const repository = resolvePolicies(state, ciliumVariant("1.18", switches));
      return repository.policyOf(get(state, "x/server")).ingressEnforced;
    };
    expect([enforced({}), enforced({ acns: "true" })]).toEqual([false, true]);
  });
});
