/** What an endpoint's ACLs decide: priorities, layers, tiers, sides, sets, flows; and what HNS refuses. */
import { describe, expect, it } from "vitest";
import { InputError } from "../../../src/base/index.ts";
import { type HnsTables, restoreHns } from "../../../src/filter/hns/index.ts";
import { Hook, Verdict } from "../../../src/filter/index.ts";
import { icmpEcho, sctp, tcp, udp } from "../../../src/packet/index.ts";
import { TcpFlag } from "../../../src/wire/index.ts";
import { ip } from "../node.ts";
import { HnsTestNode } from "./node.ts";

type Json = Readonly<Record<string, unknown>>;

/** Two endpoints, 10.0.0.1 with these policies and 10.0.0.3 with none. */
function tablesOf(policies: readonly Json[], sets: readonly Json[] = [], more: Json = {}): HnsTables {
  const networkPolicies = sets.map((one) => ({ Type: "SetPolicy", Settings: one }));
  const document = {
    Networks: [{ ID: "net-1", Name: "azure", Type: "L2Bridge", Policies: networkPolicies, ...more }],
    Endpoints: [endpoint("e1", "10.0.0.1", policies), endpoint("e2", "10.0.0.3", [])],
  };
  return restoreHns([{ name: "hns.json", text: JSON.stringify(document) }]);
}

function endpoint(id: string, address: string, policies: readonly Json[]): Json {
  return {
    ID: id,
    Name: id,
    HostComputeNetwork: "net-1",
    IpConfigurations: [{ IpAddress: address }],
    Policies: policies,
  };
}

const acl = (settings: Json): Json => ({ Type: "ACL", Settings: { RuleType: "Switch", ...settings } });
const blockIn = acl({ Action: "Block", Direction: "In", Priority: 3000 });
const allowIn = (settings: Json): Json =>
  acl({ Action: "Allow", Direction: "In", Priority: 222, ...settings });

const peer = { src: ip("10.0.0.4"), dst: ip("10.0.0.1"), sport: 4000, dport: 80 };
const syn = tcp({ ...peer, flags: TcpFlag.syn });
const [accept, drop] = [Verdict.accept, Verdict.drop];
const into = (node: HnsTestNode, packet: Uint8Array): number => node.pass(packet, Hook.endpointIn, 1).verdict;
const outOf = (node: HnsTestNode, packet: Uint8Array): number =>
  node.pass(packet, Hook.endpointOut, 1).verdict;
const judge = (policies: readonly Json[], packet = syn, sets: readonly Json[] = []): number =>
  into(new HnsTestNode(tablesOf(policies, sets)), packet);

describe("an endpoint's ACLs", () => {
  it("let everything pass where none speaks of it", () => {
    expect(judge([])).toBe(accept);
    expect(judge([acl({ Action: "Block", Direction: "Out", Priority: 1 })])).toBe(accept);
    expect(judge([acl({ Action: "Block", Direction: "In", Priority: 1, Protocols: "17" })])).toBe(accept);
  });

  it("are asked by priority, the lowest first, and equal ones as they stand", () => {
    expect(judge([blockIn, allowIn({})])).toBe(accept);
    expect(judge([allowIn({ Priority: 4000 }), blockIn])).toBe(drop);
    expect(judge([allowIn({ Priority: 3000 }), blockIn])).toBe(accept);
    expect(judge([blockIn, allowIn({ Priority: 3000 })])).toBe(drop);
  });

  it("ask for protocols, addresses and ports of each side", () => {
    const allowed = (settings: Json, packet = syn): boolean =>
      judge([allowIn(settings), blockIn], packet) === accept;
    expect(allowed({ Protocols: "6,17" })).toBe(true);
    expect(allowed({ Protocols: "17,132" })).toBe(false);
    expect(allowed({ Protocols: "256" })).toBe(true);
    expect(allowed({ RemoteAddresses: "10.0.0.4" })).toBe(true);
    expect(allowed({ RemoteAddresses: "10.1.0.0/16,10.0.0.0/29" })).toBe(true);
    expect(allowed({ RemoteAddresses: "10.0.0.1" })).toBe(false);
    expect(allowed({ LocalAddresses: "10.0.0.1" })).toBe(true);
    expect(allowed({ LocalPorts: "79,80" })).toBe(true);
    expect(allowed({ LocalPorts: "81-90" })).toBe(false);
    expect(allowed({ RemotePorts: "4000" })).toBe(true);
    expect(allowed({ RemotePorts: "80" })).toBe(false);
    expect(
      allowed({ Protocols: "132", LocalPorts: "80" }, sctp({ ...peer, verificationTag: 0, chunks: [] })),
    ).toBe(true);
    const echo = icmpEcho({ ...peer, identifier: 1, sequence: 1 });
    expect(allowed({ Protocols: "1" }, echo)).toBe(true);
    expect(allowed({ LocalPorts: "0-65535" }, echo)).toBe(false);
  });

  it("stand in two layers, and both must let a packet pass", () => {
    const host = (Action: string): Json => acl({ Action, Direction: "In", Priority: 0, RuleType: "Host" });
    expect(judge([host("Allow"), blockIn])).toBe(drop);
    expect(judge([host("Block"), allowIn({})])).toBe(drop);
    expect(judge([host("Allow"), allowIn({})])).toBe(accept);
  });

  it("come after tiers, between which Pass goes on, and before the network's", () => {
    const tier = (Order: number, rules: readonly Json[]): Json => ({
      Type: "TierAcl",
      Settings: { Name: `tier-${Order}`, Direction: "In", Order, TierAclRules: rules },
    });
    const rule = (TierAclRuleAction: string, more: Json = {}): Json => ({
      TierAclRuleAction,
      Priority: 1,
      ...more,
    });
    expect(judge([tier(1, [rule("Allow")]), blockIn])).toBe(accept);
    expect(judge([tier(1, [rule("Pass")]), blockIn])).toBe(drop);
    expect(judge([tier(2, [rule("Block")]), tier(1, [rule("Pass")]), allowIn({})])).toBe(drop);
    expect(judge([tier(2, [rule("Block")]), tier(1, [rule("Allow", { Protocols: "6" })])])).toBe(accept);
    const own = {
      Policies: [{ Type: "NetworkACL", Settings: { Action: "Block", Direction: "In", Priority: 1 } }],
    };
    expect(into(new HnsTestNode(tablesOf([], [], own)), syn)).toBe(drop);
    expect(into(new HnsTestNode(tablesOf([allowIn({})], [], own)), syn)).toBe(accept);
  });
});

