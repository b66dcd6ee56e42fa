/** What the API server says of Pods, Namespaces, Nodes, Services and workloads, as far as networking goes. */
import { describe, expect, it } from "vitest";
import { loadObjects } from "../../src/k8s/index.ts";
import { faults, type RawObject } from "./load.ts";

const pod = (container: RawObject, more: RawObject = {}): RawObject => ({
  apiVersion: "v1",
  kind: "Pod",
  metadata: { name: "p", namespace: "x" },
  spec: { containers: [{ name: "c", ...container }], ...more },
});
const service = (spec: RawObject, name = "s"): RawObject => ({
  apiVersion: "v1",
  kind: "Service",
  metadata: { name, namespace: "x" },
  spec,
});
const atPort = "spec.containers[0].ports[0]";

describe("container ports", () => {
  it.each([
    { ports: [{}], said: [["required", `${atPort}.containerPort`, "Required value"]] },
    { ports: [{ containerPort: 0 }], said: [["required", `${atPort}.containerPort`, "Required value"]] },
    {
      ports: [{ containerPort: 65_536 }],
      said: [
        [
          "invalid",
          `${atPort}.containerPort`,
          "Invalid value: 65536: must be between 1 and 65535, inclusive",
        ],
      ],
    },
    {
      ports: [{ containerPort: 80, protocol: "ICMP" }],
      said: [
        [
          "not-supported",
          `${atPort}.protocol`,
          'Unsupported value: "ICMP": supported values: "SCTP", "TCP", "UDP"',
        ],
      ],
    },
    {
      ports: [
        { name: "a", containerPort: 80 },
        { name: "a", containerPort: 81 },
      ],
      said: [["duplicate", "spec.containers[0].ports[1].name", 'Duplicate value: "a"']],
    },
    {
      ports: [{ name: "80", containerPort: 80 }],
      said: [["invalid", `${atPort}.name`, 'Invalid value: "80": must contain at least one letter (a-z)']],
    },
  ])("$ports are refused", ({ ports, said }) => {
    expect(faults(pod({ ports }))).toEqual(said);
  });

  it("may be empty text or null where they may be absent", () => {
    const ports = [
      { name: "", containerPort: 80, protocol: "" },
      { containerPort: 80, protocol: null },
    ];
    const [loaded] = loadObjects("test", [pod({ ports })]).pods;
    expect(loaded?.ports).toEqual(
      [undefined, undefined].map((name) => ({
        name,
        containerPort: 80,
        protocol: "TCP",
        ofSidecar: false,
      })),
    );
  });

  it("of two containers may have one name", () => {
    const containers = ["a", "b"].map((name, i) => ({
      name,
      ports: [{ name: "web", containerPort: 80 + i }],
    }));
    const [loaded] = loadObjects("test", [pod({}, { containers })]).pods;
    expect(loaded?.ports.map(({ name, containerPort }) => `${name}=${containerPort}`)).toEqual([
      "web=80",
      "web=81",
    ]);
  });

  it("of init containers count for sidecars alone, and stand first", () => {
    const initContainers = [
      { name: "once", ports: [{ name: "once", containerPort: 1 }] },
      { name: "side", restartPolicy: "Always", ports: [{ name: "side", containerPort: 2 }] },
    ];
    const [loaded] = loadObjects("test", [pod({ ports: [{ containerPort: 3 }] }, { initContainers })]).pods;
    expect(loaded?.ports.map(({ containerPort, ofSidecar }) => [containerPort, ofSidecar])).toEqual([
      [2, true],
      [3, false],
    ]);
    expect(
      faults(pod({}, { initContainers: [{ name: "once", ports: [{ containerPort: 70_000 }] }] })),
    ).toHaveLength(1);
  });
});

describe("a pod", () => {
  it.each([
    { phase: "Unknown", means: "Running" },
    { phase: "Failed", means: "Failed" },
    { phase: undefined, means: "Running" },
  ])("in phase $phase is $means", ({ phase, means }) => {
    const [loaded] = loadObjects("test", [{ ...pod({}), status: { phase } }]).pods;
    expect(loaded?.phase).toBe(means);
  });

  it("keeps the addresses, node and host that its status has", () => {
    const object = {
      ...pod({}, { nodeName: "n", hostNetwork: true }),
      status: { podIP: "10.0.0.9", podIPs: [{ ip: "10.0.0.9" }, { ip: "fd00::9" }], hostIP: "10.0.0.1" },
    };
    const [loaded] = loadObjects("test", [object]).pods;
    expect(loaded).toMatchObject({
      nodeName: "n",
      hostNetwork: true,
      ips: [{ family: 4 }, { family: 6 }],
      hostIPs: [{ family: 4, words: [0x0a000001] }],
    });
  });

  it("is refused with an address that is none", () => {
    expect(faults({ ...pod({}), status: { podIP: "10.0.0.256" } })).toEqual([
      [
        "invalid",
        "status.podIP",
        'Invalid value: "10.0.0.256": must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)',
      ],
    ]);
  });

  it("is refused with a number or a boolean for a label", () => {
    const labels = { a: 1, b: true, c: null };
    expect(faults({ ...pod({}), metadata: { name: "p", labels } })).toEqual([
      ["invalid", "metadata.labels[a]", "Invalid value: 1: must be a string (quote it)"],
      ["invalid", "metadata.labels[b]", "Invalid value: true: must be a string (quote it)"],
    ]);
  });
});

