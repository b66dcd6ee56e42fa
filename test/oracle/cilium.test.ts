/**
 * The second reading of Cilium's policies, held to what Cilium's documentation says: rules of layers 3 and 4 one by one,
 * precedence, default deny. None of the expectations was taken from code.
 */
import { describe, expect, it } from "vitest";
import {
  createCiliumReading,
  defaultCiliumReading,
  type WrittenPolicy,
  type WrittenSpec,
} from "../../src/oracle/index.ts";
import { namespace, nodes, pod, policy, type RawObject, world } from "./world.ts";

const web = (number: number): RawObject => ({
  labels: { app: "web", "pod-template-hash": "1" },
  containers: [{ name: "main", ports: [{ name: "http", containerPort: number }] }],
});

const base: readonly RawObject[] = [
  ...nodes,
  namespace("x", { team: "red" }),
  namespace("y", { team: "blue" }),
  pod("x/web", { ...web(80), podIPs: ["10.224.0.10"] }),
  pod("x/client", { labels: { app: "client" }, podIPs: ["10.224.0.11"] }),
  pod("x/host", { labels: { app: "client" }, node: "n2", hostNetwork: true }),
  pod("y/web", { labels: { app: "web" }, node: "n2", podIPs: ["10.224.1.10"] }),
  {
    apiVersion: "v1",
    kind: "Service",
    metadata: { name: "web", namespace: "x" },
    spec: { selector: { app: "web" }, ports: [{ port: 80 }] },
  },
];

const cnp = (spec: WrittenSpec, inNamespace = "x"): WrittenPolicy => ({
  kind: "CiliumNetworkPolicy",
  metadata: { name: "p", namespace: inNamespace },
  spec,
});
const ccnp = (spec: WrittenSpec): WrittenPolicy => ({
  kind: "CiliumClusterwideNetworkPolicy",
  metadata: { name: "p" },
  spec,
});

/** Which of the questions are allowed. */
function allowed(
  policies: readonly WrittenPolicy[],
  questions: readonly string[],
  objects: readonly RawObject[] = [],
  options?: Parameters<typeof createCiliumReading>[3],
): readonly string[] {
  const { state, cell } = world([...base, ...objects]);
  const groups = [{ metadata: { name: "g" }, spec: { externalCIDRs: ["203.0.113.0/24"] } }];
  const judge = createCiliumReading(state, policies, groups, options);
  return questions.filter((question) => judge(cell(question)).verdict === "allow");
}

/** Everyone to x/web, and x/web to everyone. */
const sources = ["x/client", "y/web", "x/host", "node:n1", "node:n2", "ip:203.0.113.7", "ip:8.8.8.8"];
const whoReaches = (spec: WrittenSpec, from = cnp): readonly string[] =>
  allowed(
    [from(spec)],
    sources.map((who) => `${who} > x/web TCP 80`),
  ).map((one) => one.split(" ")[0] ?? "");
const whoIsReached = (spec: WrittenSpec, from = cnp): readonly string[] =>
  allowed(
    [from(spec)],
    sources.map((who) => `x/web > ${who} TCP 80`),
  ).map((one) => one.split(" ")[2] ?? "");

const subject = { endpointSelector: { matchLabels: { app: "web" } } };
const inbound = (rule: NonNullable<WrittenSpec["ingress"]>[number]): WrittenSpec => ({
  ...subject,
  ingress: [rule],
});
const outbound = (rule: NonNullable<WrittenSpec["egress"]>[number]): WrittenSpec => ({
  ...subject,
  egress: [rule],
});

