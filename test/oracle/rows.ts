/**
 * networking.k8s.io/v1 row by row: policies, and what they allow and deny of a small world. The expectations are those
 * of the API's types, of the concept page and of upstream's end-to-end tests; none was taken from the code.
 */
import { namespace, nodes, type PodTweaks, pod, policy, type RawObject } from "./world.ts";

const web: PodTweaks = {
  labels: { app: "web", tier: "front" },
  containers: [
    {
      name: "a",
      ports: [
        { name: "http", containerPort: 80 },
        { name: "admin", containerPort: 8080 },
      ],
    },
    { name: "b", ports: [{ name: "dns", containerPort: 53, protocol: "UDP" }] },
  ],
};
export const base: readonly RawObject[] = [
  ...nodes,
  namespace("x", { team: "red" }),
  namespace("y", { team: "blue", env: "prod" }),
  namespace("z"),
  pod("x/web", { ...web, podIPs: ["10.224.0.10"] }),
  pod("x/db", { labels: { app: "db" }, podIPs: ["10.224.0.11"] }),
  pod("x/bare", { node: "n2", podIPs: ["10.224.1.10"] }),
  pod("y/web", {
    labels: { app: "web" },
    node: "n2",
    podIPs: ["10.224.1.11"],
    containers: [{ name: "a", ports: [{ name: "http", containerPort: 8000 }] }],
  }),
  pod("z/job", { labels: { app: "job" }, node: "n2", podIPs: ["10.224.1.12"] }),
];

export interface Row {
  readonly what: string;
  readonly policies: readonly RawObject[];
  readonly allowed?: readonly string[];
  readonly denied?: readonly string[];
}

/** The policy selects x/web; `spec` says the rest. */
const onWeb = (spec: RawObject): RawObject =>
  policy("x/p", { podSelector: { matchLabels: { app: "web" } }, ...spec });
const fromPeer = (peer: RawObject): readonly RawObject[] => [onWeb({ ingress: [{ from: [peer] }] })];
const toPeer = (peer: RawObject): readonly RawObject[] => [
  onWeb({ policyTypes: ["Egress"], egress: [{ to: [peer] }] }),
];
const onPort = (port: RawObject): readonly RawObject[] => [onWeb({ ingress: [{ ports: [port] }] })];

export const decision: readonly Row[] = [
  {
    what: "without policies everything is allowed",
    policies: [],
    allowed: [
      "x/db > x/web TCP 80",
      "ip:203.0.113.7 > x/web UDP 1",
      "x/web > ip:203.0.113.7 SCTP 9",
      "node:n2 > x/web TCP 80",
    ],
  },
  {
    what: "a policy isolates the pods that it selects, in its namespace, in its directions, and no other",
    policies: [onWeb({})],
    denied: ["x/db > x/web TCP 80", "y/web > x/web TCP 80", "ip:203.0.113.7 > x/web TCP 80"],
    allowed: ["x/web > x/db TCP 80", "x/web > x/bare TCP 80", "x/db > y/web TCP 80", "x/db > x/bare TCP 80"],
  },
  {
    what: "a pod cannot be isolated from itself",
    policies: [policy("x/p", { podSelector: {}, policyTypes: ["Ingress", "Egress"] })],
    allowed: ["x/web > x/web TCP 80", "x/db > x/db UDP 1"],
    denied: ["x/web > x/db TCP 80"],
  },
  {
    what: "the pod's own node always reaches it, other nodes do not",
    policies: [onWeb({})],
    allowed: ["node:n1 > x/web TCP 80"],
    denied: ["node:n2 > x/web TCP 80"],
  },
  {
    what: "both sides must allow: an allow on one side never makes up for a deny on the other",
    policies: [
      onWeb({ ingress: [{}] }),
      policy("x/q", { podSelector: { matchLabels: { app: "db" } }, policyTypes: ["Egress"] }),
    ],
    denied: ["x/db > x/web TCP 80"],
    allowed: ["x/bare > x/web TCP 80"],
  },
  {
    what: "policies add up: what any of them allows is allowed",
    policies: [
      onWeb({}),
      policy("x/q", {
        podSelector: {},
        ingress: [{ from: [{ podSelector: { matchLabels: { app: "db" } } }] }],
      }),
      policy("x/r", {
        podSelector: { matchLabels: { tier: "front" } },
        ingress: [{ ports: [{ port: 443 }] }],
      }),
    ],
    allowed: ["x/db > x/web TCP 80", "y/web > x/web TCP 443"],
    denied: ["y/web > x/web TCP 80", "y/web > x/db TCP 443", "x/bare > x/web TCP 80"],
  },
  {
    what: "what is no pod is never isolated on its own side",
    policies: [
      policy("x/p", { podSelector: {}, policyTypes: ["Ingress", "Egress"], ingress: [{}], egress: [{}] }),
    ],
    allowed: [
      "ip:203.0.113.7 > x/web TCP 80",
      "x/web > ip:203.0.113.7 TCP 80",
      "node:n2 > x/web TCP 80",
      "x/web > node:n2 TCP 22",
    ],
  },
];

