/** NPM's own chains, its jumps and where they stand, in each era and with each toggle; the worked example; goldens. */
import { describe, expect, it } from "vitest";
import { jumpNumber, npmChain } from "../../../src/engine/azure-npm/chains.ts";
import { saveIpsets } from "../../../src/filter/ipset/index.ts";
import type { IptablesTables, Rule } from "../../../src/filter/iptables/index.ts";
import { saveRuleset } from "../../../src/filter/iptables/index.ts";
import { expectGolden } from "../../golden.ts";
import { type Compiled, chainOf, compile, namespace, pod, policy, type RawObject } from "./npm.ts";

const all = policy("x/all", { podSelector: {}, policyTypes: ["Ingress", "Egress"] });

describe("the chains", () => {
  it("are there without any policy, and AZURE-NPM is empty", () => {
    const { rules, tables } = compile([]);
    expect(tables.v4.tables.filter?.chains.map(({ name }) => name)).toEqual(
      expect.arrayContaining(Object.values(npmChain)),
    );
    expect(rules("AZURE-NPM")).toEqual([]);
    expect(rules("AZURE-NPM-INGRESS")).toEqual([
      '-A AZURE-NPM-INGRESS -m mark --mark 0x400/0x400 -m comment --comment "DROP-ON-INGRESS-DROP-MARK-0x400/0x400" -j DROP',
    ]);
    expect(rules("AZURE-NPM-INGRESS-ALLOW-MARK")).toEqual([
      '-A AZURE-NPM-INGRESS-ALLOW-MARK -m comment --comment "SET-INGRESS-ALLOW-MARK-0x200/0x200" -j MARK --set-xmark 0x200/0x200',
      "-A AZURE-NPM-INGRESS-ALLOW-MARK -j AZURE-NPM-EGRESS",
    ]);
    expect(rules("AZURE-NPM-EGRESS")).toEqual([
      '-A AZURE-NPM-EGRESS -m mark --mark 0x800/0x800 -m comment --comment "DROP-ON-EGRESS-DROP-MARK-0x800/0x800" -j DROP',
      '-A AZURE-NPM-EGRESS -m mark --mark 0x200/0x200 -m comment --comment "ACCEPT-ON-INGRESS-ALLOW-MARK-0x200/0x200" -j AZURE-NPM-ACCEPT',
    ]);
    expect(rules("AZURE-NPM-ACCEPT")).toEqual(["-A AZURE-NPM-ACCEPT -j ACCEPT"]);
  });

  it("are active as soon as there is a policy", () => {
    expect(compile([all]).rules("AZURE-NPM")).toEqual([
      "-A AZURE-NPM -j AZURE-NPM-INGRESS",
      "-A AZURE-NPM -j AZURE-NPM-EGRESS",
      "-A AZURE-NPM -j AZURE-NPM-ACCEPT",
    ]);
  });

  it("have marks of whole words in early v2, and the ACCEPT chain clears them first", () => {
    const { rules } = compile([all], "azure-npm@2022-04");
    expect(rules("AZURE-NPM-INGRESS").at(-1)).toBe(
      "-A AZURE-NPM-INGRESS -m mark --mark 0x4000 -m comment --comment DROP-ON-INGRESS-DROP-MARK-0x4000 -j DROP",
    );
    expect(rules("AZURE-NPM-EGRESS").slice(-2)).toEqual([
      "-A AZURE-NPM-EGRESS -m mark --mark 0x5000 -m comment --comment DROP-ON-EGRESS-DROP-MARK-0x5000 -j DROP",
      "-A AZURE-NPM-EGRESS -m mark --mark 0x2000 -m comment --comment ACCEPT-ON-INGRESS-ALLOW-MARK-0x2000 -j AZURE-NPM-ACCEPT",
    ]);
    expect(rules("AZURE-NPM-INGRESS-ALLOW-MARK")[0]).toBe(
      "-A AZURE-NPM-INGRESS-ALLOW-MARK -m comment --comment SET-INGRESS-ALLOW-MARK-0x2000 -j MARK --set-xmark 0x2000/0xffffffff",
    );
    expect(rules("AZURE-NPM-ACCEPT")).toEqual([
      "-A AZURE-NPM-ACCEPT -m comment --comment CLEAR-AZURE-NPM-MARKS -j MARK --set-xmark 0x0/0xffffffff",
      "-A AZURE-NPM-ACCEPT -j ACCEPT",
    ]);
  });

  it("touch neither IPv6 nor other tables", () => {
    const [none, npm] = [compile([], "none").tables, compile([all]).tables];
    expect(saveRuleset(npm.v6)).toBe(saveRuleset(none.v6));
    const { filter: _, ...others } = npm.v4.tables;
    for (const [name, table] of Object.entries(others)) expect(table).toEqual(none.v4.tables[name as "nat"]);
  });
});