describe("peers of Cilium's policies", () => {
  it.each([
    ["endpoints of the policy's namespace", inbound({ fromEndpoints: [{}] }), ["x/client", "node:n1"]],
    [
      "endpoints of another namespace",
      inbound({ fromEndpoints: [{ matchLabels: { "k8s:io.kubernetes.pod.namespace": "y" } }] }),
      ["y/web", "node:n1"],
    ],
    ["the own node always", inbound({}), ["node:n1"]],
    ["nobody of an empty list", inbound({ fromEndpoints: [] }), ["node:n1"]],
    ["everyone where only ports are named", inbound({ toPorts: [{ ports: [{ port: "80" }] }] }), sources],
    ["the world", inbound({ fromEntities: ["world"] }), ["node:n1", "ip:203.0.113.7", "ip:8.8.8.8"]],
    ["the cluster", inbound({ fromEntities: ["cluster"] }), sources.slice(0, 5)],
    ["other nodes", inbound({ fromEntities: ["remote-node"] }), ["x/host", "node:n1", "node:n2"]],
    [
      "addresses outside, never pods or nodes",
      inbound({ fromCIDR: ["0.0.0.0/0"] }),
      ["node:n1", "ip:203.0.113.7", "ip:8.8.8.8"],
    ],
    [
      "a block but for its exception",
      inbound({ fromCIDRSet: [{ cidr: "0.0.0.0/0", except: ["8.0.0.0/8"] }] }),
      ["node:n1", "ip:203.0.113.7"],
    ],
    ["a CIDR group", inbound({ fromCIDRSet: [{ cidrGroupRef: "g" }] }), ["node:n1", "ip:203.0.113.7"]],
    [
      "nobody by a label that makes no identity",
      inbound({ fromEndpoints: [{ matchLabels: { "pod-template-hash": "1" } }] }),
      ["node:n1"],
    ],
  ] as const)("from: %s", (_, spec, expected) => {
    expect(whoReaches(spec)).toEqual(expected);
  });

  it.each([
    ["no exception for the own node", outbound({}), []],
    ["the own node as an entity", outbound({ toEntities: ["host"] }), ["node:n1"]],
    [
      "a Service's pods",
      outbound({ toServices: [{ k8sService: { serviceName: "web", namespace: "x" } }] }),
      [],
    ],
    ["all", outbound({ toEntities: ["all"] }), sources],
  ] as const)("to: %s", (_, spec, expected) => {
    expect(whoIsReached(spec)).toEqual(expected);
  });

  it("of a cluster-wide policy are pods of every namespace, and no nodes or hosts", () => {
    expect(whoReaches(inbound({ fromEndpoints: [{}] }), ccnp)).toEqual(["x/client", "y/web", "node:n1"]);
    const byTeam = { matchLabels: { "io.cilium.k8s.namespace.labels.team": "blue" } };
    expect(whoReaches(inbound({ fromEndpoints: [byTeam] }), ccnp)).toEqual(["y/web", "node:n1"]);
  });

  it("of a Service with a selector are its pods", () => {
    const toWeb = outbound({ toServices: [{ k8sService: { serviceName: "web", namespace: "x" } }] });
    const fromClient = cnp({ ...toWeb, endpointSelector: { matchLabels: { app: "client" } } });
    expect(allowed([fromClient], ["x/client > x/web TCP 80", "x/client > y/web TCP 80"])).toEqual([
      "x/client > x/web TCP 80",
    ]);
  });
});

