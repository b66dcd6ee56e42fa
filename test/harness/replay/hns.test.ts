/** Replay into a dump of HNS: as the engine that wrote it judges, at one endpoint's hook, and what is no dump or no endpoint. */
import { describe, expect, it } from "vitest";
import { parseIp } from "../../../src/addr/index.ts";
import { createCaptureReader } from "../../../src/capture/index.ts";
import type { HnsTables } from "../../../src/filter/hns/index.ts";
import { restoreHns, saveHns } from "../../../src/filter/hns/index.ts";
import {
  captureOf,
  compileCluster,
  createOriginPlacer,
  DumpTarget,
  emulate,
  NetworkTarget,
  type ProductSelection,
  parseSelection,
  Replayer,
  type ReplayPacketDocument,
  type ReplayTarget,
} from "../../../src/harness/index.ts";
import { runScenario, scenarioCluster } from "../../../src/harness/run.ts";
import { loadScenario } from "../../../src/scenario/index.ts";
import type { TapEvent } from "../../../src/sim/index.ts";

const text = `
cluster: { networkPluginMode: overlay, ipFamilies: [ipv4, ipv6], force: true }
fixture:
  nodes: [{ name: n1, os: windows, ip: 10.224.0.4 }]
  pods:
    - { name: demo/server, labels: { app: server }, ip: 10.244.0.72, ip6: "fd12:3456:789a::72" }
    - { name: demo/client, labels: { app: client }, ip: 10.244.0.73, ip6: "fd12:3456:789a::73" }
    - { name: demo/other, ip: 10.244.0.74 }
  ports: [80/TCP, 53/UDP]
manifests: |
  apiVersion: networking.k8s.io/v1
  kind: NetworkPolicy
  metadata: { namespace: demo, name: p }
  spec:
    podSelector: { matchLabels: { app: server } }
    policyTypes: [Ingress, Egress]
    ingress: [{ from: [{ podSelector: { matchLabels: { app: client } } }], ports: [{ port: 80 }] }]
    egress: [{ to: [{ ipBlock: { cidr: 10.244.0.73/32 } }] }]
engines: [azure-npm]
steps:
  - advance: 1s
  - expectMatrix: { ports: [80/TCP, 53/UDP], default: { default: allow } }
  - expectMatrix: { ports: [80/TCP], family: 6 }
  - probe: { from: "ip:203.0.113.7", to: demo/server, port: 80, expect: timeout }
  - probe: { from: "node:n1", to: demo/server, port: 80, expect: connected }
  - probe: { from: demo/server, to: demo/other, port: 80, expect: timeout }
  - probe: { from: demo/server, to: demo/client, port: 80, expect: connected }
`;

interface Setting {
  readonly capture: readonly Uint8Array[];
  readonly engine: ReplayTarget;
  readonly tables: HnsTables;
}

function setting(): Setting {
  const selected = parseSelection("azure-npm") as ProductSelection;
  const scenario = loadScenario({ name: "demo", text });
  const events: TapEvent[] = [];
  runScenario(scenario, selected, { seed: 1, network: { tap: (event) => events.push(event) } });
  const { state, selection } = scenarioCluster(scenario, selected);
  const { hns } = compileCluster(state, selection).get("n1")?.tables ?? {};
  if (hns === undefined) throw new Error("a Windows node has HNS");
  const { network } = emulate(state, selection, { seed: 1 });
  const written = saveHns(hns);
  return {
    capture: [...captureOf(events)],
    engine: new NetworkTarget(network, () => state),
    tables: restoreHns([{ name: "hns.json", text: written }]),
  };
}

function replayed(capture: readonly Uint8Array[], target: ReplayTarget): readonly ReplayPacketDocument[] {
  const replayer = new Replayer(target, createOriginPlacer([]));
  const documents: ReplayPacketDocument[] = [];
  const reader = createCaptureReader("c.pcapng", {
    packet: (packet) => documents.push(replayer.replay(packet)),
  });
  for (const piece of capture) reader.push(piece);
  reader.end();
  return documents;
}

function dumpTarget(tables: HnsTables, hook?: string, at?: string, out?: string): DumpTarget {
  const place = { node: "n1", inInterface: at, outInterface: out, hook, families: [4, 6] as const };
  const address = parseIp("10.224.0.4");
  const addresses = address === undefined ? [] : [address];
  return new DumpTarget({ hns: tables }, place, { addresses, interfaces: [], routes: [] }, 1);
}

describe("a capture judged by a dump of HNS", () => {
  const { capture, engine, tables } = setting();
  const shown = (documents: readonly ReplayPacketDocument[]): readonly unknown[] =>
    documents.map(({ line, verdict, disposition, rule }) => [line, verdict, disposition, rule?.text]);

  it("has the verdicts, dispositions and rules of the engine that wrote the dump, in both families", () => {
    const [byEngine, byDump] = [engine, dumpTarget(tables)].map((target) => replayed(capture, target));
    expect(shown(byDump ?? [])).toEqual(shown(byEngine ?? []));
    const verdicts = new Set(byDump?.map(({ verdict }) => verdict));
    expect([...verdicts].sort()).toEqual(["accept", "drop"]);
    expect(byDump?.some(({ line }) => line.startsWith("IP6 "))).toBe(true);
    const denials = new Set(byDump?.map(({ disposition }) => disposition));
    expect(denials).toContain("denied-ingress");
    expect(denials).toContain("denied-egress");
  });

  it("is judged at In or Out of the endpoint that has the address", () => {
    const from = (hook: string): readonly ReplayPacketDocument[] =>
      replayed(capture, dumpTarget(tables, hook)).filter(({ verdict }) => verdict !== "accept");
    for (const { disposition, rule } of from("In")) {
      expect(disposition).toBe("denied-ingress");
      expect(rule?.chain).toBe("endpoint demo/server In");
    }
    for (const { disposition, rule } of from("out")) {
      expect(disposition).toBe("denied-egress");
      expect(rule?.chain).toBe("endpoint demo/server Out");
    }
    expect(from("In").length).toBeGreaterThan(0);
    expect(from("Out").length).toBeGreaterThan(0);
  });

  it("is judged at an endpoint called by its name, its id or an address, whatever the packets' own", () => {
    const id = tables.endpoints.find(({ name }) => name === "demo/other")?.id;
    for (const word of ["demo/other", id, "10.244.0.74"]) {
      const documents = replayed(capture, dumpTarget(tables, "In", word));
      expect(documents.every(({ verdict }) => verdict === "accept")).toBe(true);
    }
    const documents = replayed(capture, dumpTarget(tables, "In", "demo/server"));
    expect(documents.some(({ verdict }) => verdict === "drop")).toBe(true);
  });

  it("knows nothing of packets between strangers, and of endpoints and hooks that are not there", () => {
    const strangers = { ...tables, endpoints: tables.endpoints.filter(({ name }) => name === "demo/other") };
    const documents = replayed(capture, dumpTarget(strangers));
    expect(documents.some(({ disposition }) => disposition === "unknown-address")).toBe(true);
    expect(() => dumpTarget(tables, "In", "nobody")).toThrow(/no endpoint nobody; it has .*demo\/server/);
    expect(() => dumpTarget(tables, "FORWARD")).toThrow("--hook takes In or Out with --hns, not FORWARD");
  });
});
