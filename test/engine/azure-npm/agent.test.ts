/** NPM's agent: boot, every kind of event, what it leaves alone, and the law that a quiet agent ends at `compile`'s tables. */
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { platformTables } from "../../../src/engine/platform/index.ts";
import { saveIpsets } from "../../../src/filter/ipset/index.ts";
import { type IptablesTables, ruleText } from "../../../src/filter/iptables/index.ts";
import { clusterObjects, type ProductSelection } from "../../../src/harness/index.ts";
import {
  applyObjects,
  buildCluster,
  type ClusterState,
  deleteObject,
  loadObjects,
  setLabels,
} from "../../../src/k8s/index.ts";
import { clusterEdit } from "./edits.ts";
import { LiveNode } from "./live-node.ts";
import { cluster, namespace, npm, pod, policy, type RawObject, readable } from "./npm.ts";

const apply = (state: ClusterState, ...objects: readonly RawObject[]): ClusterState =>
  applyObjects(state, loadObjects("test", objects)).state;

/** NPM's chains and sets without what does not matter: the order of policies' jumps, chains and members. */
function normal(tables: IptablesTables): readonly string[] {
  const chains = (tables.v4.tables.filter?.chains ?? []).filter(({ name }) =>
    /^(AZURE-NPM|FORWARD)/.test(name),
  );
  const rules = chains.flatMap(({ name, rules: list }) => {
    const texts = list.map((rule) => ruleText(name, rule));
    const jumps = texts.filter((text) => text.includes("-POLICY-")).sort();
    return [`:${name}`, ...jumps, ...texts.filter((text) => !text.includes("-POLICY-"))].map(
      (text) => `${name} ${text}`,
    );
  });
  const order = (lines: readonly string[]): readonly string[] =>
    [...lines.entries()]
      .sort(([i, a], [j, b]) => (a.split(" ")[0] === b.split(" ")[0] ? i - j : a < b ? -1 : 1))
      .map(([, line]) => line);
  const sets = [...tables.sets.values()].filter(({ name }) => name.startsWith("azure-npm-"));
  return [...order(rules), ...saveIpsets(sets).split("\n").sort()];
}

function compiled(state: ClusterState, selection: ProductSelection): readonly string[] {
  const node = state.nodes.get("n1");
  const engine = selection.engines.linux;
  if (node === undefined || engine === undefined) throw new Error("there is a node, and NPM runs on it");
  const { tables } = engine.compile(state)(node, platformTables(state, node));
  if (tables.iptables === undefined) throw new Error("a Linux node has iptables");
  return normal(tables.iptables);
}

function live(node: LiveNode): readonly string[] {
  const { iptables } = node.tables();
  if (iptables === undefined) throw new Error("a Linux node has iptables");
  return normal(iptables);
}

const deny = (name: string): RawObject => policy(`x/${name}`, { podSelector: {}, policyTypes: ["Ingress"] });
const blocks = (name: string, ...cidrs: readonly string[]): RawObject =>
  policy(`x/${name}`, { podSelector: {}, ingress: [{ from: cidrs.map((cidr) => ({ ipBlock: { cidr } })) }] });