describe("ports of Cilium's policies", () => {
  const toWeb = (...what: readonly string[]): readonly string[] =>
    what.map((one) => `x/client > x/web ${one}`);
  const ports = (...list: readonly { port?: string; endPort?: number; protocol?: string }[]): WrittenSpec =>
    inbound({ toPorts: [{ ports: list }] });

  it("without a protocol are of every protocol that has ports, and of no other", () => {
    expect(allowed([cnp(ports({ port: "80" }))], toWeb("TCP 80", "UDP 80", "TCP 81", "ICMP 8"))).toEqual(
      toWeb("TCP 80", "UDP 80"),
    );
  });

  it("end at endPort, where the version knows it", () => {
    const range = cnp(ports({ port: "80", endPort: 90, protocol: "TCP" }));
    const asked = toWeb("TCP 79", "TCP 80", "TCP 90", "TCP 91", "UDP 85");
    expect(allowed([range], asked)).toEqual(toWeb("TCP 80", "TCP 90"));
    expect(allowed([range], asked, [], { ...defaultCiliumReading, knowsEndPort: false })).toEqual(
      toWeb("TCP 80"),
    );
  });

  it("by name are the subject's at ingress; at egress the cluster's, if it has one number there", () => {
    expect(allowed([cnp(ports({ port: "http", protocol: "TCP" }))], toWeb("TCP 80", "TCP 81"))).toEqual(
      toWeb("TCP 80"),
    );
    const egress = cnp({
      endpointSelector: { matchLabels: { app: "client" } },
      egress: [{ toPorts: [{ ports: [{ port: "http", protocol: "TCP" }] }] }],
    });
    expect(allowed([egress], toWeb("TCP 80"))).toEqual(toWeb("TCP 80"));
    const other = pod("y/other", { ...web(8080), podIPs: ["10.224.1.20"] });
    expect(allowed([egress], toWeb("TCP 80", "TCP 8080"), [other])).toEqual([]);
  });

  it("of ICMP rules are types of their family", () => {
    const ping = cnp(
      inbound({ icmps: [{ fields: [{ type: "EchoRequest" }, { family: "IPv6", type: 13 }] }] }),
    );
    expect(allowed([ping], toWeb("ICMP 8", "ICMP 13", "TCP 8"))).toEqual(toWeb("ICMP 8"));
  });

  it("of SCTP are never reached: the agent does not track it", () => {
    expect(
      allowed([], ["x/client > x/web SCTP 80", "x/web > ip:8.8.8.8 SCTP 80", "node:n1 > node:n2 SCTP 80"]),
    ).toEqual(["node:n1 > node:n2 SCTP 80"]);
    expect(
      allowed([], ["x/client > x/web SCTP 80"], [], { ...defaultCiliumReading, sctp: true }),
    ).toHaveLength(1);
  });
});

describe("allowing and denying", () => {
  const client = { endpointSelector: { matchLabels: { app: "web" } } };
  const asked = ["TCP 80", "TCP 81", "ICMP 8"].map((one) => `x/client > x/web ${one}`);
  const fromClient = [{ matchLabels: { app: "client" } }];
  const on = (
    port: string,
  ): { toPorts: readonly [{ ports: readonly [{ port: string; protocol: string }] }] } => ({
    toPorts: [{ ports: [{ port, protocol: "TCP" }] }],
  });

  /** The table of security/policy/deny.rst: rules by what they allow and deny, and what is left of three requests. */
  it.each([
    ["layer 3", [{}], [], asked],
    ["port 81", [on("81")], [], ["TCP 81"]],
    ["layer 3 and both ports", [{}, on("80"), on("81")], [], asked],
    ["layer 3 but not port 80", [{}, on("81")], [on("80")], ["TCP 81", "ICMP 8"]],
    ["everything, and nothing of it", [{}, on("81")], [on("80"), {}], []],
    ["nothing but port 81 denied", [{}], [on("81")], ["TCP 80", "ICMP 8"]],
  ] as const)("%s", (_, allow, deny, left) => {
    const spec: WrittenSpec = {
      ...client,
      ingress: allow.map((rule) => ({ fromEndpoints: fromClient, ...rule })),
      ...(deny.length > 0
        ? { ingressDeny: deny.map((rule) => ({ fromEndpoints: fromClient, ...rule })) }
        : {}),
    };
    const expected = asked.filter((one) => left.some((what) => one.endsWith(what)));
    expect(allowed([cnp(spec)], asked)).toEqual(expected);
  });

  it("a denial stands against every other policy, NetworkPolicies too, and against the own node's exception", () => {
    const open = policy("x/open", { podSelector: {}, ingress: [{}] });
    const deny = cnp({ ...client, ingressDeny: [{ fromEntities: ["host", "remote-node"] }] });
    expect(
      allowed(
        [deny],
        ["x/client > x/web TCP 80", "node:n1 > x/web TCP 80", "node:n2 > x/web TCP 80"],
        [open],
      ),
    ).toEqual(["x/client > x/web TCP 80"]);
  });

  it("a policy without default deny leaves the rest open, but denies what it denies", () => {
    const soft = cnp({
      ...client,
      enableDefaultDeny: { ingress: false },
      ingress: [{ fromEntities: ["host"] }],
      ingressDeny: [{ fromEndpoints: fromClient, ...on("80") }],
    });
    expect(allowed([soft], [...asked, "ip:8.8.8.8 > x/web TCP 80"])).toEqual([
      "x/client > x/web TCP 81",
      "x/client > x/web ICMP 8",
      "ip:8.8.8.8 > x/web TCP 80",
    ]);
    const hard = cnp({ ...client, ingress: [{ fromEntities: ["world"] }] });
    expect(allowed([soft, hard], [...asked, "ip:8.8.8.8 > x/web TCP 80"])).toEqual([
      "ip:8.8.8.8 > x/web TCP 80",
    ]);
  });

  it("each direction is its own", () => {
    const spec = cnp({ ...client, egress: [{ toEntities: ["world"] }] });
    expect(
      allowed([spec], ["x/client > x/web TCP 80", "x/web > x/client TCP 80", "x/web > ip:8.8.8.8 TCP 80"]),
    ).toEqual(["x/client > x/web TCP 80", "x/web > ip:8.8.8.8 TCP 80"]);
  });

  it("a policy of nodes binds nobody while the host firewall is off", () => {
    const asked = ["x/client > x/web TCP 80", "x/client > node:n1 TCP 80", "node:n2 > node:n1 TCP 80"];
    expect(allowed([ccnp({ nodeSelector: {}, ingress: [{}] })], asked)).toHaveLength(3);
  });
});

