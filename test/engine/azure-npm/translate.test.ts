/**
 * How a policy becomes rules: every form of the specification, literally, as iptables-save prints the rules after the
 * kernel has taken NPM's restore file. The forms are those of azure-container-networking
 * npm/pkg/controlplane/translation and npm/pkg/dataplane/policies; set names stand in brackets.
 */
import { describe, expect, it } from "vitest";
import { compile, policy, policyChain, type RawObject } from "./npm.ts";

const allowIn = "-j AZURE-NPM-INGRESS-ALLOW-MARK";
const allowOut = "-j AZURE-NPM-ACCEPT";
const dropIn = "-m comment --comment DROP-ALL -j MARK --set-xmark 0x400/0x400";
const dropOut = "-m comment --comment DROP-ALL -j MARK --set-xmark 0x800/0x800";
const sets = (flag: string, ...names: readonly string[]): string =>
  names
    .map((name) => `-m set ${name.startsWith("!") ? "! " : ""}--match-set <${name.replace("!", "")}> ${flag}`)
    .join(" ");
const comment = (text: string): string =>
  `-m comment --comment ${/^[A-Za-z0-9_-]+$/.test(text) ? text : `"${text}"`}`;

interface Row {
  readonly what: string;
  readonly rules: readonly RawObject[] | undefined;
  /** With `peers` and `ports` of ingress; what differs for egress is swapped by the test. */
  readonly expected: readonly string[];
}

const app = (value: string): RawObject => ({ podSelector: { matchLabels: { app: value } } });
const http: RawObject = { port: 80 };

