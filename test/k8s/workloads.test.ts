/** Workloads as the pods that Kubernetes' controllers would make of them. */
import { describe, expect, it } from "vitest";
import { apply, build, pod, podAddresses } from "./cluster.ts";
import type { RawObject } from "./load.ts";

describe("workloads", () => {
  const template = (nodeSelector?: RawObject): RawObject => ({
    metadata: { labels: { app: "w" } },
    spec: {
      ...(nodeSelector ? { nodeSelector } : {}),
      containers: [{ name: "c", ports: [{ name: "http", containerPort: 8080 }] }],
    },
  });
  const workload = (kind: string, spec: RawObject, name = "w"): RawObject => ({
    apiVersion: kind === "Job" || kind === "CronJob" ? "batch/v1" : "apps/v1",
    kind,
    metadata: { namespace: "x", name },
    spec: { template: template(), ...spec },
  });
  const word = "[bcdfghjklmnpqrstvwxz2-9]";
  it.each([
    { kind: "Deployment", spec: { replicas: 2 }, names: `^w-${word}{10}-${word}{5}$`, count: 2 },
    { kind: "Deployment", spec: {}, names: `^w-${word}{10}-${word}{5}$`, count: 1 },
    { kind: "Deployment", spec: { replicas: 0 }, names: "", count: 0 },
    { kind: "ReplicaSet", spec: { replicas: 3 }, names: `^w-${word}{5}$`, count: 3 },
    { kind: "StatefulSet", spec: { replicas: 2 }, names: "^w-[01]$", count: 2 },
    { kind: "StatefulSet", spec: { replicas: 2, ordinals: { start: 5 } }, names: "^w-[56]$", count: 2 },
    { kind: "DaemonSet", spec: {}, names: `^w-${word}{5}$`, count: 3 },
    { kind: "Job", spec: { parallelism: 2 }, names: `^w-${word}{5}$`, count: 2 },
    { kind: "Job", spec: { parallelism: 4, completions: 3 }, names: `^w-${word}{5}$`, count: 3 },
    { kind: "Job", spec: { suspend: true }, names: "", count: 0 },
    {
      kind: "Job",
      spec: { parallelism: 2, completions: 2, completionMode: "Indexed" },
      names: `^w-[01]-${word}{5}$`,
      count: 2,
    },
    {
      kind: "CronJob",
      spec: { jobTemplate: { spec: { template: template(), parallelism: 2 } } },
      names: `^w-28[0-9]{6}-${word}{5}$`,
      count: 2,
    },
    {
      kind: "CronJob",
      spec: { suspend: true, jobTemplate: { spec: { template: template() } } },
      names: "",
      count: 0,
    },
  ])("$kind $spec makes $count pods", ({ kind, spec, names, count }) => {
    const object = workload(kind, spec);
    const { state } = build([object]);
    const pods = [...state.pods.values()];
    expect(pods).toHaveLength(count);
    for (const one of pods) {
      expect(one.name).toMatch(new RegExp(names));
      expect(one).toMatchObject({
        labels: { app: "w" },
        owner: { kind, name: "w" },
        ports: [{ name: "http" }],
      });
    }
    expect([...build([object]).state.pods.keys()]).toEqual([...state.pods.keys()]);
  });

  it("label their pods as the controllers do", () => {
    const labelsOf = (kind: string, spec: RawObject): RawObject =>
      [...build([workload(kind, spec)]).state.pods.values()][0]?.labels ?? {};
    expect(labelsOf("StatefulSet", {})).toEqual({
      app: "w",
      "statefulset.kubernetes.io/pod-name": "w-0",
      "apps.kubernetes.io/pod-index": "0",
    });
    expect(labelsOf("Job", {})).toEqual({ app: "w", "job-name": "w", "batch.kubernetes.io/job-name": "w" });
    expect(Object.keys(labelsOf("Deployment", {}))).toEqual(["app", "pod-template-hash"]);
  });

  it("name every pod, however many, and cut long names as Kubernetes does", () => {
    expect(
      build([workload("ReplicaSet", { replicas: 8000 })], { nodePools: [{ count: 40 }] }).state.pods.size,
    ).toBe(8000);
    const [name] = build([workload("Deployment", {}, "a".repeat(60))]).state.pods.keys();
    expect(name).toMatch(new RegExp(`^x/a{58}${word}{5}$`));
  });

  it("DaemonSets follow nodeSelectors", () => {
    const nodePools = [
      { name: "sys", count: 2 },
      { name: "win", osType: "Windows" as const },
    ];
    const linux = workload("DaemonSet", { template: template({ "kubernetes.io/os": "linux" }) });
    const { state } = build([linux], { nodePools });
    expect([...state.pods.values()].map(({ nodeName }) => nodeName)).toEqual([
      "aks-sys-37463671-vmss000000",
      "aks-sys-37463671-vmss000001",
    ]);
  });

  it("are not expanded where the input, a dump, holds their pods", () => {
    const controlled = (kind: string, name: string): RawObject => ({
      ownerReferences: [{ kind, name, controller: true }],
    });
    const dump: readonly RawObject[] = [
      workload("Deployment", { replicas: 3 }),
      {
        ...workload("ReplicaSet", { replicas: 3 }, "w-1"),
        metadata: { namespace: "x", name: "w-1", ...controlled("Deployment", "w") },
      },
      {
        ...pod("x/w-1-abc"),
        metadata: { namespace: "x", name: "w-1-abc", ...controlled("ReplicaSet", "w-1") },
      },
    ];
    expect([...build(dump).state.pods.keys()]).toEqual(["x/w-1-abc"]);
    expect(build(dump.slice(0, 2)).state.pods.size).toBe(3);
  });

  it("that shrink lose pods, that grow keep theirs", () => {
    const before = build([workload("Deployment", { replicas: 3 })]).state;
    const after = apply(before, workload("Deployment", { replicas: 2 })).state;
    expect(podAddresses(after)).toEqual(podAddresses(before).slice(0, 2));
    expect(podAddresses(apply(after, workload("Deployment", { replicas: 4 })).state).slice(0, 2)).toEqual(
      podAddresses(after),
    );
  });
});