export const types: readonly Row[] = [
  {
    what: "no types, no rules: ingress",
    policies: [onWeb({})],
    denied: ["x/db > x/web TCP 80"],
    allowed: ["x/web > x/db TCP 80"],
  },
  {
    what: "no types, egress rules: both directions",
    policies: [onWeb({ egress: [{ ports: [{ port: 53 }] }] })],
    denied: ["x/db > x/web TCP 80", "x/web > x/db TCP 80"],
    allowed: ["x/web > x/db TCP 53"],
  },
  {
    what: "no types, an empty list of egress rules: ingress alone",
    policies: [onWeb({ egress: [] })],
    denied: ["x/db > x/web TCP 80"],
    allowed: ["x/web > x/db TCP 80"],
  },
  {
    what: "an empty list of types is none",
    policies: [onWeb({ policyTypes: [], egress: [{}] })],
    denied: ["x/db > x/web TCP 80"],
    allowed: ["x/web > x/db TCP 80"],
  },
  {
    what: "Egress with ingress rules alone: these are inert, egress is shut",
    policies: [onWeb({ policyTypes: ["Egress"], ingress: [{ from: [{ podSelector: {} }] }] })],
    denied: ["x/web > x/db TCP 80"],
    allowed: ["x/db > x/web TCP 80", "y/web > x/web TCP 80"],
  },
  {
    what: "Ingress with egress rules alone: these are inert",
    policies: [onWeb({ policyTypes: ["Ingress"], egress: [{ ports: [{ port: 1 }] }] })],
    denied: ["x/db > x/web TCP 80"],
    allowed: ["x/web > x/db TCP 80"],
  },
  {
    what: "a type given twice is given once",
    policies: [onWeb({ policyTypes: ["Egress", "Egress"] })],
    denied: ["x/web > x/db TCP 80"],
    allowed: ["x/db > x/web TCP 80"],
  },
];

export const lists: readonly Row[] = [
  ...[undefined, null, []].map(
    (ingress): Row => ({
      what: `ingress ${JSON.stringify(ingress)} has no rule`,
      policies: [onWeb({ policyTypes: ["Ingress"], ingress })],
      denied: ["x/db > x/web TCP 80"],
    }),
  ),
  ...[{}, { from: null, ports: null }, { from: [], ports: [] }].map(
    (rule): Row => ({
      what: `the rule ${JSON.stringify(rule)} allows everything`,
      policies: [onWeb({ ingress: [rule] })],
      allowed: [
        "x/db > x/web TCP 80",
        "z/job > x/web SCTP 9",
        "ip:203.0.113.7 > x/web UDP 1",
        "node:n2 > x/web TCP 80",
      ],
    }),
  ),
  {
    what: "a rule with ports alone allows them from everywhere, within and without the cluster",
    policies: onPort({ port: 80 }),
    allowed: ["z/job > x/web TCP 80", "ip:203.0.113.7 > x/web TCP 80", "node:n2 > x/web TCP 80"],
    denied: ["z/job > x/web TCP 81", "z/job > x/web UDP 80"],
  },
  {
    what: "a rule with peers alone allows every port of every protocol",
    policies: fromPeer({ podSelector: { matchLabels: { app: "db" } } }),
    allowed: ["x/db > x/web TCP 1", "x/db > x/web UDP 65535", "x/db > x/web SCTP 9"],
    denied: ["x/bare > x/web TCP 1"],
  },
  {
    what: "peers and ports of one rule must both match; rules are alternatives",
    policies: [
      onWeb({
        ingress: [
          { from: [{ podSelector: { matchLabels: { app: "db" } } }], ports: [{ port: 80 }] },
          { from: [{ namespaceSelector: {} }], ports: [{ port: 443 }] },
        ],
      }),
    ],
    allowed: ["x/db > x/web TCP 80", "y/web > x/web TCP 443", "x/db > x/web TCP 443"],
    denied: ["y/web > x/web TCP 80", "x/db > x/web TCP 8080", "ip:203.0.113.7 > x/web TCP 443"],
  },
];