/** `from` and `FROM` stand for the peer's side. */
const rows: readonly Row[] = [
  { what: "no rules: the drop alone", rules: undefined, expected: ["DROP"] },
  { what: "an empty list of rules: the drop alone", rules: [], expected: ["DROP"] },
  {
    what: "an empty rule: one allow, no drop",
    rules: [{}],
    expected: [`${comment("ALLOW-ALL")} ALLOW`],
  },
  {
    what: "an empty rule among others: these are left out",
    rules: [{ ports: [http] }, { from: [], ports: null }, { from: [app("a")] }],
    expected: [`${comment("ALLOW-ALL")} ALLOW`],
  },
  {
    what: "ports only: one rule a port, no set",
    rules: [{ ports: [http, { protocol: "UDP", port: 53 }] }],
    expected: [
      `-p tcp -m tcp --dport 80 ${comment("ALLOW-ALL-ON-TCP-TO-PORT-80")} ALLOW`,
      `-p udp -m udp --dport 53 ${comment("ALLOW-ALL-ON-UDP-TO-PORT-53")} ALLOW`,
      "DROP",
    ],
  },
  {
    what: "a podSelector: its labels, then the policy's namespace",
    rules: [{ from: [{ podSelector: { matchLabels: { tier: "t", app: "a" } } }] }],
    expected: [
      `${sets("SIDE", "podlabel-app:a", "podlabel-tier:t", "ns-x")} ${comment("ALLOW-PEER-podlabel-app:a-AND-podlabel-tier:t-AND-ns-x")} ALLOW`,
      "DROP",
    ],
  },
  {
    what: "an empty podSelector: the policy's namespace",
    rules: [{ from: [{ podSelector: {} }] }],
    expected: [`${sets("SIDE", "ns-x")} ${comment("ALLOW-PEER-ns-x")} ALLOW`, "DROP"],
  },
  {
    what: "a namespaceSelector: lists of namespaces",
    rules: [{ from: [{ namespaceSelector: { matchLabels: { team: "t" } } }] }],
    expected: [`${sets("SIDE", "nslabel-team:t")} ${comment("ALLOW-PEER-nslabel-team:t")} ALLOW`, "DROP"],
  },
  {
    what: "an empty namespaceSelector: the list of all namespaces",
    rules: [{ from: [{ namespaceSelector: {} }] }],
    expected: [
      `${sets("SIDE", "nslabel-all-namespaces")} ${comment("ALLOW-PEER-nslabel-all-namespaces")} ALLOW`,
      "DROP",
    ],
  },
  {
    what: "both selectors: namespaces first, and no set of the policy's namespace",
    rules: [{ from: [{ namespaceSelector: { matchLabels: { team: "t" } }, ...app("a") }] }],
    expected: [
      `${sets("SIDE", "nslabel-team:t", "podlabel-app:a")} ${comment("ALLOW-PEER-nslabel-team:t-AND-podlabel-app:a")} ALLOW`,
      "DROP",
    ],
  },
  {
    what: "both selectors, the pods' one empty: the namespaces alone",
    rules: [{ from: [{ namespaceSelector: {}, podSelector: {} }] }],
    expected: [
      `${sets("SIDE", "nslabel-all-namespaces")} ${comment("ALLOW-PEER-nslabel-all-namespaces")} ALLOW`,
      "DROP",
    ],
  },
  {
    what: "an ipBlock: a set of its own, named by rule and peer",
    rules: [{ ports: [http], from: [app("a"), { ipBlock: { cidr: "10.0.0.0/8" } }] }],
    expected: [
      `-p tcp -m tcp --dport 80 ${sets("SIDE", "podlabel-app:a", "ns-x")} ${comment("ALLOW-PEER-podlabel-app:a-AND-ns-x-ON-TCP-TO-PORT-80")} ALLOW`,
      `-p tcp -m tcp --dport 80 ${sets("SIDE", "cidr-p:in-ns:x-0-1DIR")} ${comment("ALLOW-PEER-cidr-p:in-ns:x-0-1DIR-ON-TCP-TO-PORT-80")} ALLOW`,
      "DROP",
    ],
  },
  {
    what: "peers and ports: every pair, peer by peer",
    rules: [{ from: [app("a"), app("b")], ports: [http, { port: 443 }] }],
    expected: [
      ...["a", "b"].flatMap((value) =>
        [80, 443].map(
          (port) =>
            `-p tcp -m tcp --dport ${port} ${sets("SIDE", `podlabel-app:${value}`, "ns-x")} ${comment(`ALLOW-PEER-podlabel-app:${value}-AND-ns-x-ON-TCP-TO-PORT-${port}`)} ALLOW`,
        ),
      ),
      "DROP",
    ],
  },
  {
    what: "several rules: one drop behind them all",
    rules: [{ from: [app("a")] }, { from: [app("b")] }],
    expected: [
      ...["a", "b"].map(
        (value) =>
          `${sets("SIDE", `podlabel-app:${value}`, "ns-x")} ${comment(`ALLOW-PEER-podlabel-app:${value}-AND-ns-x`)} ALLOW`,
      ),
      "DROP",
    ],
  },
  {
    what: "a range of ports",
    rules: [
      {
        ports: [
          { port: 80, endPort: 90 },
          { port: 70, endPort: 70 },
        ],
      },
    ],
    expected: [
      `-p tcp -m tcp --dport 80:90 ${comment("ALLOW-ALL-ON-TCP-TO-PORT-80:90")} ALLOW`,
      `-p tcp -m tcp --dport 70 ${comment("ALLOW-ALL-ON-TCP-TO-PORT-70")} ALLOW`,
      "DROP",
    ],
  },
  {
    what: "a protocol without port: no port match",
    rules: [{ ports: [{ protocol: "UDP" }, {}] }],
    expected: [
      `-p udp ${comment("ALLOW-ALL-ON-UDP")} ALLOW`,
      `-p tcp ${comment("ALLOW-ALL-ON-TCP")} ALLOW`,
      "DROP",
    ],
  },
  {
    what: "SCTP like the others",
    rules: [{ ports: [{ protocol: "SCTP", port: 9 }] }],
    expected: [`-p sctp -m sctp --dport 9 ${comment("ALLOW-ALL-ON-SCTP-TO-PORT-9")} ALLOW`, "DROP"],
  },
  {
    what: "a named port: address and port of the destination, whatever the direction",
    rules: [{ ports: [{ protocol: "UDP", port: "dns" }], from: [app("a")] }],
    expected: [
      `-p udp ${sets("SIDE", "podlabel-app:a", "ns-x")} ${sets("dst,dst", "namedport:dns")} ${comment("ALLOW-PEER-podlabel-app:a-AND-ns-x-ON-UDP-TO-namedport:dns")} ALLOW`,
      "DROP",
    ],
  },
  {
    what: "a named port without peers",
    rules: [{ ports: [{ port: "http" }] }],
    expected: [
      `-p tcp ${sets("dst,dst", "namedport:http")} ${comment("ALLOW-ALL-ON-TCP-TO-namedport:http")} ALLOW`,
      "DROP",
    ],
  },
];

