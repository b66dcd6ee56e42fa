import { describe, expect, it } from "vitest";
import { formatIp } from "../../src/addr/index.ts";
import {
  applyObjects,
  buildCluster,
  type ClusterState,
  type ClusterWords,
  loadObjects,
  type Service,
} from "../../src/k8s/index.ts";

type RawObject = Readonly<Record<string, unknown>>;

function cluster(objects: readonly RawObject[], words: ClusterWords = {}): ClusterState {
  return buildCluster(loadObjects("test", objects), words).state;
}

function service(name: string, spec: RawObject, rest: RawObject = {}): RawObject {
  return {
    apiVersion: "v1",
    kind: "Service",
    metadata: { namespace: "x", name, ...(rest["metadata"] as RawObject | undefined) },
    spec: { ports: [{ port: 80 }], ...spec },
    ...(rest["status"] === undefined ? {} : { status: rest["status"] }),
  };
}

function pod(
  name: string,
  rest: { readonly metadata?: RawObject; readonly status?: RawObject } = {},
): RawObject {
  return {
    apiVersion: "v1",
    kind: "Pod",
    metadata: { namespace: "x", name, labels: { app: "web" }, ...rest.metadata },
    spec: { containers: [{ name: "c", ports: [{ name: "http", containerPort: 8080 }] }] },
    ...(rest.status === undefined ? {} : { status: rest.status }),
  };
}

function get(state: ClusterState, name: string): Service {
  return state.services.get(`x/${name}`) as Service;
}

function endpointsOf(state: ClusterState, name: string): readonly string[] {
  return [...state.endpointSlices.values()]
    .filter((slice) => slice.serviceName === name)
    .flatMap(({ endpoints, ports }) =>
      endpoints.map(
        (one) =>
          `${one.ips.map(formatIp).join()}:${ports.map(({ port }) => port).join()}` +
          `${one.ready ? " ready" : ""}${one.serving ? " serving" : ""}${one.terminating ? " terminating" : ""}`,
      ),
    );
}

describe("a Service that leaves its ports and addresses open", () => {
  it("gets the lowest free node ports, whatever the protocol, around those that others ask for", () => {
    const state = cluster([
      service("a", {
        type: "NodePort",
        ports: [
          { name: "t", port: 80 },
          { name: "s", port: 81 },
        ],
      }),
      service("b", {
        type: "NodePort",
        ports: [
          { name: "u", port: 53, protocol: "UDP" },
          { name: "t", port: 53, protocol: "TCP" },
        ],
      }),
      service("c", { type: "NodePort", ports: [{ port: 80, nodePort: 30_000 }] }),
    ]);
    expect(get(state, "a").ports.map(({ nodePort }) => nodePort)).toEqual([30_001, 30_002]);
    // one number in several protocols: one node port
    expect(get(state, "b").ports.map(({ nodePort }) => nodePort)).toEqual([30_003, 30_003]);
  });

  it("keeps them over later edits", () => {
    const ports = [{ name: "t", port: 80 }];
    const before = cluster([service("a", { type: "LoadBalancer", externalTrafficPolicy: "Local", ports })]);
    const after = applyObjects(
      before,
      loadObjects("test", [
        service("a", {
          type: "LoadBalancer",
          externalTrafficPolicy: "Local",
          ports: [...ports, { name: "m", port: 81 }],
        }),
      ]),
    ).state;
    const [old, now] = [get(before, "a"), get(after, "a")];
    expect(now.ports[0]?.nodePort).toBe(old.ports[0]?.nodePort);
    expect(now.ports[1]?.nodePort).not.toBe(now.ports[0]?.nodePort);
    expect(now.healthCheckNodePort).toBe(old.healthCheckNodePort);
    expect(now.loadBalancerIPs).toEqual(old.loadBalancerIPs);
    expect(now.clusterIPs).toEqual(old.clusterIPs);
  });

  it("gets a health check port only as a load balancer with external policy Local", () => {
    const state = cluster([
      service("local", { type: "LoadBalancer", externalTrafficPolicy: "Local" }),
      service("cluster", { type: "LoadBalancer" }),
      service("port", { type: "NodePort", externalTrafficPolicy: "Local" }),
    ]);
    expect(get(state, "local").healthCheckNodePort).toBeGreaterThanOrEqual(30_000);
    expect(get(state, "cluster").healthCheckNodePort).toBeUndefined();
    expect(get(state, "port").healthCheckNodePort).toBeUndefined();
  });

  it("gets a frontend of the node subnet for an internal load balancer, another address for a public one", () => {
    const annotations = { "service.beta.kubernetes.io/azure-load-balancer-internal": "true" };
    const state = cluster([
      service("inside", { type: "LoadBalancer" }, { metadata: { annotations } }),
      service("outside", { type: "LoadBalancer" }),
      service("asked", { type: "LoadBalancer", loadBalancerIP: "203.0.113.9" }),
      service(
        "given",
        { type: "LoadBalancer" },
        { status: { loadBalancer: { ingress: [{ ip: "203.0.113.10" }] } } },
      ),
    ]);
    const ip = (name: string): string => get(state, name).loadBalancerIPs.map(formatIp).join();
    expect(ip("inside")).toBe("10.224.255.0");
    expect(ip("outside")).toBe("198.18.0.1");
    expect(ip("asked")).toBe("203.0.113.9");
    expect(ip("given")).toBe("203.0.113.10");
  });

  it("gets no node ports from a load balancer that asks for none, and keeps no frontend of mode Proxy", () => {
    const state = cluster([
      service(
        "a",
        { type: "LoadBalancer", allocateLoadBalancerNodePorts: false },
        {
          status: {
            loadBalancer: {
              ingress: [
                { ip: "203.0.113.9", ipMode: "VIP" },
                { ip: "203.0.113.8", ipMode: "Proxy" },
              ],
            },
          },
        },
      ),
    ]);
    expect(get(state, "a").ports[0]?.nodePort).toBeUndefined();
    expect(get(state, "a").loadBalancerIPs.map(formatIp)).toEqual(["203.0.113.9"]);
  });

  it("gets an address of each family where it asks for dual stack, else of the first", () => {
    const words: ClusterWords = { networkPluginMode: "overlay", ipFamilies: ["ipv4", "ipv6"] };
    const state = cluster([service("two", { ipFamilyPolicy: "PreferDualStack" }), service("one", {})], words);
    expect(get(state, "two").clusterIPs.map(({ family }) => family)).toEqual([4, 6]);
    expect(get(state, "one").clusterIPs.map(({ family }) => family)).toEqual([4]);
  });
});

