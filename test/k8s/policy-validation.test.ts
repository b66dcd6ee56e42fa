/**
 * What the API server says of NetworkPolicies: each rule of kubernetes pkg/apis/networking/validation, its error kind,
 * field path and words, and beside each refusal a neighbour that is accepted.
 */
import { describe, expect, it } from "vitest";
import { formatCidr } from "../../src/addr/index.ts";
import { loadObjects, type NetworkPolicy } from "../../src/k8s/index.ts";
import { faults, type RawObject, type Said } from "./load.ts";

function policy(spec: RawObject, metadata: RawObject = { name: "p", namespace: "x" }): RawObject {
  return { apiVersion: "networking.k8s.io/v1", kind: "NetworkPolicy", metadata, spec };
}

function load(spec: RawObject): NetworkPolicy {
  const [loaded] = loadObjects("test", [policy(spec)]).policies;
  if (loaded === undefined) throw new Error("no policy");
  return loaded;
}

const port = (entry: RawObject): RawObject => ({ podSelector: {}, ingress: [{ ports: [entry] }] });
const from = (peer: RawObject): RawObject => ({ podSelector: {}, ingress: [{ from: [peer] }] });
const block = (ipBlock: RawObject): RawObject => from({ ipBlock });
const select = (podSelector: RawObject): RawObject => ({ podSelector });
const expression = (requirement: RawObject): RawObject => select({ matchExpressions: [requirement] });

const atPort = "spec.ingress[0].ports[0]";
const atPeer = "spec.ingress[0].from[0]";
const atBlock = `${atPeer}.ipBlock`;
const atExpression = "spec.podSelector.matchExpressions[0]";
const inRange = "must be between 1 and 65535, inclusive";
const noCidr = "must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)";
const alnumEnds = "and must start and end with an alphanumeric character";
const labelRule = `a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', ${alnumEnds} (e.g. 'MyValue',  or 'my_value',  or '12345', regex used for validation is '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')`;
const keyRule = `must consist of alphanumeric characters, '-', '_' or '.', ${alnumEnds} (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')`;
const subdomainRule = `a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', ${alnumEnds} (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')`;
const namespaceRule = `a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', ${alnumEnds} (e.g. 'my-name',  or '123-abc', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?')`;

const invalid = (path: string, value: unknown, detail: string): Said => [
  "invalid",
  path,
  `Invalid value: ${JSON.stringify(value)}: ${detail}`,
];
const required = (path: string, detail = ""): Said => [
  "required",
  path,
  `Required value${detail === "" ? "" : `: ${detail}`}`,
];

interface Row {
  readonly rule: string;
  readonly refused: readonly (readonly [RawObject, ...Said[]])[];
  readonly accepted: readonly RawObject[];
}

