import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { platformTables } from "../../../src/engine/platform/index.ts";
import { chainHash } from "../../../src/engine/platform/kube-proxy.ts";
import { saveRuleset } from "../../../src/filter/iptables/index.ts";
import type { Node } from "../../../src/k8s/index.ts";
import {
  chainNames,
  chainText,
  cluster,
  node,
  rulesetOf,
  type SliceEndpoint,
  service,
  slice,
  twoNodes,
} from "./cluster.ts";

describe("names of kube-proxy's chains", () => {
  // facts of kube-proxy's own unit tests (pkg/proxy/iptables/proxier_test.go)
  it.each([
    ["ns2/svc2:p80", "", "GNZBNJ2PO5MGZ6GT"],
    ["ns3/svc3:p80", "", "X27LE4BHSL4DOUIK"],
    ["ns4/svc4:p80", "", "4SW47YFZTEDKD3PK"],
    ["ns5/svc5:p80", "", "NUKIZ6OKUXPJNT4C"],
    ["ns2/svc2:p80", "10.180.0.2:80", "RS4RBKLTHTF2IUXJ"],
    ["ns3/svc3:p80", "10.180.0.3:80", "OYPFS5VJICHGATKP"],
    ["ns4/svc4:p80", "10.180.0.5:80", "C6EBXVWJJZMIWKLZ"],
    ["ns5/svc5:p80", "10.180.0.3:80", "I77PXRDZVX7PMWMN"],
    ["default/kubernetes:https", "", "NPX46M4PTMTKRN6Y"],
  ])("of %s %s hash to %s", (name, endpoint, hash) => {
    expect(chainHash(`${name}tcp${endpoint}`)).toBe(hash);
  });

  const dump = join(process.env["PODWIRE_SHARED"] ?? "../shared", "truth/azure-npm-capture/iptablesave-v2");
  it.skipIf(!existsSync(dump))("of every Service and endpoint of a live AKS node are the node's own", () => {
    const text = readFileSync(dump, "utf8");
    const services = [
      ...text.matchAll(/-A KUBE-SERVICES -d \S+ -p (\w+) .*?"(\S+) cluster IP".* -j KUBE-SVC-(\w+)/g),
    ];
    const endpoints = [
      ...text.matchAll(/-A KUBE-SEP-(\w+) -p (\w+) -m comment --comment "([^"]+)".*--to-destination (\S+)/g),
    ];
    expect(services.length).toBeGreaterThan(20);
    expect(endpoints.length).toBeGreaterThan(40);
    for (const [, protocol, name, hash] of services) expect(chainHash(`${name}${protocol}`)).toBe(hash);
    for (const [, hash, protocol, name, to] of endpoints)
      expect(chainHash(`${name}${protocol}${to}`)).toBe(hash);
  });
});

const hash = chainHash("x/webtcp");
const sep = (endpoint: string): string => `KUBE-SEP-${chainHash(`x/webtcp${endpoint}`)}`;
const three: readonly SliceEndpoint[] = [
  { ip: "10.224.1.10", on: "n2" },
  { ip: "10.224.0.10", on: "n1" },
  { ip: "10.224.0.9", on: "n1" },
];

