import { describe, expect, it } from "vitest";
import {
  computeMatrix,
  connectionBetween,
  createJudge,
  parseSelection,
  probeConnection,
  resolveEnd,
  resolveSource,
} from "../../src/harness/index.ts";
import { buildCluster, type ClusterState, type ClusterWords, loadManifests } from "../../src/k8s/index.ts";
import { createOracle, defaultReadings, parseOracleReadings } from "../../src/oracle/index.ts";
import { parseEnd } from "../../src/scenario/index.ts";

/** Two backends of which the policy shuts the second; their client on the second node; one pod on the host's network. */
const manifest = `
apiVersion: v1
kind: Node
metadata: { name: n1 }
status: { addresses: [{ type: InternalIP, address: 10.224.0.4 }] }
---
apiVersion: v1
kind: Node
metadata: { name: n2 }
status: { addresses: [{ type: InternalIP, address: 10.224.1.4 }] }
---
apiVersion: v1
kind: Pod
metadata: { namespace: x, name: one, labels: { app: web, policed: "no" } }
spec: { nodeName: n1, containers: [{ name: c, ports: [{ containerPort: 8080 }] }] }
---
apiVersion: v1
kind: Pod
metadata: { namespace: x, name: two, labels: { app: web, policed: "yes" } }
spec: { nodeName: n1, containers: [{ name: c, ports: [{ containerPort: 8080 }] }] }
---
apiVersion: v1
kind: Pod
metadata: { namespace: x, name: client }
spec: { nodeName: n2, containers: [{ name: c }] }
---
apiVersion: v1
kind: Pod
metadata: { namespace: h, name: agent }
spec: { nodeName: n1, hostNetwork: true, containers: [{ name: c, ports: [{ containerPort: 9100 }] }] }
---
apiVersion: v1
kind: Service
metadata: { namespace: x, name: web }
spec:
  type: LoadBalancer
  clusterIP: 10.0.0.20
  selector: { app: web }
  ports: [{ port: 80, targetPort: 8080, nodePort: 30080 }]
---
apiVersion: v1
kind: Service
metadata: { namespace: x, name: names }
spec: { clusterIP: None, selector: { app: web }, ports: [{ port: 80, targetPort: 8080 }] }
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: { namespace: x, name: shut-two }
spec: { podSelector: { matchLabels: { policed: "yes" } }, policyTypes: [Ingress] }
`;

function cluster(words: ClusterWords = {}): ClusterState {
  return buildCluster(loadManifests([{ name: "test.yaml", text: manifest }]), words).state;
}

const state = cluster();

function probe(engine: string, from: string, to: string, port: number, of: ClusterState = state): string {
  const selection = parseSelection(engine);
  if (selection.kind !== "product") throw new Error(`${engine} is no product`);
  const words = {
    from: resolveSource(of, parseEnd(from)),
    to: resolveEnd(of, parseEnd(to)),
    protocol: "TCP" as const,
    port,
    family: 4 as const,
    timeoutNs: 1e9,
  };
  return probeConnection(of, selection, words, 1, "test").outcome;
}

function verdict(engine: string, from: string, to: string, port: number): string {
  const [source, target] = [resolveSource(state, parseEnd(from)), resolveEnd(state, parseEnd(to))];
  const cell = connectionBetween(source, target, { protocol: "TCP", port, family: 4 });
  return createJudge(state, parseSelection(engine), 1).judge({
    from: source,
    to: target,
    cell,
    isSelf: false,
  }).verdict;
}

