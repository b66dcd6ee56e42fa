/**
 * The documented limit of Azure NPM, 250 nodes and 20,000 pods, read and built. The goals are 2 s from objects or JSON
 * and 10 s from YAML; machines are shared, so that the gates are ratios to what the runtime needs to parse the same
 * objects as JSON, several times what was measured.
 */
import { dump } from "js-yaml";
import { describe, expect, it } from "vitest";
import { buildCluster, loadManifests, loadObjects, locate } from "../../src/k8s/index.ts";
import type { RawObject } from "./load.ts";

function objects(pods: number): readonly RawObject[] {
  const names = (prefix: string, count: number): readonly string[] =>
    Array.from({ length: count }, (_, i) => `${prefix}${i}`);
  return [
    ...names("node-", 250).map((name) => ({ apiVersion: "v1", kind: "Node", metadata: { name } })),
    ...names("ns-", 250).map((name) => ({ apiVersion: "v1", kind: "Namespace", metadata: { name } })),
    ...names("pod-", pods).map((name, i) => ({
      apiVersion: "v1",
      kind: "Pod",
      metadata: {
        name,
        namespace: `ns-${i % 250}`,
        labels: { app: `app-${i % 300}`, tier: `tier-${i % 4}`, version: "v1" },
        annotations: { "example.com/note": "some text" },
      },
      spec: {
        containers: [
          {
            name: "main",
            image: "example.com/image:1",
            resources: { limits: { cpu: "1", memory: "1Gi" } },
            ports: [{ name: "http", containerPort: 8080 }, { containerPort: 9090 }],
          },
        ],
        tolerations: [{ key: "a", operator: "Exists" }],
      },
      status: { phase: "Running", conditions: [{ type: "Ready", status: "True" }] },
    })),
  ];
}

function milliseconds(run: () => void): number {
  const start = performance.now();
  run();
  return performance.now() - start;
}

describe("a cluster of 250 nodes and 20,000 pods", () => {
  const all = objects(20_000);
  const json = JSON.stringify({ apiVersion: "v1", kind: "List", items: all });
  const parse = Math.min(...[1, 2, 3].map(() => milliseconds(() => JSON.parse(json))));

  it("is built from objects in a few times what parsing them as JSON takes", () => {
    let pods = 0;
    const took = milliseconds(() => {
      pods = buildCluster(loadObjects("all", all)).state.pods.size;
    });
    expect(pods).toBe(20_000);
    expect(took / parse).toBeLessThan(30);
  });

  it("is read from JSON in a few times that, with progress", () => {
    const told: number[] = [];
    const took = milliseconds(() =>
      loadManifests([{ name: "all.json", text: json }], { onProgress: (done) => told.push(done) }),
    );
    expect(took / parse).toBeLessThan(30);
    expect(told.length).toBeGreaterThan(10);
    expect(told).toEqual([...told].sort((a, b) => a - b));
    expect(told.at(-1)).toBe(all.length);
  });
});

describe("a long list in YAML", () => {
  const few = objects(3000);
  const json = JSON.stringify(few);
  const text = dump({ apiVersion: "v1", kind: "List", items: few });
  const parse = Math.min(...[1, 2, 3].map(() => milliseconds(() => JSON.parse(json))));

  it("is read in some tens of times what the same in JSON takes", () => {
    const took = milliseconds(() => loadManifests([{ name: "list.yaml", text }]));
    expect(took / parse).toBeLessThan(150);
  });

  it("gives a place in it without being parsed again", () => {
    const input = { name: "list.yaml", text };
    const reading = milliseconds(() => loadManifests([{ ...input }]));
    const items = [few.length - 1];
    let line: number | undefined;
    const took = milliseconds(() => {
      line = locate(input, { file: input.name, documentIndex: 0, items }, "metadata.labels.app").line;
    });
    expect(text.split("\n")[(line ?? 0) - 1]?.trim()).toBe(`app: app-${2999 % 300}`);
    expect(took).toBeLessThan(reading);
  });
});