describe("cluster-wide kinds", () => {
  it.each(["Namespace", "Node"])("%s are refused with a namespace", (kind) => {
    expect(faults({ apiVersion: "v1", kind, metadata: { name: "n", namespace: "x" } })).toEqual([
      ["forbidden", "metadata.namespace", "Forbidden: not allowed on this type"],
    ]);
  });

  it("Namespaces are RFC 1123 labels, Nodes subdomains", () => {
    const named = (kind: string): RawObject => ({ apiVersion: "v1", kind, metadata: { name: "a.b" } });
    expect(faults(named("Namespace"))).toEqual([
      ["invalid", "metadata.name", 'Invalid value: "a.b": must not contain dots'],
    ]);
    expect(faults(named("Node"))).toEqual([]);
  });
});

describe("a Service", () => {
  it.each([
    { spec: {}, said: [["required", "spec.ports", "Required value"]] },
    {
      spec: { type: "Nodeport", ports: [{ port: 80 }] },
      said: [
        [
          "not-supported",
          "spec.type",
          'Unsupported value: "Nodeport": supported values: "ClusterIP", "ExternalName", "LoadBalancer", "NodePort"',
        ],
      ],
    },
    {
      spec: { ports: [{}] },
      said: [["invalid", "spec.ports[0].port", "Invalid value: 0: must be between 1 and 65535, inclusive"]],
    },
    {
      spec: { ports: [{ port: 80 }, { name: "b", port: 80 }] },
      said: [
        ["required", "spec.ports[0].name", "Required value"],
        ["duplicate", "spec.ports[1]", 'Duplicate value: {"protocol":"TCP","port":80}'],
      ],
    },
    {
      spec: {
        ports: [
          { name: "a", port: 80 },
          { name: "a", port: 81 },
        ],
      },
      said: [["duplicate", "spec.ports[1].name", 'Duplicate value: "a"']],
    },
    {
      spec: { ports: [{ port: 80, targetPort: 70_000 }] },
      said: [
        [
          "invalid",
          "spec.ports[0].targetPort",
          "Invalid value: 70000: must be between 1 and 65535, inclusive",
        ],
      ],
    },
    {
      spec: { ports: [{ port: 80, nodePort: 30_000 }] },
      said: [
        ["forbidden", "spec.ports[0].nodePort", "Forbidden: may not be used when `type` is 'ClusterIP'"],
      ],
    },
    {
      spec: { ports: [{ port: 80 }], loadBalancerSourceRanges: ["10.0.0.0/8"] },
      said: [
        [
          "forbidden",
          "spec.LoadBalancerSourceRanges",
          "Forbidden: may only be used when `type` is 'LoadBalancer'",
        ],
      ],
    },
    {
      spec: { type: "LoadBalancer", ports: [{ port: 80 }], loadBalancerSourceRanges: ["10.0.0.0"] },
      said: [
        [
          "invalid",
          "spec.LoadBalancerSourceRanges[0]",
          'Invalid value: "10.0.0.0": must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)',
        ],
      ],
    },
  ])("with $spec is refused", ({ spec, said }) => {
    expect(faults(service(spec))).toEqual(said);
  });

  it.each([
    { clusterIP: "None" },
    { type: "ExternalName", externalName: "example.com" },
    { ports: [{ port: 80, targetPort: "http", protocol: "" }] },
    {
      ports: [
        { name: "t", port: 53 },
        { name: "u", port: 53, protocol: "UDP" },
      ],
    },
    {
      type: "LoadBalancer",
      ports: [{ port: 80, nodePort: 30_000 }],
      loadBalancerSourceRanges: [" 10.0.0.0/8 "],
    },
  ])("with %o is accepted", (spec) => {
    expect(faults(service(spec))).toEqual([]);
  });

  it("has an RFC 1035 name", () => {
    expect(faults(service({ clusterIP: "None" }, "1a")).map(([, path]) => path)).toEqual(["metadata.name"]);
  });
});

describe("a workload", () => {
  const deployment = (spec: RawObject): RawObject => ({
    apiVersion: "apps/v1",
    kind: "Deployment",
    metadata: { name: "d", namespace: "x" },
    spec,
  });

  it("is refused without a template, with a negative count, with faults in its template", () => {
    expect(faults(deployment({ replicas: -1 }))).toEqual([
      ["invalid", "spec.replicas", "Invalid value: -1: must be greater than or equal to 0"],
      ["required", "spec.template", "Required value"],
    ]);
    const template = {
      metadata: { labels: { app: "a b" } },
      spec: { containers: [{ ports: [{ containerPort: 0 }] }] },
    };
    expect(faults(deployment({ template })).map(([, path]) => path)).toEqual([
      "spec.template.spec.containers[0].ports[0].containerPort",
      "spec.template.metadata.labels",
    ]);
  });
});
