/** A cluster as a product has it on AKS: which version of Cilium goes with which Kubernetes, and what may be named. */
import { describe, expect, it } from "vitest";
import {
  parseSelection,
  runScenario,
  selectEngine,
  selectedCluster,
  vendorKinds,
} from "../../src/harness/index.ts";
import { type ClusterWords, loadManifests } from "../../src/k8s/index.ts";
import { loadScenario } from "../../src/scenario/index.ts";
import { manifest, pod } from "./cluster.ts";

const objects = loadManifests(manifest(pod("x/a")), { vendorKinds });

const versionOf = (name: string, words: ClusterWords = {}, force = false): string => {
  const { selection } = selectedCluster(objects, parseSelection(name), words, { force });
  expect(selection.label).toBe(name);
  return selection.version;
};

describe("the version of Cilium", () => {
  // AKS, "Configure Azure CNI Powered by Cilium": minimum Cilium version by Kubernetes version
  it.each([
    ["1.29", "1.14"],
    ["1.30", "1.14"],
    ["1.31", "1.16"],
    ["1.32", "1.17"],
    ["1.33", "1.17"],
    ["1.34", "1.18"],
    ["1.35", "1.18"],
  ])("on Kubernetes %s is %s", (kubernetesVersion, version) => {
    expect(versionOf("cilium", { kubernetesVersion })).toBe(version);
    expect(versionOf("cilium", { kubernetesVersion: `${kubernetesVersion}.7` })).toBe(version);
    expect(versionOf("cilium-linux", { kubernetesVersion })).toBe(version);
  });

  it("without a version of Kubernetes is its default", () => {
    const { defaultVersion, version } = { defaultVersion: "1.18", version: versionOf("cilium") };
    expect(version).toBe(defaultVersion);
    expect(parseSelection("cilium").version).toBe(defaultVersion);
  });

  it("that is named stays, whatever Kubernetes' is", () => {
    expect(versionOf("cilium@1.19", { kubernetesVersion: "1.29" })).toBe("1.19");
    expect(versionOf("cilium@1.18", { kubernetesVersion: "1.20" })).toBe("1.18");
  });

  it("keeps the switches that were named", () => {
    const words = { kubernetesVersion: "1.31" };
    const { selection } = selectedCluster(objects, parseSelection("cilium+sctp+lockdown=false"), words);
    expect(selection.kind === "product" && selection.engines.linux).toMatchObject({
      version: "1.16",
      switches: { sctp: "true", lockdown: "false" },
    });
  });

  it.each(["1.28", "1.36", "1.3"])("on Kubernetes %s is refused, unless forced", (kubernetesVersion) => {
    expect(() => versionOf("cilium", { kubernetesVersion })).toThrow(
      `kubernetesVersion: AKS runs no cilium on Kubernetes ${kubernetesVersion}, but on 1.29 to 1.35`,
    );
    expect(versionOf("cilium", { kubernetesVersion }, true)).toBe("1.18");
  });

  it("is Cilium's alone: others run on any", () => {
    for (const name of ["azure-npm", "none", "oracle"])
      expect(versionOf(name, { kubernetesVersion: "1.28" })).toBe(versionOf(name));
    const engine = parseSelection("cilium");
    if (engine.kind !== "product" || engine.engines.linux === undefined) throw new Error("no engine");
    const own = selectEngine("./mine.mjs", engine.engines.linux);
    expect(selectedCluster(objects, own, { kubernetesVersion: "1.28" }).selection).toBe(own);
  });

  it("decides in scenarios: before 1.31 a port range is its first port", () => {
    const scenario = (kubernetesVersion: string): string => `# A range of ports, on a version of Kubernetes.
# Look at the second probe.
name: range
cluster: { networkDataplane: cilium, networkPolicy: cilium, kubernetesVersion: "${kubernetesVersion}" }
fixture: { nodes: 1, pods: [x/a, x/b] }
manifests: |
  apiVersion: networking.k8s.io/v1
  kind: NetworkPolicy
  metadata: { namespace: x, name: range }
  spec: { podSelector: {}, ingress: [{ ports: [{ port: 80, endPort: 90 }] }] }
engines: [cilium]
steps:
  - probe: { from: x/a, to: x/b, port: 80, expect: refused }
  - probe: { from: x/a, to: x/b, port: 85, expect: refused }
`;
    const run = (version: string) =>
      runScenario(loadScenario({ name: "range.yaml", text: scenario(version) }), parseSelection("cilium"), {
        seed: 1,
      });
    const [old, now] = [run("1.30"), run("1.31")];
    expect([old.engineVersion, now.engineVersion]).toEqual(["1.14", "1.16"]);
    expect(now.steps.map(({ ok }) => ok)).toEqual([true, true]);
    expect(old.steps.map(({ ok }) => ok)).toEqual([true, false]);
  });

  it("of Kubernetes is a version", () => {
    expect(() => versionOf("none", { kubernetesVersion: "latest" })).toThrow(
      "kubernetesVersion: must be a version such as 1.31, not latest",
    );
  });
});
