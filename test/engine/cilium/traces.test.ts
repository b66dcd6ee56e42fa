/**
 * Traces of what AKS documents as different on Cilium (NPM to Cilium): each names the identities of both ends, both
 * lookups in the policy map, what matched, the reason of a drop, and the policies behind it with their lines.
 */
import { describe, expect, it } from "vitest";
import {
  createOriginPlacer,
  emulate,
  parseSelection,
  resolveEnd,
  resolveSource,
  type TraceDocument,
  traceConnection,
  vendorKinds,
} from "../../../src/harness/index.ts";
import { buildCluster, loadManifests } from "../../../src/k8s/index.ts";
import { parseEnd } from "../../../src/scenario/index.ts";
import { manifest, pod, policy } from "../../harness/cluster.ts";

const node = (name: string, ip: string): string => `apiVersion: v1
kind: Node
metadata: { name: ${name} }
status: { addresses: [{ type: InternalIP, address: ${ip} }] }
`;
const named = (id: string, number: number): string =>
  pod(id).replace(/ports: \[[^\]]*\]/, `ports: [{ name: http, containerPort: ${number} }]`);
const service = `apiVersion: v1
kind: Service
metadata: { namespace: x, name: web }
spec: { type: NodePort, selector: { app: web }, ports: [{ port: 80, nodePort: 30080 }] }
`;
const nodes = [node("n1", "10.224.0.4"), node("n2", "10.224.1.4")];
const everywhere = "[{ to: [{ ipBlock: { cidr: 0.0.0.0/0 } }] }]";

interface Row {
  readonly row: string;
  readonly engine?: string;
  readonly objects: readonly string[];
  /** `FROM TO PORT` */
  readonly asked: string;
  readonly by: "egress" | "ingress";
  /** Identity of the other end; a pattern where it is a pod's or a block's. */
  readonly remote: string;
  /** `undefined`: nothing denies, and the entry's match type is told. */
  readonly because?: string;
  readonly match: string;
}

const [podId, blockId] = ["\\d{3,5}", "(?:1[6-9]|2\\d|3[0-3])\\d{6}"];
const shut = policy("x/shut", "{ podSelector: {}, policyTypes: [Ingress, Egress] }");
const rows: readonly Row[] = [
  ...["cilium@1.14", "cilium@1.16"].map(
    (engine): Row => ({
      row: "endport-before-1.16",
      engine,
      objects: [
        pod("x/a"),
        pod("x/b"),
        policy(
          "x/p",
          "{ podSelector: { matchLabels: { app: b } }, ingress: [{ ports: [{ port: 80, endPort: 90 }] }] }",
        ),
      ],
      asked: "x/a x/b 85",
      by: "ingress",
      remote: podId,
      ...(engine === "cilium@1.14" ? { because: "x/p spec.ingress", match: "none" } : { match: "L4-Only" }),
    }),
  ),
  {
    row: "ipblock-pods",
    objects: [
      pod("x/a"),
      pod("x/b"),
      policy("x/p", `{ podSelector: {}, policyTypes: [Egress], egress: ${everywhere} }`),
    ],
    asked: "x/a x/b 80",
    by: "egress",
    remote: podId,
    because: "x/p spec.egress",
    match: "none",
  },
  {
    row: "ipblock-nodes",
    objects: [pod("x/a"), policy("x/p", `{ podSelector: {}, policyTypes: [Egress], egress: ${everywhere} }`)],
    asked: "x/a node:n2 80",
    by: "egress",
    remote: "6",
    because: "x/p spec.egress",
    match: "none",
  },
  ...[80, 8080].map(
    (other): Row => ({
      row: "named-port-duplicates",
      objects: [
        pod("x/a"),
        named("x/b", 80),
        named("y/c", other),
        policy(
          "x/p",
          "{ podSelector: { matchLabels: { app: a } }, policyTypes: [Egress], egress: [{ ports: [{ port: http }] }] }",
        ),
      ],
      asked: "x/a x/b 80",
      by: "egress",
      remote: podId,
      ...(other === 80 ? { match: "L4-Only" } : { because: "x/p spec.egress", match: "none" }),
    }),
  ),
  {
    row: "egress-own-node",
    objects: [pod("x/a"), shut],
    asked: "x/a node:n1 80",
    by: "egress",
    remote: "1",
    because: "x/shut spec",
    match: "none",
  },
  ...["n1", "n2"].flatMap((backend): readonly Row[] => [
    {
      row: `service-ingress-snat, backend on ${backend}`,
      objects: [pod("x/web", { node: backend }), service, shut],
      asked: "ip:203.0.113.7 nodeport:n1:30080 30080",
      by: "ingress",
      remote: backend === "n1" ? "2" : "6",
      because: "x/shut spec",
      match: "none",
    },
    {
      row: `service-ingress-snat, backend on ${backend}, the client's block allowed`,
      objects: [
        pod("x/web", { node: backend }),
        service,
        policy(
          "x/client",
          "{ podSelector: {}, ingress: [{ from: [{ ipBlock: { cidr: 203.0.113.0/24 } }] }] }",
        ),
      ],
      asked: "ip:203.0.113.7 nodeport:n1:30080 30080",
      by: "ingress",
      remote: backend === "n1" ? blockId : "6",
      ...(backend === "n1" ? { match: "L3-Only" } : { because: "x/client spec.ingress", match: "none" }),
    },
  ]),
];

