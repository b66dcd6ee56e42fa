/**
 * EndpointSlices as the controller derives them from a Service's selector: pods with an address that have not ended,
 * with their conditions, one slice for each family and each set of resolved target ports (a named port may be another
 * number on another pod). Governing source: kubernetes staging/src/k8s.io/endpointslice (utils.go, podToEndpoint).
 */
import { formatIp } from "../addr/index.ts";
import { hashText } from "../base/index.ts";
import { isEnded } from "./phase.ts";
import type { Endpoint, EndpointSlice, Pod, Service } from "./types.ts";

/**
 * Brings `slices` up to date: those of Services with a selector follow the pods, unless the input holds slices of the
 * Service: these win. A slice that nobody changed stays the same object.
 */
export function followPods(
  services: ReadonlyMap<string, Service>,
  pods: ReadonlyMap<string, Pod>,
  slices: Map<string, EndpointSlice>,
): void {
  const podsOf = new Map<string, Pod[]>();
  for (const pod of pods.values()) {
    const list = podsOf.get(pod.namespace);
    if (list === undefined) podsOf.set(pod.namespace, [pod]);
    else list.push(pod);
  }
  const given = new Set<string>();
  const before = new Map<string, EndpointSlice>();
  for (const [key, slice] of slices) {
    const owner = `${slice.namespace}/${slice.serviceName}`;
    if (slice.derived) before.set(key, slice);
    if (slice.derived || !services.has(owner)) slices.delete(key);
    else given.add(owner);
  }
  for (const [owner, service] of services) {
    if (given.has(owner)) continue;
    for (const slice of deriveSlices(service, podsOf.get(service.namespace) ?? [])) {
      const key = `${slice.namespace}/${slice.name}`;
      const old = before.get(key);
      slices.set(key, old !== undefined && sameSlice(old, slice) ? old : slice);
    }
  }
}

/** `pods` are those of the Service's namespace. */
function deriveSlices(service: Service, pods: readonly Pod[]): readonly EndpointSlice[] {
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

/** Equal in all that can differ between two slices of one name, so that a slice nobody changed stays the same object. */
function sameSlice(a: EndpointSlice, b: EndpointSlice): boolean {
  if (a.source !== b.source || a.ports.length !== b.ports.length) return false;
  if (a.endpoints.length !== b.endpoints.length) return false;
  const samePorts = a.ports.every(({ name, port, protocol }, i) => {
    const other = b.ports[i];
    return other?.name === name && other?.port === port && other?.protocol === protocol;
  });
  return (
    samePorts &&
    a.endpoints.every((one, i) => {
      const other = b.endpoints[i];
      return (
        other !== undefined &&
        one.nodeName === other.nodeName &&
        one.ready === other.ready &&
        one.serving === other.serving &&
        one.terminating === other.terminating &&
        one.ips.map(formatIp).join() === other.ips.map(formatIp).join()
      );
    })
  );
}