describe("a ClusterIP Service", () => {
  const state = cluster([service("web", { ports: [{ port: 80 }] }), slice("web", 8080, three)]);
  const ruleset = rulesetOf(state);

  it("is captured in KUBE-SERVICES, before the way to node ports", () => {
    expect(chainText(ruleset, "nat", "KUBE-SERVICES")).toEqual([
      `-d 10.0.0.20/32 -p tcp -m comment --comment "x/web cluster IP" -m tcp --dport 80 -j KUBE-SVC-${hash}`,
      '-m comment --comment "kubernetes service nodeports; NOTE: this must be the last rule in this chain" -m addrtype --dst-type LOCAL -j KUBE-NODEPORTS',
    ]);
  });

  it("draws one of its endpoints in the order of their text, all with the same chance", () => {
    expect(chainText(ruleset, "nat", `KUBE-SVC-${hash}`)).toEqual([
      `! -s 10.224.0.0/16 -d 10.0.0.20/32 -p tcp -m comment --comment "x/web cluster IP" -m tcp --dport 80 -j KUBE-MARK-MASQ`,
      `-m comment --comment "x/web -> 10.224.0.10:8080" -m statistic --mode random --probability 0.33333333349 -j ${sep("10.224.0.10:8080")}`,
      `-m comment --comment "x/web -> 10.224.0.9:8080" -m statistic --mode random --probability 0.50000000000 -j ${sep("10.224.0.9:8080")}`,
      `-m comment --comment "x/web -> 10.224.1.10:8080" -j ${sep("10.224.1.10:8080")}`,
    ]);
  });

  it("translates to each endpoint, with another source for the endpoint itself", () => {
    expect(chainText(ruleset, "nat", sep("10.224.0.9:8080"))).toEqual([
      '-s 10.224.0.9/32 -m comment --comment "x/web" -j KUBE-MARK-MASQ',
      '-p tcp -m comment --comment "x/web" -m tcp -j DNAT --to-destination 10.224.0.9:8080',
    ]);
  });

  it("points every rule at the Service's own port in the manifest", () => {
    const chain = ruleset.tables.nat?.chains.find(({ name }) => name === `KUBE-SVC-${hash}`);
    for (const { origin } of chain?.rules ?? [])
      expect(origin).toMatchObject({
        kind: "Service",
        name: "x/web",
        path: "spec.ports[0]",
        source: { file: "test" },
      });
  });

  it("is the same object on every node", () => {
    expect(rulesetOf(state, "n2")).toBe(ruleset);
  });

  it("names the pods' own range as the cluster where they have one", () => {
    const overlay = cluster([service("web", { ports: [{ port: 80 }] }), slice("web", 8080, three)], {
      networkPluginMode: "overlay",
    });
    expect(chainText(rulesetOf(overlay), "nat", `KUBE-SVC-${hash}`)?.[0]).toMatch(/^! -s 10\.244\.0\.0\/16 /);
  });
});

describe("session affinity", () => {
  const state = cluster([
    service("web", { ports: [{ port: 80 }], sessionAffinity: "ClientIP" }),
    slice("web", 8080, three.slice(1)),
  ]);

  it("asks every endpoint's list first, and each endpoint remembers its clients", () => {
    const list = (endpoint: string): string => `--name ${sep(endpoint)} --mask 255.255.255.255 --rsource`;
    const known = (endpoint: string): string =>
      `-m comment --comment "x/web -> ${endpoint}" -m recent --rcheck --seconds 10800 --reap ${list(endpoint)} -j ${sep(endpoint)}`;
    expect(chainText(rulesetOf(state), "nat", `KUBE-SVC-${hash}`)?.slice(1)).toEqual([
      known("10.224.0.10:8080"),
      known("10.224.0.9:8080"),
      expect.stringMatching(/--probability 0.50000000000/),
      expect.stringContaining('"x/web -> 10.224.0.9:8080"'),
    ]);
    expect(chainText(rulesetOf(state), "nat", sep("10.224.0.9:8080"))?.[1]).toBe(
      `-p tcp -m comment --comment "x/web" -m recent --set ${list("10.224.0.9:8080")} -m tcp -j DNAT --to-destination 10.224.0.9:8080`,
    );
  });
});