describe.each([
  {
    direction: "INGRESS",
    type: "Ingress",
    field: "ingress",
    peers: "from",
    side: "src",
    peer: "FROM",
    suffix: "IN",
    allow: allowIn,
    drop: dropIn,
  },
  {
    direction: "EGRESS",
    type: "Egress",
    field: "egress",
    peers: "to",
    side: "dst",
    peer: "TO",
    suffix: "OUT",
    allow: allowOut,
    drop: dropOut,
  },
] as const)("$type rules", ({ direction, type, field, peers, side, peer, suffix, allow, drop }) => {
  it.each(rows)("$what", ({ rules, expected }) => {
    const spec = rules?.map(({ from, ...rest }) => (from === undefined ? rest : { ...rest, [peers]: from }));
    const compiled = compile([policy("x/p", { podSelector: {}, policyTypes: [type], [field]: spec })]);
    const chain = policyChain(compiled.tables, direction);
    expect(compiled.rules(chain)).toEqual(
      expected.map((text) => {
        const rule = text === "DROP" ? drop : text;
        return `-A ${chain} ${rule
          .replaceAll("SIDE", side)
          .replaceAll("PEER", peer)
          .replaceAll("DIR", suffix)
          .replace(/ ALLOW$/, ` ${allow}`)}`;
      }),
    );
  });
});