describe("EndpointSlices of a Service with a selector", () => {
  const web = service("web", { selector: { app: "web" }, ports: [{ port: 80, targetPort: "http" }] });
  const unready = { conditions: [{ type: "Ready", status: "False" }] };
  const leaving = { deletionTimestamp: "2026-01-01T00:00:00Z" };

  it("list every pod that has not ended, with its conditions", () => {
    const state = cluster([
      web,
      pod("a", { status: { podIP: "10.224.0.10" } }),
      pod("b", { status: { podIP: "10.224.0.11", ...unready } }),
      pod("c", { status: { podIP: "10.224.0.12" }, metadata: leaving }),
      pod("d", { status: { podIP: "10.224.0.13", ...unready }, metadata: leaving }),
      pod("e", { status: { podIP: "10.224.0.14", phase: "Succeeded" } }),
    ]);
    expect(endpointsOf(state, "web")).toEqual([
      "10.224.0.10:8080 ready serving",
      "10.224.0.11:8080",
      "10.224.0.12:8080 serving terminating",
      "10.224.0.13:8080 terminating",
    ]);
  });

  it("list pods as ready that publish themselves before they are", () => {
    const state = cluster([
      service("web", { selector: { app: "web" }, publishNotReadyAddresses: true }),
      pod("b", { status: { podIP: "10.224.0.11", ...unready } }),
    ]);
    expect(endpointsOf(state, "web")).toEqual(["10.224.0.11:80 ready serving"]);
  });

  it("are the input's where the input has any, and stay so when pods come", () => {
    const slice = {
      apiVersion: "discovery.k8s.io/v1",
      kind: "EndpointSlice",
      metadata: { namespace: "x", name: "web-1", labels: { "kubernetes.io/service-name": "web" } },
      addressType: "IPv4",
      ports: [{ port: 9090 }],
      endpoints: [
        { addresses: ["192.0.2.1"], conditions: { ready: false, serving: true, terminating: true } },
      ],
    };
    const before = cluster([web, slice, pod("a")]);
    const after = applyObjects(before, loadObjects("test", [pod("b")])).state;
    for (const state of [before, after])
      expect(endpointsOf(state, "web")).toEqual(["192.0.2.1:9090 serving terminating"]);
  });

  it("stay the same objects when an edit does not concern them", () => {
    const before = cluster([web, pod("a")]);
    const other = { ...pod("z"), metadata: { namespace: "y", name: "z" } };
    const after = applyObjects(before, loadObjects("test", [other])).state;
    expect(after.pods).not.toBe(before.pods);
    expect(after.endpointSlices).toBe(before.endpointSlices);
  });

  it("are not made for an empty selector, as the API server does not keep one", () => {
    const state = cluster([service("web", { selector: {} }), pod("a")]);
    expect(state.endpointSlices.size).toBe(0);
  });
});