describe("a Service without endpoints to use", () => {
  const ports = [{ port: 80, nodePort: 30_080 }];
  const refused = "-j REJECT --reject-with icmp-port-unreachable";

  it("is refused at every address of its own when there are none at all", () => {
    const ruleset = rulesetOf(
      cluster([
        service(
          "web",
          { type: "LoadBalancer", ports, externalIPs: ["192.0.2.7"] },
          { loadBalancer: { ingress: [{ ip: "203.0.113.9" }] } },
        ),
        slice("web", 80, [{ ip: "10.224.0.9", on: "n1", ready: false, serving: false }]),
      ]),
    );
    const why = '-m comment --comment "x/web has no endpoints"';
    expect(chainText(ruleset, "filter", "KUBE-SERVICES")).toEqual([
      `-d 10.0.0.20/32 -p tcp ${why} -m tcp --dport 80 ${refused}`,
    ]);
    expect(chainText(ruleset, "filter", "KUBE-EXTERNAL-SERVICES")).toEqual([
      `-d 192.0.2.7/32 -p tcp ${why} -m tcp --dport 80 ${refused}`,
      `-d 203.0.113.9/32 -p tcp ${why} -m tcp --dport 80 ${refused}`,
      `-p tcp ${why} -m addrtype --dst-type LOCAL -m tcp --dport 30080 ${refused}`,
    ]);
    expect(chainNames(ruleset, "KUBE-SVC", "KUBE-EXT", "KUBE-SEP")).toEqual([]);
    expect(chainText(ruleset, "nat", "KUBE-NODEPORTS")).toEqual([]);
  });

  it("is dropped inside where policy Local finds none on the node, and reachable where it does", () => {
    const state = cluster([
      service("web", { internalTrafficPolicy: "Local", ports: [{ port: 80 }] }),
      slice("web", 8080, three.slice(1)),
    ]);
    expect(chainText(rulesetOf(state, "n2"), "filter", "KUBE-SERVICES")).toEqual([
      '-d 10.0.0.20/32 -p tcp -m comment --comment "x/web has no local endpoints" -m tcp --dport 80 -j DROP',
    ]);
    expect(chainNames(rulesetOf(state, "n2"), "KUBE-SVC", "KUBE-SVL", "KUBE-SEP")).toEqual([]);
    const here = rulesetOf(state, "n1");
    expect(chainText(here, "filter", "KUBE-SERVICES")).toEqual([]);
    expect(chainText(here, "nat", "KUBE-SERVICES")?.[0]).toMatch(new RegExp(`-j KUBE-SVL-${hash}$`));
    expect(chainText(here, "nat", `KUBE-SVL-${hash}`)).toHaveLength(3);
    expect(chainNames(here, "KUBE-SVC", "KUBE-SVL", "KUBE-SEP")).toHaveLength(3);
  });

  it("falls back on endpoints that end but still serve, each policy by itself", () => {
    const state = cluster([
      service("web", { type: "NodePort", externalTrafficPolicy: "Local", ports }),
      slice("web", 80, [
        { ip: "10.224.0.9", on: "n1", ready: false, serving: true, terminating: true },
        { ip: "10.224.0.10", on: "n1", ready: false, serving: false, terminating: true },
        { ip: "10.224.1.9", on: "n2" },
      ]),
    ]);
    const first = rulesetOf(state, "n1");
    expect(chainText(first, "nat", `KUBE-SVC-${hash}`)?.at(-1)).toBe(
      `-m comment --comment "x/web -> 10.224.1.9:80" -j ${sep("10.224.1.9:80")}`,
    );
    expect(chainText(first, "nat", `KUBE-SVL-${hash}`)).toEqual([
      `-m comment --comment "x/web -> 10.224.0.9:80" -j ${sep("10.224.0.9:80")}`,
    ]);
    expect(chainNames(first, "KUBE-SEP")).toEqual([sep("10.224.0.9:80"), sep("10.224.1.9:80")].sort());
  });
});