export const peers: readonly Row[] = [
  {
    what: "podSelector alone: pods of the policy's namespace",
    policies: fromPeer({ podSelector: { matchLabels: { app: "web" } } }),
    denied: ["y/web > x/web TCP 80", "x/db > x/web TCP 80", "ip:203.0.113.7 > x/web TCP 80"],
  },
  {
    what: "an empty podSelector: all pods of the policy's namespace and nothing else",
    policies: fromPeer({ podSelector: {} }),
    allowed: ["x/db > x/web TCP 80", "x/bare > x/web TCP 80"],
    denied: ["y/web > x/web TCP 80", "ip:10.224.9.9 > x/web TCP 80", "node:n2 > x/web TCP 80"],
  },
  {
    what: "namespaceSelector alone: all pods of matching namespaces, the policy's own only if it matches",
    policies: fromPeer({ namespaceSelector: { matchLabels: { team: "blue" } } }),
    allowed: ["y/web > x/web TCP 80"],
    denied: ["x/db > x/web TCP 80", "z/job > x/web TCP 80"],
  },
  {
    what: "an empty namespaceSelector: all pods everywhere, but pods only",
    policies: fromPeer({ namespaceSelector: {} }),
    allowed: ["y/web > x/web TCP 80", "x/db > x/web TCP 80", "z/job > x/web TCP 80"],
    denied: ["ip:203.0.113.7 > x/web TCP 80", "node:n2 > x/web TCP 80"],
  },
  {
    what: "both in one peer: and",
    policies: fromPeer({
      namespaceSelector: { matchLabels: { team: "blue" } },
      podSelector: { matchLabels: { app: "web" } },
    }),
    allowed: ["y/web > x/web TCP 80"],
    denied: ["x/db > x/web TCP 80", "z/job > x/web TCP 80"],
  },
  {
    what: "both as two peers: or, the podSelector in the policy's namespace",
    policies: [
      onWeb({
        ingress: [
          {
            from: [
              { namespaceSelector: { matchLabels: { team: "blue" } } },
              { podSelector: { matchLabels: { app: "db" } } },
            ],
          },
        ],
      }),
    ],
    allowed: ["y/web > x/web TCP 80", "x/db > x/web TCP 80"],
    denied: ["x/bare > x/web TCP 80", "z/job > x/web TCP 80"],
  },
  {
    what: "the namespace's name as a label",
    policies: fromPeer({ namespaceSelector: { matchLabels: { "kubernetes.io/metadata.name": "z" } } }),
    allowed: ["z/job > x/web TCP 80"],
    denied: ["y/web > x/web TCP 80"],
  },
  {
    what: "egress peers are destinations",
    policies: toPeer({ namespaceSelector: { matchLabels: { env: "prod" } } }),
    allowed: ["x/web > y/web TCP 80"],
    denied: ["x/web > x/db TCP 80", "x/web > ip:203.0.113.7 TCP 80"],
  },
];