describe("sets", () => {
  const sets: readonly Json[] = [
    { Id: "app", Name: "podlabel-app:client", PolicyType: "IPSET", Values: "10.0.0.4,10.0.0.9" },
    { Id: "ns", Name: "ns-demo", PolicyType: "IPSET", Values: "10.0.0.0/29" },
    { Id: "empty", Name: "emptyhashset", PolicyType: "IPSET", Values: "" },
    { Id: "all", Name: "nslabel-all", PolicyType: "NESTEDIPSET", Values: "app,ns" },
    { Id: "hollow", Name: "nslabel-hollow", PolicyType: "NESTEDIPSET", Values: "empty" },
    { Id: "none", Name: "nslabel-none", PolicyType: "NESTEDIPSET", Values: "" },
  ];
  const allowed = (settings: Json, packet = syn): boolean =>
    judge([allowIn(settings), blockIn], packet, sets) === accept;

  it("name the source in LocalAddresses and the destination in RemoteAddresses, and must all hold", () => {
    expect(allowed({ LocalAddresses: "app,ns" })).toBe(true);
    expect(allowed({ LocalAddresses: "app,empty" })).toBe(false);
    expect(allowed({ RemoteAddresses: "ns" })).toBe(true);
    expect(allowed({ RemoteAddresses: "app" })).toBe(false);
    expect(
      allowed({ LocalAddresses: "app,ns" }, tcp({ ...peer, src: ip("10.0.0.9"), flags: TcpFlag.syn })),
    ).toBe(false);
  });

  it("nest; an empty nested set is every address, one with an empty member none", () => {
    expect(allowed({ LocalAddresses: "all" })).toBe(true);
    expect(allowed({ LocalAddresses: "hollow" })).toBe(false);
    expect(allowed({ LocalAddresses: "none" })).toBe(true);
  });

  it("are refused as HNS refuses them, and then nothing has changed", () => {
    const { datapath } = new HnsTestNode(tablesOf([allowIn({ LocalAddresses: "app" })], sets));
    const before = datapath.tables();
    const put = (set: Json) =>
      datapath.apply({ kind: "hns-sets", op: "put", network: "net-1", sets: [set] } as never);
    const remove = (...ids: readonly string[]) =>
      datapath.apply({ kind: "hns-sets", op: "remove", network: "net-1", ids } as never);
    expect(put({ type: "NESTEDIPSET", id: "n", name: "n", values: ["app", "gone"] })).toMatchObject({
      ok: false,
      errno: "HCN_E_INVALID_POLICY",
      message: "set n names gone, which is not there",
    });
    expect(remove("ns")).toMatchObject({ ok: false, message: "set ns-demo is a member of nslabel-all" });
    expect(remove("all", "app")).toMatchObject({
      ok: false,
      message: "an ACL names set podlabel-app:client",
    });
    expect(remove("gone")).toMatchObject({ ok: false });
    expect(datapath.tables()).toEqual(before);
    expect(remove("all", "ns")).toEqual({ ok: true });
  });
});