describe("what comes from outside", () => {
  const status = { loadBalancer: { ingress: [{ ip: "203.0.113.9" }] } };
  const ports = [{ port: 80, nodePort: 30_080 }];
  const destinations = "x/web external destinations";

  it("is masqueraded with policy Cluster", () => {
    const ruleset = rulesetOf(
      cluster([
        service("web", { type: "LoadBalancer", ports, externalIPs: ["192.0.2.7"] }, status),
        slice("web", 80, three),
      ]),
    );
    expect(chainText(ruleset, "nat", "KUBE-SERVICES")?.slice(1, 3)).toEqual([
      `-d 192.0.2.7/32 -p tcp -m comment --comment "x/web external IP" -m tcp --dport 80 -j KUBE-EXT-${hash}`,
      `-d 203.0.113.9/32 -p tcp -m comment --comment "x/web loadbalancer IP" -m tcp --dport 80 -j KUBE-EXT-${hash}`,
    ]);
    expect(chainText(ruleset, "nat", "KUBE-NODEPORTS")).toEqual([
      `-p tcp -m comment --comment "x/web" -m tcp --dport 30080 -j KUBE-EXT-${hash}`,
    ]);
    expect(chainText(ruleset, "nat", `KUBE-EXT-${hash}`)).toEqual([
      `-m comment --comment "masquerade traffic for ${destinations}" -j KUBE-MARK-MASQ`,
      `-j KUBE-SVC-${hash}`,
    ]);
  });

  it("keeps its source and stays on the node with policy Local, but for pods and the node itself", () => {
    const state = cluster([
      service(
        "web",
        { type: "LoadBalancer", externalTrafficPolicy: "Local", healthCheckNodePort: 32_000, ports },
        status,
      ),
      slice("web", 80, three.slice(1)),
    ]);
    const own = [
      `-s 10.224.0.0/16 -m comment --comment "pod traffic for ${destinations}" -j KUBE-SVC-${hash}`,
      `-m comment --comment "masquerade LOCAL traffic for ${destinations}" -m addrtype --src-type LOCAL -j KUBE-MARK-MASQ`,
      `-m comment --comment "route LOCAL traffic for ${destinations}" -m addrtype --src-type LOCAL -j KUBE-SVC-${hash}`,
    ];
    const [here, there] = [rulesetOf(state, "n1"), rulesetOf(state, "n2")];
    expect(chainText(here, "nat", `KUBE-EXT-${hash}`)).toEqual([...own, `-j KUBE-SVL-${hash}`]);
    expect(chainText(there, "nat", `KUBE-EXT-${hash}`)).toEqual(own);
    expect(chainText(here, "filter", "KUBE-EXTERNAL-SERVICES")).toEqual([]);
    expect(chainText(there, "filter", "KUBE-EXTERNAL-SERVICES")).toEqual([
      '-d 203.0.113.9/32 -p tcp -m comment --comment "x/web has no local endpoints" -m tcp --dport 80 -j DROP',
      '-p tcp -m comment --comment "x/web has no local endpoints" -m addrtype --dst-type LOCAL -m tcp --dport 30080 -j DROP',
    ]);
    for (const ruleset of [here, there])
      expect(chainText(ruleset, "filter", "KUBE-NODEPORTS")).toEqual([
        '-p tcp -m comment --comment "x/web health check node port" -m tcp --dport 32000 -j ACCEPT',
      ]);
  });

  it("passes a firewall where source ranges are named, which lets the node in only if they hold it", () => {
    const state = cluster([
      service(
        "web",
        { type: "LoadBalancer", loadBalancerSourceRanges: ["203.0.113.0/25", "10.224.0.5/32"], ports },
        status,
      ),
      slice("web", 80, three),
    ]);
    const ranges = [
      `-s 203.0.113.0/25 -m comment --comment "x/web loadbalancer IP" -j KUBE-EXT-${hash}`,
      `-s 10.224.0.5/32 -m comment --comment "x/web loadbalancer IP" -j KUBE-EXT-${hash}`,
    ];
    const rest = `-m comment --comment "other traffic to x/web will be dropped by KUBE-PROXY-FIREWALL"`;
    const admitted = `-s 203.0.113.9/32 -m comment --comment "x/web loadbalancer IP" -j KUBE-EXT-${hash}`;
    expect(chainText(rulesetOf(state, "n1"), "nat", `KUBE-FW-${hash}`)).toEqual([...ranges, rest]);
    expect(chainText(rulesetOf(state, "n2"), "nat", `KUBE-FW-${hash}`)).toEqual([...ranges, admitted, rest]);
    expect(chainText(rulesetOf(state), "filter", "KUBE-PROXY-FIREWALL")).toEqual([
      `-d 203.0.113.9/32 -p tcp -m comment --comment "x/web traffic not accepted by KUBE-FW-${hash}" -m tcp --dport 80 -j DROP`,
    ]);
    expect(chainText(rulesetOf(state), "nat", "KUBE-NODEPORTS")?.[0]).toMatch(/-j KUBE-EXT-/);
  });
});