describe("the jump from FORWARD", () => {
  const jump = "-A FORWARD -m conntrack --ctstate NEW -j AZURE-NPM";
  it("stands right behind the jump to KUBE-SERVICES", () => {
    const rules = compile([all]).rules("FORWARD");
    const services = rules.findIndex((rule) => rule.endsWith("-j KUBE-SERVICES"));
    expect(rules.indexOf(jump)).toBe(services + 1);
    expect(rules.findIndex((rule) => rule.endsWith("-j KUBE-FORWARD"))).toBeLessThan(services);
    expect(rules.at(-1)).toBe("-A FORWARD -d 168.63.129.16/32 -p tcp -m tcp --dport 80 -j DROP");
  });

  it.each(["azure-npm+place-first", "azure-npm@2022-04"])("stands first as %s", (label) => {
    expect(compile([all], label).rules("FORWARD")[0]).toBe(jump);
  });

  const to = (chain: string): Rule => ({
    matches: [],
    target: { kind: "jump", chain },
    origin: { kind: "platform", name: "kube-proxy", path: "", role: "base" },
  });
  it.each([
    { chains: [], placeFirst: false, number: 1 },
    { chains: ["KUBE-FORWARD"], placeFirst: false, number: 1 },
    { chains: ["KUBE-SERVICES"], placeFirst: false, number: 2 },
    { chains: ["KUBE-FORWARD", "KUBE-SERVICES", "X"], placeFirst: false, number: 3 },
    { chains: ["KUBE-FORWARD", "KUBE-SERVICES", "X"], placeFirst: true, number: 1 },
  ])("is number $number beside $chains with placeFirst $placeFirst", ({ chains, placeFirst, number }) => {
    expect(jumpNumber(chains.map(to), placeFirst)).toBe(number);
  });
});

