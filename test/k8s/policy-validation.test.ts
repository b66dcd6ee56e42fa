/** What the API server says of NetworkPolicies, and what it makes of those that it takes. */
import { describe, expect, it } from "vitest";
import { formatCidr } from "../../src/addr/index.ts";
import { loadObjects, type NetworkPolicy } from "../../src/k8s/index.ts";
import { faults, type RawObject } from "./load.ts";
import {
  block,
  from,
  invalid,
  keyRule,
  labelRule,
  namespaceRule,
  port,
  required,
  rows,
  subdomainRule,
} from "./policy-rules.ts";

function policy(spec: RawObject, metadata: RawObject = { name: "p", namespace: "x" }): RawObject {
  return { apiVersion: "networking.k8s.io/v1", kind: "NetworkPolicy", metadata, spec };
}

function load(spec: RawObject): NetworkPolicy {
  const [loaded] = loadObjects("test", [policy(spec)]).policies;
  if (loaded === undefined) throw new Error("no policy");
  return loaded;
}

describe.each(rows)("$rule", ({ refused, accepted }) => {
  for (const [spec, ...expected] of refused)
    it(`refuses ${JSON.stringify(spec)}`, () => {
      expect(faults(policy(spec))).toEqual(expected);
    });
  for (const spec of accepted)
    it(`accepts ${JSON.stringify(spec)}`, () => {
      expect(faults(policy(spec))).toEqual([]);
    });
});

describe("metadata of a policy", () => {
  it.each([
    { metadata: {}, expected: [required("metadata.name", "name or generateName is required")] },
    {
      metadata: { name: "A", namespace: "x" },
      expected: [invalid("metadata.name", "A", subdomainRule)],
    },
    {
      metadata: { name: "a".repeat(254) },
      expected: [invalid("metadata.name", "a".repeat(254), "must be no more than 253 characters")],
    },
    {
      metadata: { name: "p", namespace: "a_b" },
      expected: [invalid("metadata.namespace", "a_b", namespaceRule)],
    },
    {
      metadata: { name: "p", namespace: "a.b" },
      expected: [invalid("metadata.namespace", "a.b", "must not contain dots")],
    },
    {
      metadata: { name: "p", labels: { a: "$" }, annotations: { "a/b/c": "" } },
      expected: [
        invalid("metadata.labels", "$", labelRule),
        invalid(
          "metadata.annotations",
          "a/b/c",
          `a qualified name ${keyRule} with an optional DNS subdomain prefix and '/' (e.g. 'example.com/MyName')`,
        ),
      ],
    },
    {
      metadata: { generateName: "-" },
      expected: [invalid("metadata.generateName", "-", subdomainRule)],
    },
  ])("$metadata is refused", ({ metadata, expected }) => {
    expect(faults(policy({ podSelector: {} }, metadata))).toEqual(expected);
  });

  it.each([
    { name: "a.b-c", namespace: "x-1" },
    { name: "a".repeat(253) },
    { generateName: "base-" },
    { name: "p", annotations: { "Example.com/Key": "any text at all" } },
  ])("%o is accepted", (metadata) => {
    expect(faults(policy({ podSelector: {} }, metadata))).toEqual([]);
  });
});

describe("several faults", () => {
  it("are all told, in the API server's order: metadata, podSelector, ports and peers of each rule, types", () => {
    const spec = {
      policyTypes: ["Nonsense"],
      egress: [{ to: [{}], ports: [{ port: 0 }] }],
      ingress: [{ from: [{}], ports: [{ port: 70_000 }] }, { ports: [{ protocol: "X" }] }],
      podSelector: { matchLabels: { a: "$" } },
    };
    const paths = faults(policy(spec, { name: "A" })).map(([, path]) => path);
    expect(paths).toEqual([
      "metadata.name",
      "spec.podSelector.matchLabels",
      "spec.ingress[0].ports[0].port",
      "spec.ingress[0].from[0]",
      "spec.ingress[1].ports[0].protocol",
      "spec.egress[0].ports[0].port",
      "spec.egress[0].to[0]",
      "spec.policyTypes[0]",
    ]);
  });
});

describe("an accepted policy", () => {
  it.each([
    { spec: {}, types: ["Ingress"] },
    { spec: { egress: [] }, types: ["Ingress"] },
    { spec: { egress: [{}] }, types: ["Ingress", "Egress"] },
    { spec: { ingress: [{}], policyTypes: [] }, types: ["Ingress"] },
    { spec: { ingress: [{}], policyTypes: ["Egress"] }, types: ["Egress"] },
    { spec: { policyTypes: ["Egress", "Egress"] }, types: ["Egress"] },
    { spec: { policyTypes: ["Egress", "Ingress"] }, types: ["Ingress", "Egress"] },
  ])("with $spec has the types $types", ({ spec, types }) => {
    expect(load(spec).policyTypes).toEqual(types);
  });

  it("has TCP where a port names no protocol, and every port where none is named", () => {
    const [rule] = load(port({})).ingress;
    expect(rule).toEqual({
      peers: [],
      ports: [{ protocol: "TCP", port: undefined, endPort: undefined }],
    });
  });

  it.each([
    { cidr: "10.1.2.3/8", means: "10.0.0.0/8" },
    { cidr: "010.000.0.0/8", means: "10.0.0.0/8" },
    { cidr: "::ffff:10.1.0.0/112", means: "10.1.0.0/16" },
    { cidr: "2001:db8::1/64", means: "2001:db8::/64" },
  ])("reads $cidr as $means and keeps the text", ({ cidr, means }) => {
    const ipBlock = load(block({ cidr })).ingress[0]?.peers[0]?.ipBlock;
    expect(ipBlock?.cidr && formatCidr(ipBlock.cidr)).toBe(means);
    expect(ipBlock?.cidrText).toBe(cidr);
  });

  it("does not tell missing, null and empty lists apart", () => {
    const forms = [{}, { from: null, ports: null }, { from: [], ports: [] }];
    for (const form of forms) expect(load({ ingress: [form] }).ingress).toEqual([{ peers: [], ports: [] }]);
    for (const ingress of [undefined, null, []])
      expect(load({ ingress, policyTypes: ["Ingress"] }).ingress).toEqual([]);
  });

  it("tells a missing selector of a peer from an empty one", () => {
    const [one, both] = [from({ podSelector: {} }), from({ podSelector: {}, namespaceSelector: null })];
    const everything = { matchLabels: {}, matchExpressions: [] };
    for (const spec of [one, both])
      expect(load(spec).ingress[0]?.peers[0]).toEqual({
        podSelector: everything,
        namespaceSelector: undefined,
        ipBlock: undefined,
      });
  });
});