describe("Services in IPv6", () => {
  const words = { networkPluginMode: "overlay", ipFamilies: ["ipv4", "ipv6"] } as const;
  const endpoints = {
    ...slice("web", 80, [{ ip: "fd12:3456:789a::5", on: "n1" }]),
    addressType: "IPv6",
  };
  const state = cluster(
    [service("web", { clusterIPs: ["10.0.0.20", "fd12:3456:789b::20"], ports: [{ port: 80 }] }), endpoints],
    words,
  );

  it("have chains of their own, with addresses in brackets before the port", () => {
    const v6 = rulesetOf(state, "n1", 6);
    const name = `KUBE-SEP-${chainHash("x/webtcp[fd12:3456:789a::5]:80")}`;
    expect(chainText(v6, "nat", name)?.[1]).toBe(
      '-p tcp -m comment --comment "x/web" -m tcp -j DNAT --to-destination [fd12:3456:789a::5]:80',
    );
    expect(chainText(v6, "nat", "KUBE-SERVICES")?.at(-1)).toMatch(/^! -d ::1\/128 .*-j KUBE-NODEPORTS$/);
    expect(chainText(v6, "filter", "KUBE-FIREWALL")).toEqual([]);
  });

  it("are refused in a family in which they have an address but no endpoints", () => {
    expect(chainText(rulesetOf(state), "filter", "KUBE-SERVICES")?.[0]).toMatch(/has no endpoints/);
    expect(chainText(rulesetOf(state, "n1", 6), "filter", "KUBE-SERVICES")).toEqual([]);
  });
});