describe("label operators", () => {
  const requirement = (key: string, operator: string, ...values: readonly string[]): RawObject => ({
    key,
    operator,
    ...(values.length > 0 ? { values } : {}),
  });
  const inPods = (...matchExpressions: readonly RawObject[]): RawObject => ({
    podSelector: { matchExpressions },
  });
  const inNamespaces = (...matchExpressions: readonly RawObject[]): RawObject => ({
    namespaceSelector: { matchExpressions },
  });
  const setsOf = (peer: RawObject, label?: string): readonly string[] => {
    const compiled = compile([policy("x/p", { podSelector: {}, ingress: [{ from: [peer] }] })], label);
    return compiled
      .rules(policyChain(compiled.tables, "INGRESS"))
      .slice(0, -1)
      .map((rule) =>
        [...rule.matchAll(/(! )?--match-set <([^>]*)> src/g)]
          .map(([, not, name]) => `${not ? "!" : ""}${name}`)
          .join(" "),
      );
  };

  it.each([
    { peer: inPods(requirement("k", "In", "v")), expected: ["podlabel-k:v ns-x"] },
    { peer: inPods(requirement("k", "In", "v", "w")), expected: ["nestedlabel-x/p:k:v:w ns-x"] },
    { peer: inPods(requirement("k", "NotIn", "v")), expected: ["!podlabel-k:v ns-x"] },
    { peer: inPods(requirement("k", "NotIn", "v", "w")), expected: ["!nestedlabel-x/p:k:v:w ns-x"] },
    { peer: inPods(requirement("k", "Exists")), expected: ["podlabel-k ns-x"] },
    { peer: inPods(requirement("k", "DoesNotExist")), expected: ["!podlabel-k ns-x"] },
    {
      peer: inPods(requirement("k", "In", "v"), requirement("k", "In", "v"), requirement("k", "NotIn", "v")),
      expected: ["podlabel-k:v !podlabel-k:v ns-x"],
    },
    { peer: inNamespaces(requirement("k", "In", "v")), expected: ["nslabel-k:v"] },
    { peer: inNamespaces(requirement("k", "In", "v", "w")), expected: ["nslabel-k:v", "nslabel-k:w"] },
    { peer: inNamespaces(requirement("k", "NotIn", "v")), expected: ["!nslabel-k:v"] },
    { peer: inNamespaces(requirement("k", "NotIn", "v", "w")), expected: ["!nslabel-k:v", "!nslabel-k:w"] },
    { peer: inNamespaces(requirement("k", "Exists")), expected: ["nslabel-k"] },
    { peer: inNamespaces(requirement("k", "DoesNotExist")), expected: ["!nslabel-k"] },
    {
      peer: inNamespaces(
        requirement("a", "In", "1", "2"),
        requirement("b", "Exists"),
        requirement("c", "In", "3", "4"),
      ),
      expected: ["13", "14", "23", "24"].map(([a, c]) => `nslabel-b nslabel-a:${a} nslabel-c:${c}`),
    },
    {
      peer: { ...inNamespaces(requirement("a", "In", "1", "2")), ...inPods(requirement("k", "Exists")) },
      expected: ["nslabel-a:1 podlabel-k", "nslabel-a:2 podlabel-k"],
    },
  ])("$peer", ({ peer, expected }) => {
    expect(setsOf(peer)).toEqual(expected);
  });

  it("with the fix of several excluded values all of them are excluded at once", () => {
    const peer = inNamespaces(requirement("k", "NotIn", "v", "w"), requirement("a", "In", "1", "2"));
    expect(setsOf(peer, "azure-npm@2026-08+fix-4866")).toEqual([
      "!nslabel-k:v !nslabel-k:w nslabel-a:1",
      "!nslabel-k:v !nslabel-k:w nslabel-a:2",
    ]);
    expect(setsOf(peer, "azure-npm@2026-09")).toEqual(setsOf(peer, "azure-npm@2026-08+fix-4866"));
    expect(setsOf(peer, "azure-npm@2026-09+fix-4866=false")).toEqual(setsOf(peer));
  });

  it("with the fix of bare negations the address must be a pod's", () => {
    const peer = inNamespaces(requirement("k", "DoesNotExist"));
    expect(setsOf(peer, "azure-npm@2026-08+fix-4868")).toEqual(["!nslabel-k nslabel-all-namespaces"]);
    expect(setsOf(inNamespaces(requirement("k", "Exists")), "azure-npm@2026-09")).toEqual(["nslabel-k"]);
  });

  it.each([
    { label: "azure-npm@2022-04", nested: "nestedlabel-k:v:w", cidr: "cidr-p-in-ns-x-0-1IN" },
    { label: "azure-npm@1.5.36", nested: "nestedlabel-x/p-k:v:w", cidr: "cidr-p-in-ns-x-0-1IN" },
    { label: "azure-npm@2026-08", nested: "nestedlabel-x/p:k:v:w", cidr: "cidr-p:in-ns:x-0-1IN" },
  ])("$label names nested lists $nested and blocks $cidr", ({ label, nested, cidr }) => {
    const from = [inPods(requirement("k", "In", "v", "w")), { ipBlock: { cidr: "10.0.0.0/8" } }];
    const compiled = compile([policy("x/p", { podSelector: {}, ingress: [{ from }] })], label);
    expect(compiled.members(nested)).toEqual(["<podlabel-k:v>", "<podlabel-k:w>"]);
    expect(compiled.members(cidr)).toEqual(["10.0.0.0/8"]);
  });
});