describe("policies of nodes", () => {
  const guarded = { ...nodes[0], metadata: { name: "n1", labels: { guarded: "yes" } } };
  const on = { ...defaultCiliumReading, hostFirewall: true };
  const reaching = ["x/client > node:n1 TCP 80", "x/host > node:n1 TCP 80", "ip:8.8.8.8 > node:n1 TCP 80"];
  const leaving = ["node:n1 > x/client TCP 80", "node:n1 > x/host TCP 80", "node:n1 > ip:8.8.8.8 TCP 80"];
  const others = ["x/client > x/web TCP 80", "x/client > node:n2 TCP 80", "node:n2 > y/web TCP 80"];
  const asked = [...reaching, ...leaving, ...others];
  const byGuard = { matchLabels: { guarded: "yes" } };

  it.each([
    ["the world alone in", { ingress: [{ fromEntities: ["world"] }] }, [...reaching.slice(2), ...leaving]],
    ["pods alone in", { ingress: [{ fromEndpoints: [{}] }] }, [...reaching.slice(0, 1), ...leaving]],
    [
      "other nodes alone out",
      { egress: [{ toEntities: ["remote-node"] }] },
      [...reaching, ...leaving.slice(1, 2)],
    ],
    ["nothing", { ingress: [{}], egress: [{}] }, []],
    ["all but one port", { ingressDeny: [{ toPorts: [{ ports: [{ port: "80" }] }] }] }, leaving],
  ] as const)("let %s", (_, spec, expected) => {
    const policy = ccnp({ nodeSelector: byGuard, ...spec });
    expect(allowed([policy], asked, [guarded], on)).toEqual([...expected, ...others]);
  });

  it("select by labels that make an identity, as those of pods do", () => {
    const labelled = { ...guarded, metadata: { name: "n1", labels: { "kubernetes.io/os": "linux" } } };
    const byName = ccnp({ nodeSelector: { matchLabels: { "kubernetes.io/os": "linux" } }, ingress: [{}] });
    expect(allowed([byName], asked, [labelled], on)).toEqual(asked);
  });

  it("do not keep a node from itself, and both a node's and its pod's bind what passes between them", () => {
    const shut = ccnp({ nodeSelector: {}, ingress: [{}], egress: [{}] });
    expect(allowed([shut], ["node:n1 > node:n1 TCP 80"], [], on)).toHaveLength(1);
    expect(allowed([shut], ["node:n1 > x/web TCP 80"], [], on)).toEqual([]);
    expect(allowed([cnp(inbound({}))], ["node:n1 > x/web TCP 80"], [], on)).toHaveLength(1);
  });

  it("or none, SCTP of nodes is dropped: the host firewall tracks connections", () => {
    const sctp = ["node:n1 > node:n2 SCTP 80", "node:n1 > node:n1 SCTP 80"];
    expect(allowed([], sctp, [], on)).toEqual(sctp.slice(1));
  });
});