describe("ends of a connection", () => {
  it.each([
    ["x/client", "svc:x/web", 80],
    ["x/client", "svc:x/names", 8080],
    ["x/client", "lb:x/web", 80],
    ["x/client", "ip:10.0.0.20", 80],
    ["x/client", "nodeport:n1:30080", 30_080],
    ["x/client", "nodeport:n2:30080", 30_080],
    ["x/client", "node:n1", 9100],
    ["x/one", "node:n1", 9100],
    ["x/one", "svc:x/web", 80],
    ["node:n1", "svc:x/web", 80],
    ["node:n2", "lb:x/web", 80],
    ["node:n1", "nodeport:n1:30080", 30_080],
    ["node:n1", "x/one", 8080],
    ["h/agent", "svc:x/web", 80],
    ["ip:203.0.113.7", "lb:x/web", 80],
    ["ip:203.0.113.7", "nodeport:n2:30080", 30_080],
  ])("reach each other with no policy engine: %s -> %s", (from, to, port) => {
    expect(probe("none", from, to, port)).toBe("connected");
  });

  it("do not reach a cluster address from outside, nor a port that the Service does not have", () => {
    expect(probe("none", "ip:203.0.113.7", "svc:x/web", 80)).toBe("timeout");
    expect(probe("none", "ip:203.0.113.7", "lb:x/web", 81)).toBe("timeout");
    expect(probe("none", "x/client", "svc:x/web", 81)).toBe("timeout");
  });

  it("reach node ports on the node's own loopback, but not on another's", () => {
    const localhost = { ...resolveEnd(state, parseEnd("ip:127.0.0.1")) };
    const selection = parseSelection("none");
    if (selection.kind !== "product") throw new Error("none is a product");
    const from = resolveSource(state, parseEnd("node:n1"));
    const words = {
      from,
      to: localhost,
      protocol: "TCP" as const,
      port: 30_080,
      family: 4 as const,
      timeoutNs: 1e9,
    };
    expect(probeConnection(state, selection, words, 1, "test").outcome).toBe("connected");
  });

  it("are Services that only answer: none opens a connection", () => {
    expect(() => resolveSource(state, parseEnd("svc:x/web"))).toThrow(/opens no connections/);
  });

  it("are told apart by what is missing", () => {
    expect(() => resolveEnd(state, parseEnd("svc:x/wab"))).toThrow(/no Service x\/wab/);
    expect(() => resolveEnd(state, parseEnd("lb:x/names"))).toThrow(/no load balancer/);
    expect(() => resolveEnd(state, parseEnd("nodeport:n9:30080"))).toThrow(/no node n9/);
  });

  it("work where pods have a range of their own and nodes are masqueraded", () => {
    const overlay = cluster({ networkPluginMode: "overlay" });
    for (const from of ["x/client", "node:n1", "node:n2", "ip:203.0.113.7"])
      expect(probe("none", from, from.startsWith("ip:") ? "lb:x/web" : "svc:x/web", 80, overlay)).toBe(
        "connected",
      );
  });
});

describe("truth tables of Services", () => {
  it("say some where the backends differ, whoever draws them", () => {
    for (const engine of ["oracle", "azure-npm"]) {
      expect(verdict(engine, "x/client", "svc:x/web", 80)).toBe("some");
      expect(verdict(engine, "x/client", "svc:x/names", 8080)).toBe("some");
      expect(verdict(engine, "node:n2", "svc:x/web", 80)).toBe("some");
      expect(verdict(engine, "node:n1", "svc:x/web", 80)).toBe("allow");
    }
    expect(verdict("none", "x/client", "svc:x/web", 80)).toBe("allow");
  });

  it("try every node that a load balancer may pick", () => {
    expect(verdict("azure-npm", "ip:203.0.113.7", "lb:x/web", 80)).toBe("some");
    expect(verdict("azure-npm", "ip:203.0.113.7", "nodeport:n1:30080", 30_080)).toBe("allow");
    expect(verdict("azure-npm", "ip:203.0.113.7", "nodeport:n2:30080", 30_080)).toBe("some");
    expect(verdict("oracle", "ip:203.0.113.7", "lb:x/web", 80)).toBe("undefined");
    expect(verdict("oracle+rewritten=before", "ip:203.0.113.7", "lb:x/web", 80)).toBe("some");
    expect(verdict("oracle+rewritten=after", "ip:203.0.113.7", "nodeport:n1:30080", 30_080)).toBe("allow");
  });

  it("hold a Service's own ports, from pods and nodes, and load balancers from outside too", async () => {
    const selection = parseSelection("none");
    const document = await computeMatrix([{ selection, state }], "test", { seed: 1 });
    const cells = document.results[0]?.cells ?? [];
    const asked = (to: string): readonly string[] =>
      cells.filter((cell) => cell.to === to).map(({ from, port }) => `${from} ${port}`);
    expect(asked("svc:x/web")).toEqual(["x/client 80", "x/one 80", "x/two 80", "node:n1 80", "node:n2 80"]);
    expect(asked("lb:x/web")).toContain("ip:other 80");
    expect(asked("svc:x/names")).toContain("x/client 8080");
    expect(document.endpoints.find(({ id }) => id === "svc:x/web")).toEqual({
      id: "svc:x/web",
      kind: "service",
      addresses: ["10.0.0.20"],
    });
  });
});

describe("the oracle on what a node rewrote", () => {
  it("takes the readings that it is told, and explains where a connection may end", () => {
    expect(parseOracleReadings({ rewritten: "after" }).rewritten).toBe("after");
    const [from, to] = [resolveSource(state, parseEnd("x/client")), resolveEnd(state, parseEnd("svc:x/web"))];
    const cell = connectionBetween(from, to, { protocol: "TCP", port: 80, family: 4 });
    const lines = createOracle(state, defaultReadings)
      .explain(cell)
      .map(({ text }) => text);
    expect(lines.join("\n")).toMatch(/ingress of x\/two: isolated by x\/shut-two/);
    const closed = connectionBetween(from, to, { protocol: "TCP", port: 81, family: 4 });
    expect(createOracle(state).explain(closed)[0]?.text).toMatch(/no port 81/);
  });
});
