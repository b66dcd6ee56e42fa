/**
 * `fixture:` expanded to plain API objects: the arrangement of the upstream network policy tests. Namespaces carry
 * the label `ns: NAME`, pods `pod: NAME`, each served port is a container named as its port (`serve-80-tcp`), and pods
 * are placed on the nodes in turn. Governing source: kubernetes test/e2e/network/netpol (names of ports and labels).
 */
import { readServedPort } from "./port.ts";
import type { RawFixture, RawNode, RawPod, RawPort } from "./schema.ts";

type ApiValue = Readonly<Record<string, unknown>>;

/** Nodes, Namespaces and Pods, in this order. `fixture` has been checked against the schema. */
export function expandFixture(fixture: RawFixture): readonly ApiValue[] {
  const nodes: readonly RawNode[] =
    typeof fixture.nodes === "object"
      ? fixture.nodes
      : Array.from({ length: fixture.nodes ?? 1 }, (_, i) => ({
          name: `n${i + 1}`,
        }));
  const pods = fixture.pods.map((pod): RawPod => (typeof pod === "string" ? { name: pod } : pod));
  const namespaces = new Map<string, Readonly<Record<string, string>>>();
  for (const [name, value] of Object.entries(fixture.namespaces ?? {}))
    namespaces.set(name, value?.labels ?? {});
  for (const pod of pods) {
    const [namespace] = splitName(pod.name);
    if (!namespaces.has(namespace)) namespaces.set(namespace, {});
  }
  return [
    ...nodes.map((node) => nodeObject(node)),
    ...[...namespaces].map(([name, labels]) => namespaceObject(name, labels)),
    ...pods.map((pod, index) => podObject(pod, fixture.ports ?? [], nodes[index % nodes.length]?.name)),
  ];
}

/** A Pod as `createPod` and the fixture write it; `node` is used where the pod names none. */
export function podObject(pod: RawPod, defaultPorts: readonly RawPort[], node: string | undefined): ApiValue {
  const [namespace, name] = splitName(pod.name);
  const nodeName = pod.node ?? node;
  const containers = containersOf(pod.ports ?? defaultPorts);
  const ips = [pod.ip, pod.ip6].filter((ip) => ip !== undefined);
  return {
    apiVersion: "v1",
    kind: "Pod",
    metadata: { namespace, name, labels: pod.labels ?? { pod: name } },
    spec: {
      ...(nodeName === undefined ? {} : { nodeName }),
      ...(pod.hostNetwork ? { hostNetwork: true } : {}),
      containers,
    },
    ...(ips.length === 0 ? {} : { status: { podIP: ips[0], podIPs: ips.map((ip) => ({ ip })) } }),
  };
}

/** One container a port; a pod that serves nothing has one without ports. */
function containersOf(ports: readonly RawPort[]): readonly ApiValue[] {
  const containers: ApiValue[] = [];
  for (const text of ports) {
    const port = readServedPort(String(text));
    if (typeof port === "string") continue; // reported by the schema
    const name = `serve-${port.port}-${port.protocol.toLowerCase()}`;
    containers.push({
      name,
      image: "registry.k8s.io/e2e-test-images/agnhost",
      ports: [{ name, containerPort: port.port, protocol: port.protocol }],
    });
  }
  return containers.length > 0 ? containers : [{ name: "pause", image: "registry.k8s.io/pause" }];
}

function namespaceObject(name: string, labels: Readonly<Record<string, string>>): ApiValue {
  return { apiVersion: "v1", kind: "Namespace", metadata: { name, labels: { ns: name, ...labels } } };
}

function nodeObject({ name, ip, ip6, os = "linux" }: RawNode): ApiValue {
  const known = [ip, ip6].filter((address) => address !== undefined);
  return {
    apiVersion: "v1",
    kind: "Node",
    metadata: { name, labels: { "kubernetes.io/hostname": name, "kubernetes.io/os": os } },
    ...(known.length === 0
      ? {}
      : { status: { addresses: known.map((address) => ({ type: "InternalIP", address })) } }),
  };
}

function splitName(name: string): readonly [string, string] {
  const slash = name.indexOf("/");
  return [name.slice(0, slash), name.slice(slash + 1)];
}