describe("boot", () => {
  const objects = [namespace("x"), pod("x/a", { app: "a" }), deny("p")];

  it("writes the base chains, places the jump, fills the sets, and only then adds policies", () => {
    const ops = new LiveNode(cluster(objects)).takeOps();
    const at = (pattern: RegExp): number => {
      const found = ops.findIndex((line) => pattern.test(line));
      expect(found, `${pattern}`).toBeGreaterThanOrEqual(0);
      return found;
    };
    const order = [
      at(/^iptables chain AZURE-NPM$/),
      at(/^iptables append AZURE-NPM-ACCEPT -j ACCEPT/),
      at(/^iptables insert \d FORWARD .*-j AZURE-NPM$/),
      at(/^ipset create/),
      at(/^ipset add/),
      at(/^iptables append AZURE-NPM -j AZURE-NPM-INGRESS$/),
      at(/^iptables insert 1 AZURE-NPM-INGRESS .*POLICY-x\/p-/),
    ];
    expect(order).toEqual([...order].sort((a, b) => a - b));
    expect(ops.filter((line) => /^ipset (flush|destroy)/.test(line))).toEqual([]);
  });

  it("after an earlier life first flushes its chains and takes the jump away, then clears all sets", () => {
    const node = new LiveNode(cluster(objects));
    node.takeOps();
    node.restart();
    const ops = node.takeOps();
    const kinds = ops.map((line) => line.split(" ").slice(0, 2).join(" "));
    const firstOf = (kind: string): number => kinds.indexOf(kind);
    expect(ops[0]).toBe("iptables delete FORWARD -m conntrack --ctstate NEW -j AZURE-NPM");
    const order = ["iptables chain", "iptables insert", "ipset flush", "ipset destroy", "ipset create"].map(
      firstOf,
    );
    expect(order).toEqual([...order].sort((a, b) => a - b));
    expect(
      ops.slice(0, firstOf("ipset create")).some((line) => line.startsWith("iptables append AZURE-NPM -j")),
    ).toBe(false);
    expect(live(node)).toEqual(compiled(node.state, npm()));
    expect(node.diagnostics).toEqual([]);
  });

  it("leaves chains of policies that are gone to the reconcile task", () => {
    const before = cluster([...objects, deny("gone")]);
    const node = new LiveNode(before);
    const after = deleteObject(before, "NetworkPolicy", "x", "gone").state;
    const restarted = new LiveNode(before);
    restarted.edit(after);
    for (const one of [node, restarted]) {
      const { tables } = readable(one.tables());
      expect(
        tables.v4.tables.filter?.chains.filter(({ name }) => /^AZURE-NPM-INGRESS-[a-z0-9]{10}$/.test(name)),
      ).toHaveLength(2);
    }
    restarted.restart();
    restarted.reconcile();
    expect(live(restarted)).toEqual(compiled(after, npm()));
  });
});

describe("policies", () => {
  const base = cluster([namespace("x"), pod("x/a", { app: "a" }), pod("x/b", { app: "b" })]);

  it("activate NPM with the first and deactivate it with the last", () => {
    const node = new LiveNode(base);
    const entry = (): number => readable(node.tables()).rules("AZURE-NPM").length;
    const one = apply(base, deny("p"));
    const two = apply(one, deny("q"));
    const lengths = [base, one, two, one, base].map((state) => {
      node.edit(state);
      return entry();
    });
    expect(lengths).toEqual([0, 3, 3, 3, 0]);
  });

  it("have their sets before the rules that name them, and lose them after", () => {
    const node = new LiveNode(base);
    node.takeOps();
    node.edit(apply(base, blocks("p", "10.0.0.0/8")));
    const added = node.takeOps();
    expect(added.findLastIndex((line) => line.startsWith("ipset"))).toBeLessThan(
      added.findIndex((line) => line.startsWith("iptables")),
    );
    node.edit(base);
    const removed = node.takeOps();
    expect(removed[0]).toMatch(/^iptables delete AZURE-NPM-INGRESS .*POLICY-x\/p-/);
    expect(removed.slice(1).map((line) => line.replace(/ (AZURE|azure)\S+$/, ""))).toEqual([
      "iptables flush",
      "iptables flush",
      "ipset flush",
      "ipset destroy",
    ]);
  });

  it("that are edited are removed, then added, and the jump comes first again", () => {
    const two = apply(base, deny("p"), deny("q"));
    const node = new LiveNode(two);
    node.takeOps();
    node.edit(apply(two, blocks("p", "10.0.0.0/8")));
    const ops = node.takeOps();
    expect(ops.findIndex((line) => line.startsWith("iptables delete"))).toBe(0);
    expect(ops.at(-1)).toMatch(/^iptables insert 1 AZURE-NPM-INGRESS .*POLICY-x\/p-/);
    const [first] = readable(node.tables()).rules("AZURE-NPM-INGRESS");
    expect(first).toContain("POLICY-x/p-");
  });

  it("whose spec is what is applied are left alone, whatever else of them changed", () => {
    const two = apply(base, deny("p"));
    const node = new LiveNode(two);
    node.takeOps();
    const labelled = { ...deny("p"), metadata: { namespace: "x", name: "p", labels: { a: "b" } } };
    node.edit(apply(two, labelled));
    node.edit(apply(two, deny("p")));
    expect(node.takeOps()).toEqual([]);
  });

  it("that cannot be translated are logged; rules of the version before stay, and going back to it does nothing", () => {
    const before = apply(base, blocks("p", "10.0.0.0/8"));
    const node = new LiveNode(before);
    const rules = live(node);
    node.takeOps();
    node.edit(apply(before, blocks("p", "11.0.0.0/8", "2001:db8::/32")));
    expect(node.diagnostics.map(({ message }) => message)).toEqual([
      "Failed to translate podSelector in NetworkPolicy p in namespace x: unsupported IP address",
    ]);
    node.edit(before);
    expect(node.takeOps()).toEqual([]);
    expect(live(node)).toEqual(rules);
    node.edit(apply(before, blocks("p", "2001:db8::/32")));
    node.edit(base);
    expect(live(node).some((line) => line.includes("POLICY-x/p-"))).toBe(false);
  });

  it("that are gone take along sets that nobody needs, labels that no pod has among them", () => {
    const nobody = policy("x/p", {
      podSelector: { matchExpressions: [{ key: "app", operator: "In", values: ["a", "nobody"] }] },
    });
    const node = new LiveNode(apply(base, nobody));
    const titles = (): readonly (string | undefined)[] =>
      [...(node.tables().iptables?.sets.values() ?? [])].map(({ title }) => title);
    expect(titles()).toEqual(expect.arrayContaining(["podlabel-app:nobody", "nestedlabel-x/p:app:a:nobody"]));
    node.edit(base);
    expect(titles()).not.toContain("podlabel-app:nobody");
    expect(titles()).not.toContain("nestedlabel-x/p:app:a:nobody");
    expect(titles()).toContain("podlabel-app:a");
    expect(node.diagnostics).toEqual([]);
  });
});

