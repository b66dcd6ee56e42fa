/** Names of sets and chains: vectors of both eras, and what happens when two readable names have one kernel name. */
import { describe, expect, it } from "vitest";
import { compileLinux } from "../../../src/engine/azure-npm/linux.ts";
import { fnvNaming, type Naming, sha256Naming } from "../../../src/engine/azure-npm/naming.ts";
import { npmVariant } from "../../../src/engine/azure-npm/versions.ts";
import { platformTables } from "../../../src/engine/platform/index.ts";
import { cluster, namespace, npm, pod, policy, readable } from "./npm.ts";

describe("names since 2026-07-30", () => {
  it.each([
    ["ns-test", "azure-npm-343gyx4g1wf87lwlewvk"],
    ["podlabel-x:YMaaIZ", "azure-npm-61b0uqiiz2delucbmvi2"],
    ["ns-demo", "azure-npm-2jtt8xpa1d6w9vrdbxz8"],
    ["podlabel-app:server", "azure-npm-1xco0kbxi3ujz1n0spfj"],
    ["podlabel-app:client", "azure-npm-5yauwxzfuas62snpisdf"],
    ["nslabel-all-namespaces", "azure-npm-gcmk2hdba149zrugxkm4"],
    ["namedport:http", "azure-npm-64r7b76fx87ma3vwp98v"],
    ["empty-emptyhashset", "azure-npm-ngnfz42mtqjbw8ffiwmj"],
  ])("the set %s is %s", (readableName, name) => {
    expect(sha256Naming.setName(readableName)).toBe(name);
  });

  it.each([
    ["x/test1", "jo5gdwc4t2"],
    ["msobb-server/trusted-namespace-only", "7d7a0cfguo"],
    ["demo/demo-policy", "2o03vgq80v"],
  ])("the chains of %s end in %s", (key, digest) => {
    expect(sha256Naming.chainDigest(key)).toBe(digest);
  });
});

describe("names before", () => {
  it.each([
    ["ns-y", "azure-npm-2837910840"],
    ["podlabel-pod:a", "azure-npm-3922407721"],
    ["ns-demo", "azure-npm-4045649522"],
    ["podlabel-app:server", "azure-npm-221647237"],
    ["podlabel-app:client", "azure-npm-2427285921"],
    ["nslabel-all-namespaces", "azure-npm-1639206293"],
    ["namedport:http", "azure-npm-1534852129"],
    ["empty-emptyhashset", "azure-npm-3530799710"],
  ])("the set %s is %s", (readableName, name) => {
    expect(fnvNaming.setName(readableName)).toBe(name);
  });

  it.each([
    ["y/base", "2697641196"],
    ["demo/demo-policy", "515910025"],
  ])("the chains of %s end in %s", (key, digest) => {
    expect(fnvNaming.chainDigest(key)).toBe(digest);
  });
});

describe("law: names fit the kernel's limits", () => {
  it.each([
    ["sha256", sha256Naming],
    ["fnv", fnvNaming],
  ] as const)("of %s", (_, naming) => {
    for (let i = 0; i < 500; i++) {
      expect(naming.setName(`podlabel-k${i}:${"v".repeat(i % 64)}`).length).toBeLessThanOrEqual(31);
      expect(`AZURE-NPM-INGRESS-${naming.chainDigest(`namespace-${i}/policy`)}`.length).toBeLessThanOrEqual(
        28,
      );
    }
  });
});

describe("two names with one kernel name", () => {
  const [first, second] = ["ns-msobb-target", "podlabel-x:YMaaIZ"];

  it("existed in the older form", () => {
    expect(fnvNaming.setName(first)).toBe(fnvNaming.setName(second));
    expect(sha256Naming.setName(first)).not.toBe(sha256Naming.setName(second));
  });

  const objects = [
    namespace("msobb-target"),
    pod("msobb-target/a"),
    pod("other/b", { x: "YMaaIZ" }),
    policy("other/p", { podSelector: { matchLabels: { x: "YMaaIZ" } } }),
  ];

  it("share a set then: a label selects the pods of a namespace", () => {
    const state = cluster(objects, npm("azure-npm@1.5.36"));
    const node = state.nodes.get("n1");
    if (node === undefined) throw new Error("there is a node");
    const { tables } = compileLinux(npmVariant("1.5.36", {}))(state)(node, platformTables(state, node));
    expect(readable(tables).members(first)).toHaveLength(2);
  });

  /** A hash so short that names meet; refusals as the variant has them. */
  const weak = (refusesCollisions: boolean): Naming => ({
    setName: (readableName) =>
      `azure-npm-${readableName.startsWith("cidr") ? "cidr" : fnvNaming.setName(readableName)}`,
    chainDigest: (key) => (key.startsWith("x/") ? "same" : fnvNaming.chainDigest(key)),
    refusesCollisions,
  });
  const compileWith = (naming: Naming): ReturnType<typeof readable> => {
    const state = cluster([
      pod("x/a", { app: "a" }),
      pod("x/b", { app: "b" }),
      policy("x/one", {
        podSelector: { matchLabels: { app: "a" } },
        ingress: [{ from: [{ ipBlock: { cidr: "10.0.0.0/8" } }] }],
      }),
      policy("x/two", { podSelector: { matchLabels: { app: "b" } }, policyTypes: ["Ingress"] }),
      policy("y/three", { podSelector: {}, ingress: [{ from: [{ ipBlock: { cidr: "11.0.0.0/8" } }] }] }),
    ]);
    const node = state.nodes.get("n1");
    if (node === undefined) throw new Error("there is a node");
    const variant = { ...npmVariant("2026-08", {}), naming };
    const { tables, diagnostics } = compileLinux(variant)(state)(node, platformTables(state, node));
    return readable(
      tables,
      diagnostics.map(({ message }) => message),
    );
  };

  it("of which the second is refused since the change, chain or set, and nothing of it is programmed", () => {
    const { rules, diagnostics, members } = compileWith(weak(true));
    expect(diagnostics).toEqual([
      "[DataPlane] error while adding policy: x/two needs the kernel name same, which x/one has",
      "[DataPlane] error while adding policy: y/three needs the kernel name azure-npm-cidr, which cidr-one:in-ns:x-0-0IN has",
    ]);
    expect(rules("AZURE-NPM-INGRESS").filter((rule) => rule.includes("POLICY"))).toHaveLength(1);
    expect(rules("AZURE-NPM-INGRESS-same")).toHaveLength(2);
    expect(members("cidr-one:in-ns:x-0-0IN")).toEqual(["10.0.0.0/8"]);
  });

  it("are mixed up without it: one chain with the later policy's rules, one set with both blocks", () => {
    const { rules, diagnostics, members } = compileWith(weak(false));
    expect(diagnostics).toEqual([]);
    expect(
      rules("AZURE-NPM-INGRESS").filter((rule) => rule.endsWith("-j AZURE-NPM-INGRESS-same")),
    ).toHaveLength(2);
    expect(rules("AZURE-NPM-INGRESS-same")).toEqual([
      "-A AZURE-NPM-INGRESS-same -m comment --comment DROP-ALL -j MARK --set-xmark 0x400/0x400",
    ]);
    expect(members("cidr-one:in-ns:x-0-0IN")).toEqual(["10.0.0.0/8", "11.0.0.0/8"]);
  });
});