describe("blocks", () => {
  const membersOf = (cidr: string, ...except: readonly string[]): readonly string[] | undefined => {
    const block = { ipBlock: { cidr, ...(except.length > 0 ? { except } : {}) } };
    return compile([policy("x/p", { podSelector: {}, egress: [{ to: [block] }] })]).members(
      "cidr-p:in-ns:x-0-0OUT",
    );
  };
  it.each([
    { cidr: "10.0.0.0/8", except: [], expected: ["10.0.0.0/8"] },
    { cidr: "10.0.0.0/8", except: ["10.1.0.0/16"], expected: ["10.0.0.0/8", "10.1.0.0/16 nomatch"] },
    {
      cidr: "10.0.0.0/8",
      except: ["10.1.0.0/16", "10.1.0.0/16", "10.1.2.0/24"],
      expected: ["10.0.0.0/8", "10.1.0.0/16 nomatch", "10.1.2.0/24 nomatch"],
    },
    { cidr: "0.0.0.0/0", except: [], expected: ["0.0.0.0/1", "128.0.0.0/1"] },
    {
      cidr: "0.0.0.0/0",
      except: ["10.0.0.0/8"],
      expected: ["0.0.0.0/1", "128.0.0.0/1", "10.0.0.0/8 nomatch"],
    },
    { cidr: "0.0.0.0/0", except: ["128.0.0.0/1"], expected: ["0.0.0.0/1", "128.0.0.0/1 nomatch"] },
    { cidr: "0.0.0.0/0", except: ["0.0.0.0/1"], expected: ["0.0.0.0/1 nomatch", "128.0.0.0/1"] },
    {
      cidr: "0.0.0.0/0",
      except: ["128.0.0.0/1", "0.0.0.0/1"],
      expected: ["0.0.0.0/1 nomatch", "128.0.0.0/1 nomatch"],
    },
    { cidr: "10.1.2.3/8", except: [], expected: ["10.0.0.0/8"] },
    { cidr: "10.1.2.3/32", except: [], expected: ["10.1.2.3"] },
  ])("$cidr without $except has the members $expected", ({ cidr, except, expected }) => {
    expect(membersOf(cidr, ...except)).toEqual(expected);
  });

  it("have sets that hold as many members as there may be, other sets the default", () => {
    const { tables } = compile([
      policy("x/p", { podSelector: {}, egress: [{ to: [{ ipBlock: { cidr: "10.0.0.0/8" } }] }] }),
    ]);
    for (const { title, type, maxelem } of tables.sets.values())
      expect(maxelem, title).toBe(
        type === "list:set" ? 8 : title?.startsWith("cidr-") ? 4_294_967_295 : 65_536,
      );
  });
});

describe("what NPM does not translate", () => {
  const said = (name: string): string =>
    `Failed to translate podSelector in NetworkPolicy ${name} in namespace x: unsupported IP address`;
  const block = (cidr: string): RawObject => ({
    podSelector: {},
    ingress: [{ from: [{ podSelector: {} }, { ipBlock: { cidr } }] }],
  });

  it.each(["2001:db8::/32", "::/0", "::ffff:10.0.0.0/104", "10.0.0.0/0", "010.0.0.0/8", "10.0.0.0/08"])(
    "is a policy with the block %s: nothing of it is programmed, and the log says why",
    (cidr) => {
      const { diagnostics, tables, rules } = compile([policy("x/p", block(cidr))]);
      expect(diagnostics).toEqual([said("p")]);
      expect(rules("AZURE-NPM")).toEqual([]);
      expect([...tables.sets.values()].some(({ title }) => title?.startsWith("cidr-"))).toBe(false);
    },
  );

  it("is only that policy", () => {
    const { diagnostics, rules } = compile([
      policy("x/bad", block("::/0")),
      policy("x/good", { podSelector: {} }),
    ]);
    expect(diagnostics).toEqual([said("bad")]);
    expect(rules("AZURE-NPM-INGRESS")).toHaveLength(2);
  });

  it("is not looked at in a direction that the policy does not have, nor beside an empty rule", () => {
    const egress = [{ to: [{ ipBlock: { cidr: "::/0" } }] }];
    const specs = [
      { podSelector: {}, policyTypes: ["Ingress"], egress },
      { podSelector: {}, policyTypes: ["Egress"], egress: [...egress, {}] },
    ];
    for (const spec of specs) expect(compile([policy("x/p", spec)]).diagnostics).toEqual([]);
  });
});
