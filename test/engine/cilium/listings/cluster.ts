/** A cluster whose listings hold a bit of everything: ranges, exceptions, denies, a Service, two families. */
import {
  compileCluster,
  nodeFiles,
  type ProductSelection,
  parseSelection,
} from "../../../../src/harness/index.ts";
import { buildCluster, type ClusterState, loadManifests } from "../../../../src/k8s/index.ts";

const manifests = `
apiVersion: v1
kind: Namespace
metadata: { name: demo, labels: { team: blue } }
---
apiVersion: v1
kind: Node
metadata: { name: n1, labels: { kubernetes.io/os: linux } }
---
apiVersion: v1
kind: Node
metadata: { name: n2, labels: { kubernetes.io/os: linux } }
---
apiVersion: v1
kind: Pod
metadata: { namespace: demo, name: server, labels: { app: server } }
spec:
  nodeName: n1
  containers: [{ name: a, image: i, ports: [{ containerPort: 80, name: web }] }]
---
apiVersion: v1
kind: Pod
metadata: { namespace: demo, name: tool }
spec: { nodeName: n1, containers: [{ name: a, image: i }] }
---
apiVersion: v1
kind: Pod
metadata: { namespace: demo, name: client, labels: { app: client, canary: "" } }
spec: { nodeName: n2, containers: [{ name: a, image: i }] }
---
apiVersion: v1
kind: Service
metadata: { namespace: demo, name: web }
spec: { selector: { app: server }, ports: [{ port: 8080, targetPort: web }] }
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: { namespace: demo, name: web }
spec:
  podSelector: { matchLabels: { app: server } }
  policyTypes: [Ingress, Egress]
  ingress:
    - from:
        - podSelector: { matchLabels: { app: client } }
        - ipBlock: { cidr: 203.0.113.0/24, except: [203.0.113.8/30] }
      ports: [{ port: web }, { port: 30000, endPort: 30017, protocol: UDP }]
---
apiVersion: cilium.io/v2
kind: CiliumNetworkPolicy
metadata: { namespace: demo, name: closed }
spec:
  endpointSelector: { matchLabels: { app: server } }
  ingressDeny: [{ fromEntities: [world], toPorts: [{ ports: [{ port: "22", protocol: TCP }] }] }]
  egress: [{ icmps: [{ fields: [{ type: 8, family: IPv4 }] }] }]
`;

export function product(name: string): ProductSelection {
  const selection = parseSelection(name);
  if (selection.kind !== "product") throw new Error(`${name} is no product`);
  return selection;
}

export function stateOf(vendorKinds: Parameters<typeof loadManifests>[1]): ClusterState {
  const objects = loadManifests([{ name: "cluster.yaml", text: manifests }], vendorKinds);
  const words = { networkPluginMode: "overlay", ipFamilies: ["ipv4", "ipv6"] } as const;
  return buildCluster(objects, { ...product("cilium").aks, ...words }).state;
}

/** A node's files in `bpf/`. */
export function listingsOf(
  state: ClusterState,
  selection: ProductSelection,
  node: string,
): ReadonlyMap<string, string> {
  const { tables } = compileCluster(state, selection).get(node) ?? { tables: {} };
  const files = [...nodeFiles(state, node, tables, selection.engines.linux)];
  return new Map(
    files.flatMap(([name, text]) => (name.startsWith("bpf/") ? [[name.slice("bpf/".length), text]] : [])),
  );
}
