/**
 * What an AKS Windows node carries before any policy engine: the HNS network of Azure CNI, an endpoint for each pod on
 * it, the ACLs that Azure CNI gives every endpoint, and kube-proxy's load balancers. The ACLs are those that Azure NPM adds by itself where another CNI
 * made the network, and of which its authors say that Azure CNI's endpoints have them (azure-container-networking PR
 * 1752). Nothing published shows an endpoint of a real node: ids and names are this emulator's own.
 */
import { formatIp } from "../../addr/index.ts";
import { type AclPolicy, anyAcl, type HnsEndpoint, type HnsNetwork } from "../../filter/hns/index.ts";
import { type ClusterState, hasInterface, type Node, type Pod } from "../../k8s/index.ts";
import type { NodeTables } from "../engine.ts";
import { guidOf } from "./guid.ts";
import { wireserverAddress } from "./linux.ts";
import { cidr, component } from "./rules.ts";
import { azureNetworkId, windowsServices } from "./windows-services.ts";

/** The network that Azure CNI makes; NPM waits for it by this name. */
export const azureNetwork: HnsNetwork = Object.freeze({
  id: azureNetworkId,
  name: "azure",
  type: "L2Bridge",
  sets: [],
  acls: [],
  otherPolicies: [],
});

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

export function windowsPlatform(state: ClusterState, node: Node): NodeTables {
  const own = (podsByNode(state.pods).get(node.name) ?? []).map(endpointOf);
  const localIds = new Map(own.flatMap(({ id, addresses }) => addresses.map((ip) => [formatIp(ip), id])));
  const { endpoints, loadBalancers } = windowsServices(state)(node, localIds);
  return Object.freeze({
    hns: {
      networks: [azureNetwork],
      endpoints: endpoints.length === 0 ? own : [...own, ...endpoints],
      loadBalancers,
      flowsOnChange: "keep" as const,
    },
  });
}