describe("flows", () => {
  const onlyOut = [blockIn, acl({ Action: "Allow", Direction: "Out", Priority: 222 })];
  const request = tcp({
    src: ip("10.0.0.1"),
    dst: ip("10.0.0.4"),
    sport: 4000,
    dport: 80,
    flags: TcpFlag.syn,
  });
  const answer = tcp({ src: ip("10.0.0.4"), dst: ip("10.0.0.1"), sport: 80, dport: 4000, flags: 0x12 });

  it("let answers of what was let out come in, until they are idle for long or ended", () => {
    const node = new HnsTestNode(tablesOf(onlyOut));
    expect(into(node, answer)).toBe(drop);
    expect(outOf(node, request)).toBe(accept);
    expect(into(node, answer)).toBe(accept);
    expect(node.pass(answer, Hook.endpointIn, 2).verdict).toBe(accept); // the other endpoint has no ACLs
    node.clock.ns += 5 * 60e9;
    expect(into(node, answer)).toBe(drop);
    expect(outOf(node, request)).toBe(accept);
    expect(
      into(
        node,
        tcp({ src: ip("10.0.0.4"), dst: ip("10.0.0.1"), sport: 80, dport: 4000, flags: TcpFlag.rst }),
      ),
    ).toBe(accept);
    node.clock.ns += 11e9;
    expect(into(node, answer)).toBe(drop);
  });

  it("of ICMP are known by the identifier", () => {
    const node = new HnsTestNode(tablesOf(onlyOut));
    const echo = (reply: boolean, identifier: number) =>
      icmpEcho({
        src: ip(reply ? "10.0.0.4" : "10.0.0.1"),
        dst: ip(reply ? "10.0.0.1" : "10.0.0.4"),
        identifier,
        sequence: 1,
        reply,
      });
    expect(outOf(node, echo(false, 7))).toBe(accept);
    expect(into(node, echo(true, 8))).toBe(drop);
    expect(into(node, echo(true, 7))).toBe(accept);
  });

  it.each([
    ["keep", accept],
    ["forget", drop],
  ] as const)("%s on through a change of policy as the switch says", (flowsOnChange, expected) => {
    const node = new HnsTestNode({ ...tablesOf([]), flowsOnChange });
    expect(into(node, syn)).toBe(accept);
    const acls = tablesOf([blockIn]).endpoints[0]?.acls ?? [];
    expect(node.datapath.apply({ kind: "hns-acls", op: "add", endpoint: "e1", acls } as never)).toEqual({
      ok: true,
    });
    expect(into(node, tcp({ ...peer, flags: TcpFlag.ack }))).toBe(expected);
    expect(into(node, udp({ ...peer, sport: 1 }))).toBe(drop);
  });
});

describe("endpoints", () => {
  it("come and go, and are asked for", () => {
    const node = new HnsTestNode(tablesOf([blockIn]));
    const apply = (op: Json) => node.datapath.apply(op as never);
    expect(apply({ kind: "hns-acls", op: "add", endpoint: "gone", acls: [] })).toMatchObject({
      errno: "HCN_E_ENDPOINT_NOT_FOUND",
    });
    expect(apply({ kind: "hns-endpoint", op: "delete", endpoint: "e1" })).toEqual({ ok: true });
    expect(into(node, syn)).toBe(accept);
    const [first] = tablesOf([blockIn]).endpoints;
    expect(apply({ kind: "hns-endpoint", op: "create", endpoint: first })).toEqual({ ok: true });
    expect(into(node, syn)).toBe(drop);
    expect(apply({ kind: "hns-acls", op: "update", endpoint: "e1", acls: [] })).toEqual({ ok: true });
    expect(into(node, syn)).toBe(accept);
  });

  it("tell which ACL decided, and why others did not", () => {
    const node = new HnsTestNode(tablesOf([allowIn({ Id: "azure-acl-x-p", LocalPorts: "443" }), blockIn]));
    const tried: (readonly [number, number])[] = [];
    const { verdict, rule } = node.pass(syn, Hook.endpointIn, 1, {
      enter: () => {},
      rule: (index, failed) => tried.push([index, failed]),
      lookup: () => {},
      verdict: () => {},
    });
    expect(verdict).toBe(drop);
    expect(node.datapath.describeRule(rule)).toMatchObject({
      table: "hns",
      chain: "endpoint e1 In",
      number: 2,
      text: '{"Action":"Block","Direction":"In","RuleType":"Switch","Priority":3000}',
    });
    const [[first = -1, failed = -1] = []] = tried;
    expect(node.datapath.describeRule(first).text).toContain('"Id":"azure-acl-x-p"');
    expect(node.why(first, failed)).toBe("local port 80 is not 443");
  });
});