const requirement = (key: string, operator: string, ...values: readonly string[]): RawObject => ({
  podSelector: { matchExpressions: [{ key, operator, ...(values.length > 0 ? { values } : {}) }] },
});
export const operators: readonly Row[] = [
  {
    what: "In",
    policies: fromPeer(requirement("app", "In", "db", "job")),
    allowed: ["x/db > x/web TCP 80"],
    denied: ["x/bare > x/web TCP 80"],
  },
  {
    what: "NotIn takes in pods without the key",
    policies: fromPeer(requirement("app", "NotIn", "db")),
    allowed: ["x/bare > x/web TCP 80"],
    denied: ["x/db > x/web TCP 80"],
  },
  {
    what: "Exists",
    policies: fromPeer(requirement("app", "Exists")),
    allowed: ["x/db > x/web TCP 80"],
    denied: ["x/bare > x/web TCP 80"],
  },
  {
    what: "DoesNotExist",
    policies: fromPeer(requirement("app", "DoesNotExist")),
    allowed: ["x/bare > x/web TCP 80"],
    denied: ["x/db > x/web TCP 80"],
  },
  {
    what: "requirements and labels all hold",
    policies: fromPeer({
      podSelector: {
        matchLabels: { app: "db" },
        matchExpressions: [
          { key: "tier", operator: "DoesNotExist" },
          { key: "app", operator: "NotIn", values: ["web"] },
        ],
      },
    }),
    allowed: ["x/db > x/web TCP 80"],
    denied: ["x/bare > x/web TCP 80"],
  },
  {
    what: "NotIn of several values excludes each, also for namespaces",
    policies: fromPeer({
      namespaceSelector: { matchExpressions: [{ key: "team", operator: "NotIn", values: ["red", "blue"] }] },
    }),
    allowed: ["z/job > x/web TCP 80"],
    denied: ["y/web > x/web TCP 80", "x/db > x/web TCP 80", "node:n2 > x/web TCP 80"],
  },
  {
    what: "an empty value is a value",
    policies: [...fromPeer(requirement("app", "In", ""))],
    denied: ["x/bare > x/web TCP 80", "x/db > x/web TCP 80"],
  },
  {
    what: "keys that JavaScript's objects have by themselves are keys that no pod has",
    policies: fromPeer(requirement("constructor", "DoesNotExist")),
    allowed: ["x/bare > x/web TCP 80", "x/db > x/web TCP 80"],
  },
];

export const ports: readonly Row[] = [
  {
    what: "an empty entry is every TCP port, not every protocol",
    policies: onPort({}),
    allowed: ["x/db > x/web TCP 1", "x/db > x/web TCP 65535"],
    denied: ["x/db > x/web UDP 80", "x/db > x/web SCTP 80"],
  },
  {
    what: "a protocol alone is every port of it",
    policies: onPort({ protocol: "UDP" }),
    allowed: ["x/db > x/web UDP 9"],
    denied: ["x/db > x/web TCP 9"],
  },
  {
    what: "a number is that port of TCP",
    policies: onPort({ port: 80 }),
    allowed: ["x/db > x/web TCP 80"],
    denied: ["x/db > x/web TCP 79", "x/db > x/web TCP 81", "x/db > x/web UDP 80"],
  },
  {
    what: "a number need not be declared by a container",
    policies: onPort({ port: 12345 }),
    allowed: ["x/db > x/web TCP 12345"],
    denied: ["x/db > x/web TCP 80"],
  },
  {
    what: "endPort is inclusive",
    policies: onPort({ port: 80, endPort: 90 }),
    allowed: ["x/db > x/web TCP 80", "x/db > x/web TCP 90"],
    denied: ["x/db > x/web TCP 79", "x/db > x/web TCP 91"],
  },
  {
    what: "endPort may equal port",
    policies: onPort({ port: 80, endPort: 80 }),
    allowed: ["x/db > x/web TCP 80"],
    denied: ["x/db > x/web TCP 81"],
  },
  {
    what: "the whole range",
    policies: onPort({ port: 1, endPort: 65_535 }),
    allowed: ["x/db > x/web TCP 1", "x/db > x/web TCP 65535"],
    denied: ["x/db > x/web UDP 1"],
  },
  {
    what: "a name is the number that the destination's containers give it",
    policies: onPort({ port: "http" }),
    allowed: ["x/db > x/web TCP 80"],
    denied: ["x/db > x/web TCP 8080", "x/db > x/web TCP 8000"],
  },
  {
    what: "a name with another protocol matches nothing, and still isolates",
    policies: onPort({ port: "dns" }),
    denied: ["x/db > x/web TCP 53", "x/db > x/web UDP 53"],
  },
  {
    what: "a name with its protocol",
    policies: onPort({ port: "dns", protocol: "UDP" }),
    allowed: ["x/db > x/web UDP 53"],
    denied: ["x/db > x/web TCP 53"],
  },
  {
    what: "a name that no container has matches nothing",
    policies: onPort({ port: "nothing" }),
    denied: ["x/db > x/web TCP 80"],
  },
  {
    what: "for egress each destination resolves the name for itself",
    policies: [
      policy("x/p", {
        podSelector: { matchLabels: { app: "db" } },
        policyTypes: ["Egress"],
        egress: [{ ports: [{ port: "http" }] }],
      }),
    ],
    allowed: ["x/db > x/web TCP 80", "x/db > y/web TCP 8000"],
    denied: [
      "x/db > x/web TCP 8000",
      "x/db > y/web TCP 80",
      "x/db > x/bare TCP 80",
      "x/db > ip:203.0.113.7 TCP 80",
      "x/db > node:n2 TCP 80",
    ],
  },
  {
    what: "a name with an ipBlock resolves for pods in it alone",
    policies: [
      policy("x/p", {
        podSelector: { matchLabels: { app: "db" } },
        policyTypes: ["Egress"],
        egress: [{ to: [{ ipBlock: { cidr: "0.0.0.0/0" } }], ports: [{ port: "http" }] }],
      }),
    ],
    allowed: ["x/db > x/web TCP 80"],
    denied: ["x/db > ip:203.0.113.7 TCP 80"],
  },
  {
    what: "SCTP, UDP and TCP are apart",
    policies: onPort({ protocol: "SCTP", port: 80 }),
    allowed: ["x/db > x/web SCTP 80"],
    denied: ["x/db > x/web TCP 80", "x/db > x/web UDP 80"],
  },
];