const rows: readonly Row[] = [
  {
    rule: "a protocol is TCP, UDP or SCTP",
    refused: [
      [
        port({ protocol: "ICMP" }),
        [
          "not-supported",
          `${atPort}.protocol`,
          'Unsupported value: "ICMP": supported values: "TCP", "UDP", "SCTP"',
        ],
      ],
      [
        port({ protocol: "tcp" }),
        [
          "not-supported",
          `${atPort}.protocol`,
          'Unsupported value: "tcp": supported values: "TCP", "UDP", "SCTP"',
        ],
      ],
      [
        port({ protocol: "" }),
        [
          "not-supported",
          `${atPort}.protocol`,
          'Unsupported value: "": supported values: "TCP", "UDP", "SCTP"',
        ],
      ],
    ],
    accepted: [port({ protocol: "TCP" }), port({ protocol: "SCTP" }), port({ protocol: null }), port({})],
  },
  {
    rule: "a port number is 1 to 65535",
    refused: [
      [port({ port: 0 }), invalid(`${atPort}.port`, 0, inRange)],
      [port({ port: 65_536 }), invalid(`${atPort}.port`, 65_536, inRange)],
      [port({ port: -1 }), invalid(`${atPort}.port`, -1, inRange)],
    ],
    accepted: [port({ port: 1 }), port({ port: 65_535 }), port({ port: null })],
  },
  {
    rule: "a port name is an IANA service name",
    refused: [
      [
        port({ port: "sixteen-letters-" }),
        invalid(`${atPort}.port`, "sixteen-letters-", "must be no more than 15 characters"),
        invalid(`${atPort}.port`, "sixteen-letters-", "must not begin or end with a hyphen"),
      ],
      [port({ port: "80" }), invalid(`${atPort}.port`, "80", "must contain at least one letter (a-z)")],
      [
        port({ port: "Http" }),
        invalid(
          `${atPort}.port`,
          "Http",
          "must contain only alpha-numeric characters (a-z, 0-9), and hyphens (-)",
        ),
      ],
      [port({ port: "a--b" }), invalid(`${atPort}.port`, "a--b", "must not contain consecutive hyphens")],
      [port({ port: "-a" }), invalid(`${atPort}.port`, "-a", "must not begin or end with a hyphen")],
      [
        port({ port: "" }),
        invalid(
          `${atPort}.port`,
          "",
          "must contain only alpha-numeric characters (a-z, 0-9), and hyphens (-)",
        ),
        invalid(`${atPort}.port`, "", "must contain at least one letter (a-z)"),
      ],
    ],
    accepted: [port({ port: "http" }), port({ port: "fifteen-letters" }), port({ port: "1a" })],
  },
  {
    rule: "endPort is no less than port and a port number, both may be said",
    refused: [
      [
        port({ port: 81, endPort: 80 }),
        invalid(`${atPort}.endPort`, 80, "must be greater than or equal to `port`"),
      ],
      [port({ port: 80, endPort: 65_536 }), invalid(`${atPort}.endPort`, 65_536, inRange)],
      [
        port({ port: 80, endPort: 0 }),
        invalid(`${atPort}.endPort`, 0, "must be greater than or equal to `port`"),
        invalid(`${atPort}.endPort`, 0, inRange),
      ],
      [
        port({ port: "http", endPort: 80 }),
        invalid(`${atPort}.endPort`, 80, "may not be specified when `port` is non-numeric"),
      ],
      [
        port({ endPort: 80 }),
        invalid(`${atPort}.endPort`, 80, "may not be specified when `port` is not specified"),
      ],
    ],
    accepted: [
      port({ port: 80, endPort: 80 }),
      port({ port: 80, endPort: 81 }),
      port({ port: 1, endPort: 65_535 }),
    ],
  },
  {
    rule: "a peer says something",
    refused: [
      [from({}), required(atPeer, "must specify a peer")],
      [
        { podSelector: {}, egress: [{}, { to: [{ podSelector: {} }, {}] }] },
        required("spec.egress[1].to[1]", "must specify a peer"),
      ],
    ],
    accepted: [from({ podSelector: {} }), from({ namespaceSelector: {} })],
  },
  {
    rule: "ipBlock stands alone in its peer",
    refused: [
      [
        from({ podSelector: {}, ipBlock: { cidr: "10.0.0.0/8" } }),
        ["forbidden", atPeer, "Forbidden: may not specify both ipBlock and another peer"],
      ],
      [
        from({ namespaceSelector: {}, ipBlock: { cidr: "10.0.0.0/8" } }),
        ["forbidden", atPeer, "Forbidden: may not specify both ipBlock and another peer"],
      ],
    ],
    accepted: [from({ podSelector: {}, namespaceSelector: {} }), block({ cidr: "10.0.0.0/8" })],
  },
  {
    rule: "an ipBlock has a CIDR",
    refused: [
      [block({}), required(`${atBlock}.cidr`)],
      [block({ cidr: "", except: ["nonsense"] }), required(`${atBlock}.cidr`)],
      [block({ cidr: "10.0.0.0" }), invalid(`${atBlock}.cidr`, "10.0.0.0", noCidr)],
      [block({ cidr: "10.0.0.0/33" }), invalid(`${atBlock}.cidr`, "10.0.0.0/33", noCidr)],
      [block({ cidr: "10.0.0/8" }), invalid(`${atBlock}.cidr`, "10.0.0/8", noCidr)],
      [block({ cidr: "2001:db8::/129" }), invalid(`${atBlock}.cidr`, "2001:db8::/129", noCidr)],
      [
        block({ cidr: "10.0.0.0/x", except: ["10.0.0.0/8"] }),
        invalid(`${atBlock}.cidr`, "10.0.0.0/x", noCidr),
      ],
    ],
    accepted: [
      block({ cidr: "0.0.0.0/0" }),
      block({ cidr: "10.1.2.3/8" }),
      block({ cidr: "10.0.0.0/08" }),
      block({ cidr: "010.000.0.0/8" }),
      block({ cidr: "::ffff:10.0.0.0/104" }),
      block({ cidr: "2001:db8::1/64" }),
      block({ cidr: "::/0", except: null }),
    ],
  },
  {
    rule: "exceptions are CIDRs strictly within the block",
    refused: [
      [
        block({ cidr: "10.0.0.0/8", except: ["10.0.0.0/8"] }),
        invalid(`${atBlock}.except[0]`, "10.0.0.0/8", "must be a strict subset of `cidr`"),
      ],
      [
        block({ cidr: "10.0.0.0/8", except: ["10.1.0.0/16", "11.0.0.0/16", "x"] }),
        invalid(`${atBlock}.except[1]`, "11.0.0.0/16", "must be a strict subset of `cidr`"),
        invalid(`${atBlock}.except[2]`, "x", noCidr),
      ],
      [
        block({ cidr: "10.0.0.0/8", except: ["0.0.0.0/0"] }),
        invalid(`${atBlock}.except[0]`, "0.0.0.0/0", "must be a strict subset of `cidr`"),
      ],
      [
        block({ cidr: "::/0", except: ["10.0.0.0/8"] }),
        invalid(`${atBlock}.except[0]`, "10.0.0.0/8", "must be a strict subset of `cidr`"),
      ],
    ],
    accepted: [
      block({ cidr: "10.0.0.0/8", except: ["10.0.0.0/9", "10.0.0.0/16", "10.0.0.0/16"] }),
      block({ cidr: "10.0.0.0/31", except: ["10.0.0.1/32"] }),
      block({ cidr: "::/0", except: ["2001:db8::/32"] }),
    ],
  },
  {
    rule: "policyTypes are at most two of Ingress and Egress",
    refused: [
      [
        { podSelector: {}, policyTypes: ["Ingress", "Egress", "Nonsense"] },
        invalid(
          "spec.policyTypes",
          ["Ingress", "Egress", "Nonsense"],
          "may not specify more than two policyTypes",
        ),
      ],
      [
        { podSelector: {}, policyTypes: ["ingress"] },
        [
          "not-supported",
          "spec.policyTypes[0]",
          'Unsupported value: "ingress": supported values: "Ingress", "Egress"',
        ],
      ],
      [
        { podSelector: {}, policyTypes: ["Egress", ""] },
        [
          "not-supported",
          "spec.policyTypes[1]",
          'Unsupported value: "": supported values: "Ingress", "Egress"',
        ],
      ],
    ],
    accepted: [
      { podSelector: {}, policyTypes: ["Ingress", "Ingress"] },
      { podSelector: {}, policyTypes: [] },
      { podSelector: {}, policyTypes: ["Egress", "Ingress"] },
    ],
  },
  {
    rule: "In and NotIn have values",
    refused: [
      [
        expression({ key: "a", operator: "In" }),
        required(`${atExpression}.values`, "must be specified when `operator` is 'In' or 'NotIn'"),
      ],
      [
        expression({ key: "a", operator: "NotIn", values: [] }),
        required(`${atExpression}.values`, "must be specified when `operator` is 'In' or 'NotIn'"),
      ],
    ],
    accepted: [
      expression({ key: "a", operator: "In", values: [""] }),
      expression({ key: "a", operator: "NotIn", values: ["b", "b"] }),
    ],
  },
  {
    rule: "Exists and DoesNotExist have none",
    refused: [
      [
        expression({ key: "a", operator: "Exists", values: ["b"] }),
        [
          "forbidden",
          `${atExpression}.values`,
          "Forbidden: may not be specified when `operator` is 'Exists' or 'DoesNotExist'",
        ],
      ],
    ],
    accepted: [
      expression({ key: "a", operator: "Exists", values: [] }),
      expression({ key: "a", operator: "DoesNotExist" }),
    ],
  },
  {
    rule: "operators are known",
    refused: [
      [
        expression({ key: "a", operator: "in", values: ["b"] }),
        invalid(`${atExpression}.operator`, "in", "not a valid selector operator"),
      ],
      [expression({ key: "a" }), invalid(`${atExpression}.operator`, "", "not a valid selector operator")],
    ],
    accepted: [],
  },
  {
    rule: "label keys are qualified names",
    refused: [
      [select({ matchLabels: { "": "v" } }), ...keyFaults("spec.podSelector.matchLabels", "")],
      [
        select({ matchLabels: { "-a": "v" } }),
        invalid("spec.podSelector.matchLabels", "-a", `name part ${keyRule}`),
      ],
      [
        select({ matchLabels: { "/a": "v" } }),
        invalid("spec.podSelector.matchLabels", "/a", "prefix part must be non-empty"),
      ],
      [
        select({ matchLabels: { "A.b/a": "v" } }),
        invalid("spec.podSelector.matchLabels", "A.b/a", `prefix part ${subdomainRule}`),
      ],
      [
        select({ matchLabels: { "a/b/c": "v" } }),
        invalid(
          "spec.podSelector.matchLabels",
          "a/b/c",
          `a qualified name ${keyRule} with an optional DNS subdomain prefix and '/' (e.g. 'example.com/MyName')`,
        ),
      ],
      [
        select({ matchLabels: { ["a".repeat(64)]: "v" } }),
        invalid(
          "spec.podSelector.matchLabels",
          "a".repeat(64),
          "name part must be no more than 63 characters",
        ),
      ],
      [expression({ operator: "Exists" }), ...keyFaults(`${atExpression}.key`, "")],
    ],
    accepted: [
      select({ matchLabels: { "example.com/a_b.C-d": "v", ["a".repeat(63)]: "" } }),
      expression({ key: "a.b.c/d", operator: "Exists" }),
    ],
  },
  {
    rule: "label values are labels",
    refused: [
      [select({ matchLabels: { a: "b c" } }), invalid("spec.podSelector.matchLabels", "b c", labelRule)],
      [
        select({ matchLabels: { a: "v".repeat(64) } }),
        invalid("spec.podSelector.matchLabels", "v".repeat(64), "must be no more than 63 characters"),
      ],
      [
        expression({ key: "a", operator: "In", values: ["ok", "-"] }),
        invalid(`${atExpression}.values[1]`, "-", labelRule),
      ],
      [
        from({ namespaceSelector: { matchLabels: { a: "$" } } }),
        invalid(`${atPeer}.namespaceSelector.matchLabels`, "$", labelRule),
      ],
    ],
    accepted: [select({ matchLabels: { a: "", b: "v".repeat(63), c: "1_a.B-2" } })],
  },
  {
    rule: "fields are the API's",
    refused: [
      [{ podSelectors: {} }, ["invalid", "spec.podSelectors", 'unknown field "spec.podSelectors"']],
      [
        { podSelector: {}, ingress: [{ to: [{ podSelector: {} }] }] },
        ["invalid", "spec.ingress[0].to", 'unknown field "spec.ingress[0].to"'],
      ],
      [
        from({ podSelector: { app: "a" } }),
        ["invalid", `${atPeer}.podSelector.app`, `unknown field "${atPeer}.podSelector.app"`],
      ],
    ],
    accepted: [{ podSelector: null, ingress: null, egress: null, policyTypes: null }, {}],
  },
];

function keyFaults(path: string, key: string): readonly Said[] {
  return [invalid(path, key, "name part must be non-empty"), invalid(path, key, `name part ${keyRule}`)];
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