describe("kube-proxy's rules", () => {
  it("are none for headless Services and those that are names only", () => {
    const state = cluster([
      service("a", { clusterIP: "None", ports: [{ port: 80 }] }),
      service("b", { clusterIP: undefined, type: "ExternalName", externalName: "example.com" }),
      slice("a", 80, three),
    ]);
    expect(saveRuleset(rulesetOf(state))).toBe(saveRuleset(rulesetOf(cluster([]))));
  });

  it("take the number that a named target port has on each pod", () => {
    const state = cluster([
      service("web", { ports: [{ name: "http", port: 80, targetPort: "http" }] }),
      slice("web", 8080, [{ ip: "10.224.0.9", on: "n1" }], "http"),
      {
        ...slice("web", 9090, [{ ip: "10.224.0.10", on: "n1" }], "http"),
        metadata: { namespace: "x", name: "web-2", labels: { "kubernetes.io/service-name": "web" } },
      },
    ]);
    const chain = `KUBE-SVC-${chainHash("x/web:httptcp")}`;
    expect(chainText(rulesetOf(state), "nat", chain)?.slice(1)).toEqual([
      expect.stringContaining('"x/web:http -> 10.224.0.10:9090"'),
      expect.stringContaining('"x/web:http -> 10.224.0.9:8080"'),
    ]);
  });

  it("leave out the comments of endpoints past 1,000 of them", () => {
    const many = (count: number): readonly SliceEndpoint[] =>
      Array.from({ length: count }, (_, i) => ({ ip: `10.224.${8 + (i >> 8)}.${i & 255}`, on: "n1" }));
    const text = (count: number): string | undefined =>
      chainText(
        rulesetOf(cluster([service("web", { ports: [{ port: 80 }] }), slice("web", 80, many(count))])),
        "nat",
        sep("10.224.8.7:80"),
      )?.[0];
    expect(text(1000)).toMatch(/--comment/);
    expect(text(1001)).toBe("-s 10.224.8.7/32 -j KUBE-MARK-MASQ");
  });

  const endpoint: fc.Arbitrary<SliceEndpoint> = fc.record({
    ip: fc.integer({ min: 10, max: 40 }).map((last) => `10.224.0.${last}`),
    on: fc.constantFrom("n1", "n2"),
    ready: fc.boolean(),
    serving: fc.boolean(),
    terminating: fc.boolean(),
  });
  const policy = fc.constantFrom("Cluster", "Local");
  const web = fc.record({
    internal: policy,
    external: policy,
    ranges: fc.boolean(),
    type: fc.constantFrom("ClusterIP", "NodePort", "LoadBalancer"),
  });
  const objects = fc
    .tuple(web, fc.uniqueArray(endpoint, { selector: ({ ip }) => ip, maxLength: 6 }))
    .map(([spec, endpoints]) => ({
      endpoints,
      service: service(
        "web",
        {
          type: spec.type,
          internalTrafficPolicy: spec.internal,
          ports: [{ port: 80, ...(spec.type === "ClusterIP" ? {} : { nodePort: 30_080 }) }],
          ...(spec.type === "ClusterIP" ? {} : { externalTrafficPolicy: spec.external }),
          ...(spec.ranges && spec.type === "LoadBalancer"
            ? { loadBalancerSourceRanges: ["10.224.0.4/31"] }
            : {}),
        },
        spec.type === "LoadBalancer" ? { loadBalancer: { ingress: [{ ip: "203.0.113.9" }] } } : {},
      ),
    }));

  it("law: do not depend on the order of endpoints and slices", () => {
    fc.assert(
      fc.property(objects, ({ service: web, endpoints }) => {
        const texts = [endpoints, [...endpoints].reverse()].map((list) => {
          const half = Math.floor(list.length / 2);
          const state = cluster([
            slice("web", 80, list.slice(0, half)),
            web,
            {
              ...slice("web", 80, list.slice(half)),
              metadata: { namespace: "x", name: "second", labels: { "kubernetes.io/service-name": "web" } },
            },
          ]);
          return ["n1", "n2"].map((name) => saveRuleset(rulesetOf(state, name)));
        });
        expect(texts[0]).toEqual(texts[1]);
      }),
    );
  });

  it("law: every jump has its chain, every chain of a Service is jumped to, and equal nodes share one object", () => {
    fc.assert(
      fc.property(objects, ({ service: web, endpoints }) => {
        const state = cluster([
          ...twoNodes,
          node("n3", "10.224.0.6"),
          node("n4", "10.224.0.7"),
          web,
          slice("web", 80, endpoints),
        ]);
        for (const name of ["n1", "n2", "n3"]) {
          const chains = rulesetOf(state, name).tables.nat?.chains ?? [];
          const targets = new Set(
            chains.flatMap(({ rules }) =>
              rules.flatMap(({ target }) => (target?.kind === "jump" ? [target.chain] : [])),
            ),
          );
          const own = chains
            .map((chain) => chain.name)
            .filter((chain) => /^KUBE-(SVC|SVL|EXT|FW|SEP)-/.test(chain));
          for (const chain of own) expect(targets).toContain(chain);
          for (const target of targets) expect(chains.map((chain) => chain.name)).toContain(target);
        }
        expect(platformTables(state, state.nodes.get("n3") as Node)).toBe(
          platformTables(state, state.nodes.get("n4") as Node),
        );
      }),
    );
  });
});