export const blocks: readonly Row[] = [
  {
    what: "one address",
    policies: fromPeer({ ipBlock: { cidr: "203.0.113.7/32" } }),
    allowed: ["ip:203.0.113.7 > x/web TCP 80"],
    denied: ["ip:203.0.113.6 > x/web TCP 80", "ip:203.0.113.8 > x/web TCP 80"],
  },
  {
    what: "a block, its edges included",
    policies: fromPeer({ ipBlock: { cidr: "203.0.113.0/24" } }),
    allowed: ["ip:203.0.113.0 > x/web TCP 80", "ip:203.0.113.255 > x/web TCP 80"],
    denied: ["ip:203.0.112.255 > x/web TCP 80", "ip:203.0.114.0 > x/web TCP 80"],
  },
  {
    what: "host bits do not matter",
    policies: fromPeer({ ipBlock: { cidr: "203.0.113.77/24" } }),
    allowed: ["ip:203.0.113.1 > x/web TCP 80"],
  },
  {
    what: "the whole space: hosts, nodes and pods",
    policies: fromPeer({ ipBlock: { cidr: "0.0.0.0/0" } }),
    allowed: ["ip:203.0.113.7 > x/web TCP 80", "node:n2 > x/web TCP 80", "y/web > x/web TCP 80"],
  },
  {
    what: "exceptions are taken out",
    policies: fromPeer({ ipBlock: { cidr: "10.0.0.0/8", except: ["10.224.0.0/24", "10.224.1.11/32"] } }),
    allowed: ["x/bare > x/web TCP 80", "ip:10.1.1.1 > x/web TCP 80"],
    denied: ["x/db > x/web TCP 80", "y/web > x/web TCP 80", "ip:10.224.0.200 > x/web TCP 80"],
  },
  {
    what: "an exception is no deny: another peer, rule or policy may allow it",
    policies: [
      onWeb({
        ingress: [
          {
            from: [
              { ipBlock: { cidr: "10.0.0.0/8", except: ["10.224.0.0/24"] } },
              { podSelector: { matchLabels: { app: "db" } } },
            ],
          },
        ],
      }),
      policy("x/q", { podSelector: {}, ingress: [{ from: [{ ipBlock: { cidr: "10.224.0.200/32" } }] }] }),
    ],
    allowed: ["x/db > x/web TCP 80", "ip:10.224.0.200 > x/web TCP 80"],
    denied: ["ip:10.224.0.201 > x/web TCP 80"],
  },
  {
    what: "for egress: pods, nodes and hosts by their address",
    policies: toPeer({ ipBlock: { cidr: "10.224.1.0/24" } }),
    allowed: ["x/web > y/web TCP 80", "x/web > node:n2 TCP 22"],
    denied: ["x/web > x/db TCP 80", "x/web > ip:203.0.113.7 TCP 80"],
  },
  {
    what: "of another family matches nothing",
    policies: fromPeer({ ipBlock: { cidr: "::/0" } }),
    denied: ["x/db > x/web TCP 80", "ip:203.0.113.7 > x/web TCP 80"],
  },
];
