/** What our own compile makes of the captured cluster: the published verdicts, and the dump's own rules. */
import { describe, expect, it } from "vitest";
import { Hook, Verdict } from "../../src/filter/index.ts";
import {
  type IptablesTables,
  type Ruleset,
  restoreRuleset,
  ruleText,
} from "../../src/filter/iptables/index.ts";
import { compileCluster, type ProductSelection, parseSelection } from "../../src/harness/index.ts";
import { buildCluster, loadManifests, loadObjects } from "../../src/k8s/index.ts";
import { CtState, tcp, udp } from "../../src/packet/index.ts";
import { IpProtocol, TcpFlag } from "../../src/wire/index.ts";
import { TestNode } from "../filter/node.ts";
import { type Cache, isHere, probes, publishedCells, readCaptured } from "./npm-capture.ts";

/** The captured cluster under `azure-npm@version`. */
function compiled(engine: string): { readonly cache: Cache; readonly tables: IptablesTables } {
  const cache = JSON.parse(readCaptured("npmcachev2.json")) as Cache;
  const namespaces = Object.values(cache.NsMap).map(({ Name, LabelsMap }) => ({
    apiVersion: "v1",
    kind: "Namespace",
    metadata: { name: Name, labels: LabelsMap },
  }));
  const pods = Object.values(cache.PodMap).map(({ Name, Namespace, PodIP, Labels, ContainerPorts }) => ({
    apiVersion: "v1",
    kind: "Pod",
    metadata: { name: Name, namespace: Namespace, labels: Labels },
    spec: { nodeName: "n1", containers: [{ name: "main", ports: ContainerPorts }] },
    status: { podIP: PodIP },
  }));
  const objects = loadObjects("npmcachev2.json", [...namespaces, ...pods]);
  const policies = loadManifests([{ name: "netpol.yaml", text: readCaptured("netpol.yaml") }]);
  const selection = parseSelection(engine) as ProductSelection;
  const { state } = buildCluster({ ...objects, policies: policies.policies }, selection.aks);
  const tables = compileCluster(state, selection).get("n1")?.tables.iptables;
  if (tables === undefined) throw new Error("no iptables tables");
  return { cache, tables };
}

function chainTexts(ruleset: Ruleset, name: string): readonly string[] {
  return (ruleset.tables.filter?.chains.find((chain) => chain.name === name)?.rules ?? []).map((rule) =>
    ruleText(name, rule),
  );
}

describe.skipIf(!isHere)(
  "our compile of the captured cluster (skipped where the external truth is absent)",
  () => {
    it.each(["azure-npm@2022-04", "azure-npm@1.5.36", "azure-npm@2026-08", "azure-npm@2026-09"])(
      "as %s gives every one of the 324 published verdicts",
      (engine) => {
        const { cache, tables } = compiled(engine);
        const node = new TestNode(tables);
        const wrong = publishedCells(readCaptured("netpol.yaml")).filter(
          ({ from, to, probe, isAllowed }, i) => {
            const [src, dst] = [cache.PodMap[from]?.PodIP ?? "", cache.PodMap[to]?.PodIP ?? ""];
            const { protocol, port } = probes[probe] ?? probes[0];
            const ends = { src, dst, sport: 20_000 + i, dport: port };
            const packet = protocol === IpProtocol.tcp ? tcp({ ...ends, flags: TcpFlag.syn }) : udp(ends);
            return (
              (node.pass(packet, [Hook.forward], { ctState: CtState.new }).verdict === Verdict.accept) !==
              isAllowed
            );
          },
        );
        expect(wrong).toEqual([]);
      },
    );

    it("as 2022-04 makes the rules of policy y/base that the dump holds, and the static ones", () => {
      const dump = restoreRuleset(readCaptured("iptablesave-v2"), "iptablesave-v2");
      const { tables } = compiled("azure-npm@2022-04");
      for (const chain of [
        "AZURE-NPM",
        "AZURE-NPM-ACCEPT",
        "AZURE-NPM-INGRESS-ALLOW-MARK",
        "AZURE-NPM-INGRESS-2697641196",
        "AZURE-NPM-EGRESS-2697641196",
      ])
        expect(chainTexts(tables.v4, chain), chain).toEqual(chainTexts(dump, chain));
      for (const chain of ["AZURE-NPM-INGRESS", "AZURE-NPM-EGRESS"])
        for (const text of chainTexts(tables.v4, chain)) expect(chainTexts(dump, chain)).toContain(text);
      expect(chainTexts(tables.v4, "FORWARD")[0]).toBe(chainTexts(dump, "FORWARD")[0]);
    });

    it("as 2022-04 names its sets as the capture does", () => {
      const { cache, tables } = compiled("azure-npm@2022-04");
      const captured = Object.entries(cache.SetMap);
      for (const [name, title] of captured)
        if (!title.startsWith("namedport:metrics")) expect(tables.sets.get(name)?.title, name).toBe(title);
    });
  },
);
