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
  const said = (
    spec: unknown,
    switches: Readonly<Record<string, string>> = {},
    version = "1.18",
  ): readonly Diagnostic[] =>
    resolvePolicies(stateOf(policy(spec)), ciliumVariant(version, switches)).diagnostics;
  const tcp = { port: "80", protocol: "TCP" };
  const ports = (rule: object, direction: "ingress" | "egress" = "ingress"): object => ({
    ...all,
    [direction]: [{ toPorts: [{ ports: [tcp], ...rule }] }],
  });
  const peers = (direction: "ingress" | "egress", peer: object): object => ({ ...all, [direction]: [peer] });
  const http = ports({ rules: { http: [{ method: "GET", path: "/x" }] } });
  const names = peers("egress", { toFQDNs: [{ matchName: "example.com" }] });
  const acns = { acns: "true" };
  const at = "spec.ingress[0].toPorts[0]";
  const out = "spec.egress[0].toPorts[0]";
  const secret = { secret: { name: "tls" } };
  const listener = { envoyConfig: { name: "e" }, name: "l" };

  it.each([
    [http, {}, "l7-refused", `${at}.rules.http`],
    [http, acns, "l7-not-emulated", `${at}.rules.http`],
    [ports({ rules: { kafka: [{ topic: "t" }] } }), {}, "l7-refused", `${at}.rules.kafka`],
    [ports({ rules: { l7proto: "p", l7: [{ a: "b" }] } }), {}, "l7-refused", `${at}.rules.l7proto`],
    [ports({ terminatingTLS: secret }), {}, "l7-refused", `${at}.terminatingTLS`],
    [ports({ originatingTLS: secret }), {}, "l7-refused", `${at}.originatingTLS`],
    [ports({ serverNames: ["a.example"] }), {}, "l7-refused", `${at}.serverNames`],
    [ports({ listener }, "egress"), {}, "l7-refused", `${out}.listener`],
    [ports({ rules: { dns: [{ matchPattern: "*" }] } }, "egress"), {}, "l7-refused", `${out}.rules.dns`],
    [names, {}, "fqdn-refused", "spec.egress[0].toFQDNs"],
    [names, acns, "fqdn-not-emulated", "spec.egress[0].toFQDNs"],
    [peers("ingress", { fromNodes: [{}] }), acns, "node-labels-refused", "spec.ingress[0].fromNodes"],
    [peers("egress", { toGroups: [{ aws: {} }] }), acns, "cloud-groups-refused", "spec.egress[0].toGroups"],
    [
      peers("ingress", { fromRequires: [{}] }),
      acns,
      "requirements-not-emulated",
      "spec.ingress[0].fromRequires",
    ],
    [
      peers("ingress", { authentication: { mode: "required" } }),
      acns,
      "authentication-never",
      "spec.ingress[0].authentication",
    ],
  ] as const)("%#: is told of, with its path", (spec, switches, code, path) => {
    expect(said(spec, switches).map(({ code: one, origin }) => [one, origin?.path])).toEqual([[code, path]]);
  });

  it.each([
    [{ rules: { http: [{}] }, ports: [{ port: "80" }] }, "ingress", "ports[0].protocol", /TCP \(not ANY\)/],
    [{ rules: { http: [{}] }, ports: [{ ...tcp, port: "0" }] }, "egress", "ports[0].port", /port is 0/],
    [{ rules: { dns: [{ matchName: "a.b" }] } }, "ingress", "rules.dns", /not allowed on ingress/],
    [{ rules: { dns: [{ matchName: "a.b" }] }, ports: [] }, "egress", "ports", /Port 53 must be specified/],
    [
      { rules: { dns: [{ matchName: "a.b" }] }, ports: [{ port: "53", endPort: 54 }] },
      "egress",
      "ports[0].endPort",
      /port ranges/,
    ],
    [{ serverNames: [""] }, "ingress", "serverNames", /Empty server name/],
    [{ serverNames: ["a"], rules: { http: [{}] } }, "egress", "serverNames", /without TLS termination/],
    [{ listener }, "ingress", "listener", /not allowed on ingress/],
    [{ listener, rules: { http: [{}] } }, "egress", "listener", /with L7 rules/],
  ] as const)("%#: that the agent refuses takes its policy with it", (rule, direction, where, why) => {
    const spec = ports(rule, direction);
    const path = `spec.${direction}[0].toPorts[0].${where}`;
    const refused = said(spec, acns).filter(({ code }) => code === "policy-refused");
    expect(refused.map(({ origin, severity }) => [origin?.path, severity])).toContainEqual([path, "error"]);
    expect(refused.map(({ message }) => message).join()).toMatch(why);
    expect(said(spec).map(({ code }) => code)).not.toContain("policy-refused"); // L7 is refused before
    const state = stateOf(policy(spec));
    const { ingressEnforced, egressEnforced } = resolvePolicies(state, ciliumVariant("1.18", acns)).policyOf(
      get(state, "x/server"),
    );
    expect([ingressEnforced, egressEnforced]).toEqual([false, false]);
  });

  it("leaves pods unisolated where the policy is refused", () => {
    const enforced = (switches: Readonly<Record<string, string>>): boolean => {
      const state = stateOf(policy(http));
      const repository = resolvePolicies(state, ciliumVariant("1.18", switches));
      return repository.policyOf(get(state, "x/server")).ingressEnforced;
    };
    expect([enforced({}), enforced(acns)]).toEqual([false, true]);
  });

  it("that wants peers to authenticate isolates and lets none in, unless the mode is disabled", () => {
    const allowed = (mode: string): number => {
      const state = stateOf(policy(peers("ingress", { fromEndpoints: [{}], authentication: { mode } })));
      const { entries, ingressEnforced } = resolvePolicies(state, ciliumVariant("1.18")).policyOf(
        get(state, "x/server"),
      );
      expect(ingressEnforced).toBe(true);
      return entries.filter(({ direction, identity }) => direction === "ingress" && identity > 255).length;
    };
    expect([allowed("required"), allowed("test-always-fail"), allowed("disabled")]).toEqual([0, 0, 2]);
  });

  it("is told of as far as the version does not know it", () => {
    const range = { ...all, ingress: [{ toPorts: [{ ports: [{ ...tcp, endPort: 90 }] }] }] };
    const open = { ...all, ingress: [{}], enableDefaultDeny: { ingress: false } };
    const told = (spec: unknown, version: string): readonly (string | undefined)[] =>
      said(spec, {}, version).map(({ origin }) => origin?.path);
    expect(told(range, "1.14")).toEqual(["spec.ingress[0].toPorts[0].ports[0].endPort"]);
    expect(told(open, "1.14")).toEqual(["spec.enableDefaultDeny"]);
    expect([told(range, "1.16"), told(open, "1.16")]).toEqual([[], []]);
  });

  it.each([
    [ports({ rules: { http: [{ verb: "GET" }] } }), `${at}.rules.http[0].verb`],
    [
      ports({ rules: { http: [{ headerMatches: [{ value: "x" }] }] } }),
      `${at}.rules.http[0].headerMatches[0].name`,
    ],
    [ports({ rules: { kafka: [{ role: "produce", apiKey: "fetch" }] } }), `${at}.rules.kafka[0].apiKey`],
    [ports({ rules: { smtp: [] } }), `${at}.rules.smtp`],
    [ports({ rules: { dns: [{}] } }, "egress"), `${out}.rules.dns[0]`],
    [ports({ terminatingTLS: {} }), `${at}.terminatingTLS.secret`],
    [ports({ listener: { ...listener, priority: 101 } }, "egress"), `${out}.listener.priority`],
    [peers("egress", { toFQDNs: [{ matchName: "a b" }] }), "spec.egress[0].toFQDNs[0].matchName"],
    [
      peers("egress", { toFQDNs: [{ matchName: "a", matchPattern: "*" }] }),
      "spec.egress[0].toFQDNs[0].matchPattern",
    ],
    [peers("egress", { toGroups: [{ gcp: {} }] }), "spec.egress[0].toGroups[0].gcp"],
    [peers("ingress", { fromNodes: [{ labels: {} }] }), "spec.ingress[0].fromNodes[0].labels"],
    [peers("ingress", { authentication: { mode: "spire" } }), "spec.ingress[0].authentication.mode"],
    [peers("ingress", { authentication: { type: "x" } }), "spec.ingress[0].authentication.type"],
    [{ ...all, ingress: [{}], log: { text: "x" } }, "spec.log.text"],
    [{ ...all, ingress: [{}], labels: [{ name: "x" }] }, "spec.labels[0].name"],
  ] as const)("%#: is no place for fields that the API does not have", (spec, path) => {
    expect(issuesOf(policy(spec))).toContain(path);
  });
});
