/** What `engines` claims, and the scenarios that assert it. */
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { engineDefinitions, featureUses } from "../../src/engine/registry.ts";
import { assertionsOf, describeEngines, engineNames } from "../../src/harness/index.ts";
import { loadScenario, type Scenario } from "../../src/scenario/index.ts";

const root = join(import.meta.dirname, "../..");
const scenarios: readonly Scenario[] = readdirSync(join(root, "scenarios"), { recursive: true })
  .map(String)
  .filter((name) => name.endsWith(".yaml"))
  .sort()
  .map((name) =>
    loadScenario(
      { name: `scenarios/${name}`, text: readFileSync(join(root, "scenarios", name), "utf8") },
      {
        engineNames: engineNames(),
        readManifests: (path, file) => {
          const at = join(root, file, "..", path);
          return [{ name: at, text: readFileSync(at, "utf8") }];
        },
      },
    ),
  );
const assertions = assertionsOf(scenarios);
const { engines, products, refusals, notes } = describeEngines("1", assertions);

/** What several products have of their platform one of them asserts for all. */
const asserted = new Set(engines.flatMap(({ name }) => [...assertions.divergences(name).keys()]));

describe("what engines claim", () => {
  it.each(engines)("$name: every feature and every divergence is asserted by a scenario", (engine) => {
    const unshown = [
      ...Object.entries(engine.features).filter(([, row]) => row.scenarios.length === 0),
      ...engine.divergences.filter(({ id }) => !asserted.has(id)).map(({ id }) => [id]),
    ].map(([name]) => name);
    expect(unshown).toEqual([]);
  });

  it.each(engines)(
    "$name: every divergence that a scenario asserts is in the table",
    ({ name, divergences }) => {
      const known = divergences.map(({ id }) => id);
      expect([...assertions.divergences(name).keys()].filter((id) => !known.includes(id))).toEqual([]);
    },
  );

  it("every refusal of AKS's is asserted by a scenario that forces it", () => {
    expect(refusals.filter((one) => one.scenarios.length === 0).map(({ id }) => id)).toEqual([]);
    expect(refusals.length).toBeGreaterThanOrEqual(17);
  });

  it("every row of a table says where a cluster has to do with it", () => {
    for (const { create, defaultVersion } of engineDefinitions) {
      const { features, ownUses = {} } = create(defaultVersion, {}).features;
      for (const name of Object.keys(features))
        expect(featureUses[name] ?? ownUses[name]).toBeTypeOf("function");
    }
  });

  it("is found from what scenarios expect: without them nothing is asserted, and one asserts its own", () => {
    const bare = describeEngines("1");
    expect(bare.engines.flatMap(({ divergences }) => divergences.flatMap((one) => one.scenarios))).toEqual(
      [],
    );
    const file = "scenarios/windows/except.yaml";
    const one = assertionsOf(scenarios.filter((scenario) => scenario.file === file));
    expect([...one.divergences("azure-npm-windows")]).toEqual([["npm-windows-except", [file]]]);
    expect(one.features("azure-npm-windows").get("ipBlock except")).toEqual([file]);
    expect(one.features("azure-npm-linux").get("ipBlock except")).toBeUndefined();
    expect([...one.diagnostics]).toEqual([["windows-except", [file]]]);
  });
});

describe("the comparison of products", () => {
  const column = (name: string): (typeof products)[number] | undefined =>
    products.find(({ product }) => product === name);

  it("is that of AKS's article, out of what the engines say of themselves", () => {
    expect(column("azure-npm")).toMatchObject({
      platforms: ["Linux", "Windows Server 2022 (preview)"],
      networkOptions: ["Linux: Azure CNI", "Windows: Azure CNI"],
      networkPolicy: [
        expect.stringMatching(/^Linux: all of it, but without IPv6, hostNetwork pods$/),
        expect.stringMatching(
          /^Windows: .* without ipBlock except, named ports, SCTP, negative selectors, IPv6/,
        ),
      ],
      beyond: [],
      filters: [expect.stringContaining("iptables and ipset"), expect.stringContaining("HNS ACLPolicy")],
    });
    expect(column("cilium")).toMatchObject({
      platforms: ["Linux"],
      networkOptions: ["Azure CNI"],
      beyond: expect.arrayContaining(["CiliumNetworkPolicy", "CiliumClusterwideNetworkPolicy"]),
      filters: [expect.stringContaining("BPF")],
    });
    expect(column("none")?.networkPolicy).toEqual(["Linux: none of it", "Windows: none of it"]);
  });

  it("says in one sentence that HNS has no outside oracle, here and in README", () => {
    expect(notes.join()).toMatch(/^No outside oracle exists for HNS here: [^.]*(hcsshim)[^.]*\.$/);
    const [said = ""] =
      /No outside oracle exists for HNS here: [^.]*/.exec(readFileSync(join(root, "README.md"), "utf8")) ??
      [];
    expect(said).toContain("hcsshim");
  });
});
