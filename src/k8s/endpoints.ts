/**
 * EndpointSlices as the controller derives them from a Service's selector: pods with an address that have not ended,
 * with their conditions, one slice for each family and each set of resolved target ports (a named port may be another
 * number on another pod). Governing source: kubernetes staging/src/k8s.io/endpointslice (utils.go, podToEndpoint).
 */
import { hashText } from "../base/index.ts";
import { isEnded } from "./phase.ts";
import type { Endpoint, EndpointSlice, Pod, Service } from "./types.ts";

/** `pods` are those of the Service's namespace. */
export function deriveSlices(service: Service, pods: readonly Pod[]): readonly EndpointSlice[] {
  const { selector } = service;
  if (selector === undefined || service.type === "ExternalName") return [];
  const wanted = Object.entries(selector);
  const groups = new Map<
    string,
    { readonly ports: EndpointSlice["ports"]; readonly endpoints: Endpoint[] }
  >();
  for (const pod of pods) {
    if (isEnded(pod) || !wanted.every(([key, value]) => pod.labels[key] === value)) continue;
    const ports = resolvePorts(service, pod);
    const serving = service.publishNotReadyAddresses || (pod.phase === "Running" && pod.ready);
    const ready = service.publishNotReadyAddresses || (serving && !pod.terminating);
    const conditions = { nodeName: pod.nodeName, ready, serving, terminating: pod.terminating };
    for (const ip of pod.ips) {
      const key = `${ip.family} ${ports.map((port) => `${port.name ?? ""}:${port.protocol}:${port.port}`).join()}`;
      let group = groups.get(key);
      if (group === undefined) {
        group = { ports, endpoints: [] };
        groups.set(key, group);
      }
      group.endpoints.push({ ips: [ip], ...conditions });
    }
  }
  return [...groups].map(
    ([key, { ports, endpoints }]): EndpointSlice => ({
      kind: "EndpointSlice",
      name: `${service.name}-${hashText(`${service.namespace}/${service.name} ${key}`).toString(36).padStart(7, "0").slice(0, 5)}`,
      namespace: service.namespace,
      labels: { "kubernetes.io/service-name": service.name },
      annotations: {},
      source: service.source,
      serviceName: service.name,
      derived: true,
      ports,
      endpoints,
    }),
  );
}

function resolvePorts(service: Service, pod: Pod): EndpointSlice["ports"] {
  const ports: { name: string | undefined; protocol: Service["ports"][number]["protocol"]; port: number }[] =
    [];
  for (const { name, protocol, targetPort } of service.ports) {
    const port =
      typeof targetPort === "number"
        ? targetPort
        : pod.ports.find((item) => item.name === targetPort && item.protocol === protocol)?.containerPort;
    if (port !== undefined) ports.push({ name, protocol, port });
  }
  return ports;
}