describe("pods and namespaces", () => {
  const base = cluster([namespace("x", { team: "t" }), pod("x/a", { app: "a" }), deny("p")]);

  it("touch sets alone, and only what changed", () => {
    const node = new LiveNode(base);
    node.takeOps();
    node.edit(setLabels(base, "Pod", "x", "a", { app: "b", tier: "front" }).state);
    const ops = node.takeOps();
    expect(ops.map((line) => line.split(" ").slice(0, 2).join(" ")).sort()).toEqual([
      ...Array.from({ length: 3 }, () => "ipset add"),
      ...Array.from({ length: 3 }, () => "ipset create"),
      "ipset del",
    ]);
  });

  it("with host network, without IPv4 address or ended are in no set", () => {
    const none = [
      pod("x/host", { app: "host" }, { hostNetwork: true }),
      { ...pod("x/done", { app: "done" }), status: { phase: "Succeeded", podIP: "10.224.0.77" } },
    ];
    const titles = [...(new LiveNode(apply(base, ...none)).tables().iptables?.sets.values() ?? [])].map(
      ({ title }) => title,
    );
    expect(titles).not.toContain("podlabel-app:host");
    expect(titles).not.toContain("podlabel-app:done");
  });

  it("that end leave their sets", () => {
    const node = new LiveNode(base);
    node.edit(apply(base, { ...pod("x/a", { app: "a" }), status: { phase: "Failed" } }));
    expect(readable(node.tables()).members("podlabel-app:a")).toEqual([]);
  });

  it("whose address another pod has by now do not take it away when they go", () => {
    const address = { status: { podIP: "10.224.0.50" } };
    const before = cluster([{ ...pod("x/old", { app: "a", old: "y" }), ...address }]);
    const node = new LiveNode(before);
    const both = apply(before, { ...pod("x/new", { app: "a", new: "y" }), ...address });
    node.edit(both);
    node.edit(deleteObject(both, "Pod", "x", "old").state);
    const { members } = readable(node.tables());
    expect(["ns-x", "podlabel-app:a", "podlabel-new:y", "podlabel-old:y"].map(members)).toEqual([
      ["10.224.0.50"],
      ["10.224.0.50"],
      ["10.224.0.50"],
      [],
    ]);
  });

  it("that are gone leave empty sets, which the reconcile task collects", () => {
    const node = new LiveNode(base);
    node.edit(deleteObject(base, "Pod", "x", "a").state);
    expect(readable(node.tables()).members("podlabel-app:a")).toEqual([]);
    node.reconcile();
    expect(readable(node.tables()).members("podlabel-app:a")).toBeUndefined();
    expect(readable(node.tables()).members("ns-x")).toEqual([]);
  });
});