describe("the jump to a policy", () => {
  const jumps = ({ rules }: Compiled, direction: "INGRESS" | "EGRESS"): readonly string[] =>
    rules(`AZURE-NPM-${direction}`)
      .filter((rule) => rule.includes("POLICY"))
      .map((rule) => rule.replace(/ -j \S+$/, "").replace(/^-A \S+ /, ""));
  const both = { policyTypes: ["Ingress", "Egress"] };

  it("matches the pods' sets and the namespace's as destination for ingress, as source for egress", () => {
    const compiled = compile([policy("x/p", { ...both, podSelector: { matchLabels: { app: "a" } } })]);
    expect(jumps(compiled, "INGRESS")).toEqual([
      '-m set --match-set <podlabel-app:a> dst -m set --match-set <ns-x> dst -m comment --comment "INGRESS-POLICY-x/p-TO-podlabel-app:a-AND-ns-x-IN-ns-x"',
    ]);
    expect(jumps(compiled, "EGRESS")).toEqual([
      '-m set --match-set <podlabel-app:a> src -m set --match-set <ns-x> src -m comment --comment "EGRESS-POLICY-x/p-FROM-podlabel-app:a-AND-ns-x-IN-ns-x"',
    ]);
  });

  it("matches the namespace's set alone for an empty selector, and negated sets for exclusions", () => {
    const not = { matchExpressions: [{ key: "app", operator: "NotIn", values: ["a", "b"] }] };
    const compiled = compile([policy("x/none", { podSelector: {} }), policy("x/not", { podSelector: not })]);
    expect(jumps(compiled, "INGRESS")).toEqual([
      '-m set ! --match-set <nestedlabel-x/not:app:a:b> dst -m set --match-set <ns-x> dst -m comment --comment "INGRESS-POLICY-x/not-TO-!nestedlabel-x/not:app:a:b-AND-ns-x-IN-ns-x"',
      '-m set --match-set <ns-x> dst -m comment --comment "INGRESS-POLICY-x/none-TO-ns-x-IN-ns-x"',
    ]);
  });

  it("exists for the policy's types alone, both with one digest", () => {
    const names = (types: readonly string[]): readonly string[] =>
      (
        compile([policy("demo/demo-policy", { podSelector: {}, policyTypes: types })]).tables.v4.tables.filter
          ?.chains ?? []
      )
        .map(({ name }) => name)
        .filter((name) => name.endsWith("2o03vgq80v"));
    expect(names(["Ingress"])).toEqual(["AZURE-NPM-INGRESS-2o03vgq80v"]);
    expect(names(["Egress"])).toEqual(["AZURE-NPM-EGRESS-2o03vgq80v"]);
    expect(names(["Ingress", "Egress"])).toEqual([
      "AZURE-NPM-INGRESS-2o03vgq80v",
      "AZURE-NPM-EGRESS-2o03vgq80v",
    ]);
  });

  it("stands before those of older policies", () => {
    const compiled = compile([policy("x/old", { podSelector: {} }), policy("x/new", { podSelector: {} })]);
    expect(jumps(compiled, "INGRESS").map((rule) => /POLICY-x\/(\w+)/.exec(rule)?.[1])).toEqual([
      "new",
      "old",
    ]);
  });

  it("has a comment of at most 255 bytes", () => {
    const labels = Object.fromEntries(
      ["a", "b", "c"].map((letter) => [`example.com/${letter.repeat(60)}`, letter.repeat(63)]),
    );
    const { tables } = compile([policy("x/p", { podSelector: { matchLabels: labels } })]);
    const [rule] = chainOf(tables, "AZURE-NPM-INGRESS")?.rules ?? [];
    const comment = rule?.matches.find((match) => match.kind === "comment")?.text ?? "";
    expect(comment).toMatch(/^INGRESS-POLICY-x\/p-TO-podlabel-example\.com\/a+:a+-AND-podlabel-/);
    expect(comment).toHaveLength(255);
  });
});

describe("the worked example", () => {
  const objects = [
    pod("demo/server", { app: "server" }),
    pod("demo/client", {}),
    policy("demo/demo-policy", {
      podSelector: { matchLabels: { app: "server" } },
      ingress: [
        {
          from: [{ podSelector: { matchLabels: { app: "client" } } }],
          ports: [{ protocol: "TCP", port: 80 }],
        },
      ],
    }),
  ];

  it("is, hash by hash, what NPM writes and the kernel prints", () => {
    const { tables } = compile(objects);
    const text = saveRuleset(tables.v4);
    for (const line of [
      ":AZURE-NPM-INGRESS-2o03vgq80v - [0:0]",
      "-A AZURE-NPM -j AZURE-NPM-INGRESS",
      "-A AZURE-NPM -j AZURE-NPM-EGRESS",
      "-A AZURE-NPM -j AZURE-NPM-ACCEPT",
      '-A AZURE-NPM-INGRESS -m set --match-set azure-npm-1xco0kbxi3ujz1n0spfj dst -m set --match-set azure-npm-2jtt8xpa1d6w9vrdbxz8 dst -m comment --comment "INGRESS-POLICY-demo/demo-policy-TO-podlabel-app:server-AND-ns-demo-IN-ns-demo" -j AZURE-NPM-INGRESS-2o03vgq80v',
      '-A AZURE-NPM-INGRESS-2o03vgq80v -p tcp -m tcp --dport 80 -m set --match-set azure-npm-5yauwxzfuas62snpisdf src -m set --match-set azure-npm-2jtt8xpa1d6w9vrdbxz8 src -m comment --comment "ALLOW-FROM-podlabel-app:client-AND-ns-demo-ON-TCP-TO-PORT-80" -j AZURE-NPM-INGRESS-ALLOW-MARK',
      "-A AZURE-NPM-INGRESS-2o03vgq80v -m comment --comment DROP-ALL -j MARK --set-xmark 0x400/0x400",
    ])
      expect(text.split("\n")).toContain(line);
    const sets = saveIpsets(tables.sets.values()).split("\n");
    for (const line of [
      "create azure-npm-1xco0kbxi3ujz1n0spfj hash:net family inet hashsize 1024 maxelem 65536",
      "create azure-npm-5yauwxzfuas62snpisdf hash:net family inet hashsize 1024 maxelem 65536",
      "add azure-npm-1xco0kbxi3ujz1n0spfj 10.224.0.5",
      "add azure-npm-2jtt8xpa1d6w9vrdbxz8 10.224.0.5",
      "add azure-npm-2jtt8xpa1d6w9vrdbxz8 10.224.0.6",
    ])
      expect(sets).toContain(line);
  });
});

