/**
 * The rules of kubernetes pkg/apis/networking/validation as data: what is refused with which error kind, field path and
 * words, and beside it a neighbour that is accepted.
 */
import type { RawObject, Said } from "./load.ts";

export const port = (entry: RawObject): RawObject => ({ podSelector: {}, ingress: [{ ports: [entry] }] });
export const from = (peer: RawObject): RawObject => ({ podSelector: {}, ingress: [{ from: [peer] }] });
export const block = (ipBlock: RawObject): RawObject => from({ ipBlock });
const select = (podSelector: RawObject): RawObject => ({ podSelector });
const expression = (requirement: RawObject): RawObject => select({ matchExpressions: [requirement] });

const atPort = "spec.ingress[0].ports[0]";
const atPeer = "spec.ingress[0].from[0]";
const atBlock = `${atPeer}.ipBlock`;
const atExpression = "spec.podSelector.matchExpressions[0]";
export const inRange = "must be between 1 and 65535, inclusive";
const noCidr = "must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)";
const alnumEnds = "and must start and end with an alphanumeric character";
export const labelRule: string = `a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', ${alnumEnds} (e.g. 'MyValue',  or 'my_value',  or '12345', regex used for validation is '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')`;
export const keyRule: string = `must consist of alphanumeric characters, '-', '_' or '.', ${alnumEnds} (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')`;
export const subdomainRule: string = `a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', ${alnumEnds} (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')`;
export const namespaceRule: string = `a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', ${alnumEnds} (e.g. 'my-name',  or '123-abc', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?')`;

export const invalid = (path: string, value: unknown, detail: string): Said => [
  "invalid",
  path,
  `Invalid value: ${JSON.stringify(value)}: ${detail}`,
];
export const required = (path: string, detail = ""): Said => [
  "required",
  path,
  `Required value${detail === "" ? "" : `: ${detail}`}`,
];

export interface Row {
  readonly rule: string;
  readonly refused: readonly (readonly [RawObject, ...Said[]])[];
  readonly accepted: readonly RawObject[];
}

export const rows: readonly Row[] = [
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