describe("the reconcile task", () => {
  const base = cluster([deny("p")]);
  it("comes every five minutes", () => {
    const node = new LiveNode(base);
    expect(node.wakeAtNs).toBe(300e9);
    node.reconcile();
    expect(node.wakeAtNs).toBe(600e9);
  });

  it("puts the jump back where it belongs, and leaves it where it is right", () => {
    const node = new LiveNode(base);
    const right = live(node);
    node.takeOps();
    node.reconcile();
    expect(node.takeOps()).toEqual([]);
    const jump = {
      matches: [{ kind: "ctstate" as const, states: 2 }],
      target: { kind: "jump" as const, chain: "AZURE-NPM" },
    };
    const origin = { kind: "engine", name: "other", path: "", role: "base" as const };
    const [forward] = (node.tables().iptables?.v4.tables.filter?.chains ?? []).filter(
      ({ name }) => name === "FORWARD",
    );
    const rule = forward?.rules.find(({ target }) => target?.kind === "jump" && target.chain === "AZURE-NPM");
    if (rule === undefined) throw new Error("the jump is there");
    node.interfere({
      kind: "iptables-restore",
      family: 4,
      table: "filter",
      commands: [
        { op: "delete", chain: "FORWARD", rule },
        { op: "append", chain: "FORWARD", rule: { ...rule, ...jump, matches: rule.matches, origin } },
      ],
    });
    expect(live(node)).not.toEqual(right);
    node.reconcile();
    expect(live(node)).toEqual(right);
  });
});

describe("uninstalling", () => {
  it("leaves the platform's tables", () => {
    const state = cluster([pod("x/a"), blocks("p", "10.0.0.0/8")]);
    const node = new LiveNode(state);
    node.stop();
    expect(live(node)).toEqual(compiledNone(state));
    expect(node.diagnostics).toEqual([]);
  });

  function compiledNone(state: ClusterState): readonly string[] {
    const node = state.nodes.get("n1");
    const tables = node && platformTables(state, node).iptables;
    if (tables === undefined) throw new Error("a Linux node has iptables");
    return normal(tables);
  }
});

describe("law: a quiet agent ends at compile's tables", () => {
  const pin = (objects: readonly RawObject[]): readonly RawObject[] =>
    objects.filter(({ kind }) => kind !== "Node").map((object) => object);
  const start = (objects: readonly RawObject[], selection: ProductSelection): ClusterState => {
    const nodes = ["n1", "n2"].map((name) => ({
      apiVersion: "v1",
      kind: "Node",
      metadata: { name, labels: { "kubernetes.io/os": "linux" } },
    }));
    return buildCluster(loadObjects("test", [...nodes, ...pin(objects)]), selection.aks).state;
  };

  it.each(["azure-npm", "azure-npm@2026-09+place-first", "azure-npm+on-need", "azure-npm@1.5.36"])(
    "after any edits, as %s",
    (label) => {
      const selection = npm(label);
      fc.assert(
        fc.property(
          clusterObjects({ podsMax: 4, policiesMax: 3 }),
          fc.array(clusterEdit(), { maxLength: 10 }),
          (objects, edits) => {
            let state = start(objects, selection);
            const node = new LiveNode(state, selection);
            for (const one of edits) {
              state = one(state);
              node.edit(state);
            }
            node.reconcile();
            expect(node.diagnostics).toEqual([]);
            expect(live(node)).toEqual(compiled(state, selection));
          },
        ),
        { numRuns: 60, seed: 99 },
      );
    },
  );

  it("whether objects come one by one, all at once, backwards, or twice", () => {
    const selection = npm();
    fc.assert(
      fc.property(clusterObjects({ podsMax: 5, policiesMax: 4 }), (objects) => {
        const all = start(objects, selection);
        const expected = compiled(all, selection);
        const empty = start([], selection);
        const own = pin(objects).map((object) => withStatus(object, all));
        const orders: readonly (readonly (readonly RawObject[])[])[] = [
          [own],
          own.map((object) => [object]),
          [...own].reverse().map((object) => [object]),
          own.flatMap((object) => [[object], [object]]),
          [own, own],
        ];
        for (const order of orders) {
          let state = empty;
          const node = new LiveNode(state, selection);
          for (const objectsOfStep of order) {
            state = apply(state, ...objectsOfStep);
            node.edit(state);
          }
          node.reconcile();
          expect(node.diagnostics).toEqual([]);
          expect(live(node)).toEqual(expected);
        }
      }),
      { numRuns: 25, seed: 5 },
    );
  });

  /** Pods with the addresses that they have when all come at once, so that the order does not matter. */
  function withStatus(object: RawObject, state: ClusterState): RawObject {
    if (object["kind"] !== "Pod") return object;
    const { namespace: ns, name } = object["metadata"] as { namespace: string; name: string };
    const words = state.pods.get(`${ns}/${name}`)?.ips[0]?.words[0];
    if (words === undefined) return object;
    const podIP = [24, 16, 8, 0].map((shift) => (words >>> shift) & 255).join(".");
    return { ...object, status: { podIP } };
  }
});