/** NPM's part of a node as text: its chains and sets, and what the hashed names stand for. */
function npmText(tables: IptablesTables): string {
  const chains = tables.v4.tables.filter?.chains ?? [];
  const own = chains.filter(({ name }) => name.startsWith("AZURE-NPM"));
  const forward = chains.filter(({ name }) => name === "FORWARD");
  const filter = { name: "filter" as const, chains: [...forward, ...own] };
  const sets = [...tables.sets.values()];
  const names = sets.map(({ name, title }) => `# ${name} ${title}`).sort();
  return `${saveRuleset({ family: 4, tables: { filter } })}${saveIpsets(sets)}${names.join("\n")}\n`;
}

describe("goldens", () => {
  const selectors: readonly RawObject[] = [
    namespace("x", { team: "red" }),
    namespace("y", { team: "blue", env: "prod" }),
    pod(
      "x/a",
      { app: "a", tier: "front" },
      {
        containers: [
          {
            name: "c",
            ports: [
              { name: "http", containerPort: 8080 },
              { name: "dns", protocol: "UDP", containerPort: 53 },
            ],
          },
        ],
      },
    ),
    pod("y/b", { app: "b" }),
    pod("y/host", { app: "b" }, { hostNetwork: true }),
    policy("x/web", {
      podSelector: {
        matchLabels: { app: "a" },
        matchExpressions: [{ key: "tier", operator: "In", values: ["front", "back"] }],
      },
      policyTypes: ["Ingress", "Egress"],
      ingress: [
        {
          from: [
            { podSelector: { matchLabels: { app: "b" } } },
            { ipBlock: { cidr: "10.0.0.0/8", except: ["10.1.0.0/16"] } },
          ],
          ports: [{ port: "http" }, { port: 80, endPort: 90 }],
        },
        {
          from: [
            {
              namespaceSelector: {
                matchExpressions: [{ key: "team", operator: "NotIn", values: ["green", "blue"] }],
              },
            },
          ],
        },
      ],
      egress: [
        {
          to: [{ ipBlock: { cidr: "0.0.0.0/0", except: ["168.63.129.16/32"] } }],
          ports: [{ protocol: "SCTP" }],
        },
        {
          to: [
            {
              namespaceSelector: {},
              podSelector: { matchExpressions: [{ key: "app", operator: "Exists" }] },
            },
          ],
          ports: [{ protocol: "UDP", port: "dns" }],
        },
      ],
    }),
    policy("y/deny", { podSelector: {}, policyTypes: ["Ingress", "Egress"] }),
    policy("y/open", { podSelector: { matchLabels: { app: "b" } }, ingress: [{}] }),
  ];
  it.each(["2022-04", "1.5.36", "2026-08", "2026-09", "2026-08+place-first+on-need"])(
    "azure-npm@%s",
    (version) => {
      expectGolden(
        `azure-npm/${version.replaceAll("+", "_")}.txt`,
        npmText(compile(selectors, `azure-npm@${version}`).tables),
      );
    },
  );
});