describe("what tools print", () => {
  const endpointText = (policies: unknown): string =>
    JSON.stringify(
      { ID: "e1", Name: "e1", VirtualNetwork: "n", IPAddress: "10.0.0.1", Policies: policies },
      undefined,
      1,
    );
  const read = (...texts: readonly string[]) =>
    restoreHns(texts.map((text, i) => ({ name: `${i}.json`, text })));
  const messages = (...texts: readonly string[]): readonly string[] => {
    try {
      read(...texts);
    } catch (error) {
      if (error instanceof InputError) return error.message.split("\n");
      throw error;
    }
    throw new Error("expected an InputError");
  };

  it("is read in v1's form, with v1's fields for one value, alone or in a list", () => {
    const policy = {
      Type: "ACL",
      Protocol: 6,
      Action: "allow",
      Direction: "Out",
      LocalPort: 0,
      RemotePort: 443,
      RemoteAddresses: "10.0.0.0/8",
      Priority: 200,
      RuleType: "Switch",
    };
    const one = read(endpointText([policy]));
    expect(one.endpoints[0]?.acls).toEqual([
      {
        id: undefined,
        action: "Allow",
        direction: "Out",
        ruleType: "Switch",
        priority: 200,
        protocols: [6],
        localAddresses: [],
        remoteAddresses: [{ kind: "net", net: { family: 4, words: [0x0a000000], prefix: 8 } }],
        localPorts: [],
        remotePorts: [{ first: 443, last: 443 }],
      },
    ]);
    expect(read(`\ufeff[${endpointText([policy])}]`)).toEqual(one);
    expect(read(endpointText(policy))).toEqual(one);
  });

  it("is joined from several files: endpoints here, their network there", () => {
    const network = JSON.stringify({
      ID: "n",
      Name: "azure",
      Type: "L2Bridge",
      Policies: [
        { Type: "SetPolicy", Settings: { Id: "s", Name: "ns-x", PolicyType: "IPSET", Values: "10.0.0.9" } },
      ],
    });
    const acls = [{ Type: "ACL", Action: "Allow", Direction: "In", LocalAddresses: "s", Priority: 222 }];
    expect(read(endpointText(acls), network).networks[0]?.sets).toHaveLength(1);
    expect(messages(endpointText(acls))).toEqual([
      expect.stringMatching(/^0\.json:\d+:\d+: Policies: s is no address and no set/),
    ]);
  });

  it.each([
    [
      [{ Type: "ACL", Action: "Allow", Direction: "In", RemoteAddresses: "Any" }],
      /Policies\[0\]\.RemoteAddresses: .*0x803b000d/,
    ],
    [
      [{ Type: "ACL", Action: "Deny", Direction: "In" }],
      /Policies\[0\]\.Action: must be Allow, Block, Pass, not Deny/,
    ],
    [[{ Type: "ACL", Action: "Allow" }], /Policies\[0\]\.Direction: is missing/],
    [
      [{ Type: "ACL", Action: "Allow", Direction: "In", Scope: "x" }],
      /Policies\[0\]\.Scope: Scope is not emulated/,
    ],
    [[{ Type: "ACL", Action: "Allow", Direction: "In", Priority: 70_000 }], /Priority: must be 0 to 65535/],
    [[{ Type: "ACL", Action: "Allow", Direction: "In", LocalPorts: "80-" }], /LocalPorts: 80- is no port/],
    [
      [{ Type: "ACL", Action: "Allow", Direction: "In", Protocols: "tcp" }],
      /Protocols: tcp is no IP protocol number/,
    ],
    [["@{Type=ACL; Action=Allow}"], /Policies\[0\]: .*ConvertTo-Json -Depth 10/],
  ])("has its mistakes told by path, line and column: %j", (policies, says) => {
    const [first = ""] = messages(endpointText(policies));
    expect(first).toMatch(says);
    expect(first).toMatch(/^0\.json:\d+:\d+: /);
  });

  it("is told where it is no JSON", () => {
    expect(messages('{\n "ID": }')).toEqual(['0.json:2:8: no JSON: unexpected "}"']);
    expect(messages('{"ID":')).toEqual(["0.json:1:7: no JSON: unexpected end"]);
    expect(messages(`{"ID": "${"x".repeat(500)}",\n "Name" "y"}`)).toEqual([
      '0.json:2:9: no JSON: unexpected "\\""',
    ]);
    expect(messages("[1] x")).toEqual(['0.json:1:5: no JSON: unexpected "x"']);
    expect(messages("")).toEqual(["0.json:1:1: no JSON: unexpected end"]);
  });
});