function trace(engine: string, objects: readonly string[], asked: string): TraceDocument {
  const selection = parseSelection(engine);
  if (selection.kind !== "product") throw new Error("a product");
  const inputs = manifest(...nodes, ...objects);
  const { state } = buildCluster(loadManifests(inputs, { vendorKinds }), selection.aks);
  const [from = "", to = "", port] = asked.split(" ");
  return traceConnection(
    emulate(state, selection, { seed: 1 }),
    resolveSource(state, parseEnd(from)),
    resolveEnd(state, parseEnd(to)),
    { protocol: "TCP", port: Number(port), family: 4 },
    createOriginPlacer(inputs),
    { version: "0", seed: 1 },
  );
}

/** What stands in a trace of the packet's way: texts of records, and of lookups in policy maps with their direction. */
function toldBy(document: TraceDocument, direction: string) {
  const [request] = document.packets;
  const entries = request?.entries ?? [];
  return {
    verdict:
      entries
        .map(({ text }) => text)
        .filter((text) => text.startsWith("policy verdict:") && text.includes(direction))
        .at(-1) ?? "",
    drop: entries.map(({ text }) => text).find((text) => text.startsWith("drop:")),
    lookups: entries.filter(
      ({ chain, text }) => /^cilium_policy_.*id/.test(chain) && text.includes(direction),
    ),
  };
}

describe.each(rows)(
  "the trace of $row ($engine $asked)",
  ({ engine = "cilium", objects, asked, by, remote, because, match }) => {
    const document = trace(engine, objects, asked);
    const { verdict, drop, lookups } = toldBy(document, `direction=${by}`);

    it("says the verdict, its side and what matched", () => {
      expect(document).toMatchObject(because === undefined ? { verdict: "allow" } : { verdict: "deny", by });
      expect(verdict).toMatch(because === undefined ? /verdict=allowed/ : /verdict=Policy denied \(133\)/);
      expect(verdict).toContain(`match=${match}`);
    });

    it("names both identities", () => {
      expect(verdict).toMatch(new RegExp(`remoteIdentity=${remote}\\b`));
      if (because === undefined) return;
      const [peer, own] = by === "egress" ? ["destination", "source"] : ["source", "destination"];
      expect(drop).toMatch(/reason=Policy denied \(133\)/);
      expect(drop).toMatch(new RegExp(`${peer}Identity=${remote}\\b`));
      expect(drop).toMatch(new RegExp(`${own}Identity=${podId}\\b`));
    });

    it("shows both lookups: the peer's identity, and any", () => {
      expect(lookups.map(({ text }) => /identity=(\d+)/.exec(text)?.[1])).toEqual([
        expect.stringMatching(new RegExp(`^${remote}$`)),
        "0",
      ]);
      expect(lookups.filter(({ matched }) => matched)).toHaveLength(because === undefined ? 1 : 0);
    });

    it("names the policy behind a denial, and its line", () => {
      const [name = "", path = ""] = because?.split(" ") ?? [];
      const [reason, ...more] = document.deniedBecause ?? [];
      expect(more).toEqual([]);
      if (because === undefined) expect(reason).toBeUndefined();
      else
        expect(reason).toMatchObject({
          policy: expect.stringContaining(name),
          path,
          role: "default-deny",
          direction: by,
        });
      expect(reason?.line === undefined).toBe(because === undefined);
    });
  },
);

describe("a trace", () => {
  it("names every policy that isolates, and none where a rule of one denies", () => {
    const twice = [
      pod("x/a"),
      pod("x/b"),
      shut,
      policy("x/other", "{ podSelector: {}, ingress: [{ ports: [{ port: 81 }] }] }"),
    ];
    const open = policy("x/open", "{ podSelector: {}, policyTypes: [Egress], egress: [{}] }");
    const { deniedBecause = [] } = trace("cilium", [...twice, open], "x/a x/b 80");
    expect(deniedBecause.map(({ policy: name, path }) => `${name} ${path}`)).toEqual([
      expect.stringMatching(/^x\/other.* spec\.ingress$/),
      expect.stringMatching(/^x\/shut.* spec$/),
    ]);
    const deny = `apiVersion: cilium.io/v2
kind: CiliumNetworkPolicy
metadata: { namespace: x, name: nay }
spec: { endpointSelector: {}, ingressDeny: [{ fromEndpoints: [{ matchLabels: { app: a } }] }] }
`;
    const denied = trace("cilium", [...twice, open, deny], "x/a x/b 80").deniedBecause ?? [];
    expect(denied).toMatchObject([{ policy: expect.stringContaining("x/nay"), role: "deny" }]);
  });
});
