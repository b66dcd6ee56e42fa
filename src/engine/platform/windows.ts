/**
 * What an AKS Windows node carries before any policy engine: the HNS network of Azure CNI, an endpoint for each pod on
 * it, and the ACLs that Azure CNI gives every endpoint. The ACLs are those that Azure NPM adds by itself where another CNI
 * made the network, and of which its authors say that Azure CNI's endpoints have them (azure-container-networking PR
 * 1752). Nothing published shows an endpoint of a real node: ids and names are this emulator's own.
 */
import { createHash } from "node:crypto";
import { type AclPolicy, anyAcl, type HnsEndpoint, type HnsNetwork } from "../../filter/hns/index.ts";
import { type ClusterState, type Connection, hasInterface, type Node, type Pod } from "../../k8s/index.ts";
import type { Diagnostic, NodeTables } from "../engine.ts";
import { wireserverAddress } from "./linux.ts";
import { cidr, component } from "./rules.ts";

/** The network that Azure CNI makes; NPM waits for it by this name. */
export const azureNetwork: HnsNetwork = Object.freeze({
  id: guidOf("network azure"),
  name: "azure",
  type: "L2Bridge",
  sets: [],
  acls: [],
  otherPolicies: [],
});

/** In HNS's form, the same for the same text. */
function guidOf(text: string): string {
  const hex = createHash("sha256").update(text).digest("hex").toUpperCase();
  return [hex.slice(0, 8), hex.slice(8, 12), hex.slice(12, 16), hex.slice(16, 20), hex.slice(20, 32)].join(
    "-",
  );
}

const origin = component("azure-cni");

const allow = (
  direction: AclPolicy["direction"],
  ruleType: AclPolicy["ruleType"],
  priority: number,
): AclPolicy => ({
  ...anyAcl,
  id: undefined,
  action: "Allow",
  direction,
  ruleType,
  priority,
  origin,
});

const baseAcls: readonly AclPolicy[] = Object.freeze([
  {
    ...anyAcl,
    id: undefined,
    action: "Block",
    direction: "Out",
    ruleType: "Switch",
    priority: 200,
    protocols: [6],
    remoteAddresses: [{ kind: "net", net: cidr(`${wireserverAddress}/32`) }],
    remotePorts: [{ first: 80, last: 80 }],
    origin,
  } satisfies AclPolicy,
  allow("In", "Switch", 65_499),
  allow("Out", "Switch", 65_499),
  allow("In", "Host", 0),
  allow("Out", "Host", 0),
]);

const endpoints = new WeakMap<Pod, HnsEndpoint>();

/** The endpoint that the CNI makes for a pod. */
function endpointOf(pod: Pod): HnsEndpoint {
  let endpoint = endpoints.get(pod);
  if (endpoint === undefined) {
    const name = `${pod.namespace}/${pod.name}`;
    endpoint = Object.freeze({
      id: guidOf(`endpoint ${name}`),
      name,
      network: azureNetwork.id,
      isRemote: false,
      addresses: pod.ips,
      mac: undefined,
      acls: baseAcls,
      tiers: [],
      otherPolicies: [],
    });
    endpoints.set(pod, endpoint);
  }
  return endpoint;
}

const byPods = new WeakMap<ClusterState["pods"], ReadonlyMap<string, readonly Pod[]>>();

function podsByNode(pods: ClusterState["pods"]): ReadonlyMap<string, readonly Pod[]> {
  let known = byPods.get(pods);
  if (known === undefined) {
    const grouped = new Map<string, Pod[]>();
    for (const pod of pods.values()) {
      if (!hasInterface(pod)) continue;
      const list = grouped.get(pod.nodeName) ?? [];
      list.push(pod);
      grouped.set(pod.nodeName, list);
    }
    known = grouped;
    byPods.set(pods, known);
  }
  return known;
}

export function windowsPlatform({ pods }: ClusterState, node: Node): NodeTables {
  const own = podsByNode(pods).get(node.name) ?? [];
  return Object.freeze({
    hns: {
      networks: [azureNetwork],
      endpoints: own.map(endpointOf),
      loadBalancers: [],
      flowsOnChange: "keep" as const,
    },
  });
}

/**
 * kube-proxy of Windows nodes programs HNS load balancers, which are not emulated: what such a node and its pods send to
 * Services, and what is sent to its node ports, nobody translates here, and nothing can be said of it.
 */
export function isTranslated(state: ClusterState, { from, to }: Connection): boolean {
  if (to.kind === "node-port") return to.node.os !== "windows" && !isOnWindows(state, from);
  if (to.kind !== "service" || to.access === "headless") return true;
  return !isOnWindows(state, from);
}

function isOnWindows(state: ClusterState, end: Connection["from"]): boolean {
  if (end.kind === "external") return false;
  const node = end.kind === "node" ? end.node : state.nodes.get(end.pod.nodeName);
  return node?.os === "windows";
}

/** Said where a cluster has what is not emulated. */
export function platformDiagnostics({ nodes, services }: ClusterState): readonly Diagnostic[] {
  const isConcerned = services.size > 0 && [...nodes.values()].some(({ os }) => os === "windows");
  if (!isConcerned) return [];
  const message =
    "Services on Windows nodes are not emulated: connections from there to Services, and to node ports of Windows nodes, are left open";
  return [{ code: "windows-services-not-emulated", severity: "warning", policy: undefined, message }];
}
