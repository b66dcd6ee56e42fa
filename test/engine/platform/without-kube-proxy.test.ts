/** Nodes whose dataplane is Cilium: Cilium stands in for kube-proxy, so that no rule is made of a Service. */
import { describe, expect, it } from "vitest";
import { platformTables, platformUpdate } from "../../../src/engine/platform/index.ts";
import { saveRuleset } from "../../../src/filter/iptables/index.ts";
import {
  applyObjects,
  type ClusterWords,
  loadObjects,
  podInterfaceName,
  podInterfacePattern,
} from "../../../src/k8s/index.ts";
import { chainText, cluster, rulesetOf, service, slice, twoNodes } from "./cluster.ts";

const onCilium: ClusterWords = {
  networkPlugin: "azure",
  networkDataplane: "cilium",
  networkPolicy: "cilium",
  networkPluginMode: "overlay",
};
const objects = [
  ...twoNodes,
  service("s", { type: "LoadBalancer", externalTrafficPolicy: "Local", ports: [{ port: 80 }] }),
  slice("s", 8080, [{ ip: "10.244.0.9", on: "n1" }]),
];

describe("a node with networkDataplane cilium", () => {
  const state = cluster(objects, onCilium);

  it.each([4, 6] as const)("has nothing of kube-proxy's for family %i", (family) => {
    const text = saveRuleset(rulesetOf(state, "n1", family));
    expect(text).not.toMatch(/KUBE-(SERVICES|NODEPORTS|FORWARD|POSTROUTING|MARK-MASQ|SVC|SEP|PROXY)/);
    expect(text).toContain("KUBE-FIREWALL");
  });

  it("keeps kubelet's, ip-masq-agent's and the wireserver's rules", () => {
    const ruleset = rulesetOf(state);
    expect(chainText(ruleset, "filter", "FORWARD")).toEqual([
      "-d 168.63.129.16/32 -p tcp -m tcp --dport 80 -j DROP",
    ]);
    expect(chainText(ruleset, "filter", "INPUT")).toEqual(["-j KUBE-FIREWALL"]);
    expect(chainText(ruleset, "nat", "POSTROUTING")?.map((text) => text.split(" -j ")[1])).toEqual([
      "IP-MASQ-AGENT",
    ]);
    expect(
      chainText(ruleset, "nat", "IP-MASQ-AGENT")
        ?.slice(0, -1)
        .map((text) => text.split(" ")[1]),
    ).toEqual(["10.224.0.0/16", "10.244.0.0/16", "10.0.0.0/16"]);
  });

  it("has the same tables as every other, whatever Services there are", () => {
    const [one, two] = [...state.nodes.values()].map((node) => platformTables(state, node));
    expect(two).toBe(one);
    const after = applyObjects(state, loadObjects("more", [service("t", { ports: [{ port: 81 }] })])).state;
    const [before] = [...state.nodes.values()];
    if (before === undefined || one === undefined) throw new Error("there are two nodes");
    expect(platformUpdate(one, platformTables(after, before))).toEqual([]);
  });

  it("hangs its pods on interfaces named lxc and twelve digits", () => {
    const { pods } = cluster(
      [
        ...twoNodes,
        {
          apiVersion: "v1",
          kind: "Pod",
          metadata: { namespace: "x", name: "a" },
          spec: { nodeName: "n1", containers: [{ name: "c" }] },
        },
      ],
      onCilium,
    );
    expect([...pods.values()].map((pod) => podInterfaceName(state, pod))).toEqual([
      expect.stringMatching(/^lxc[0-9a-f]{12}$/),
    ]);
    expect(podInterfacePattern(state)).toBe("lxc+");
  });
});
