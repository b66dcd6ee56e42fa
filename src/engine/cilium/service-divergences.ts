/** Where Cilium on AKS treats a Service's address as a whole otherwise than the API says, before any backend is chosen. */
import { cidrContains, formatIp, type Ip } from "../../addr/index.ts";
import type { CellEnd, ClusterState, Connection } from "../../k8s/index.ts";
import type { Divergence } from "../engine.ts";
import { servicePorts, viewEndpoints } from "../platform/index.ts";
import type { Judge } from "./judge.ts";
import type { CiliumVariant } from "./variant.ts";

type WhenService = NonNullable<Divergence["whenService"]>;

/** Services of SCTP are not translated: a node port is a port of the node's own, other addresses are nobody's. */
export function sctpService({ hostFirewall }: CiliumVariant): WhenService {
  return (_state, { from, to, protocol }) => {
    if (protocol !== "SCTP" || (to.kind === "service" && to.access === "headless")) return null;
    const isOfPod = from.kind === "pod" && !from.pod.hostNetwork;
    if (to.kind !== "node-port" || isOfPod) return "deny";
    return !hostFirewall || nodeOf(from) === to.node.name ? "allow" : "deny";
  };
}

/** The node that a process runs on. */
function nodeOf(end: Connection["from"]): string | undefined {
  if (end.kind === "external") return undefined;
  return end.kind === "node" ? end.node.name : end.pod.nodeName;
}

/** A client inside that is in none of a load balancer's source ranges reaches the backends that policies let it reach. */
export function unrangedService(judge: Judge): WhenService {
  return (state, connection) => {
    const { from, to, protocol, port, family } = connection;
    if (to.kind !== "service" || to.access !== "load-balancer" || from.kind === "external") return null;
    const { service } = to;
    const ranges = service.loadBalancerSourceRanges.filter((range) => range.family === family);
    const source = addressesOf(from).find((ip) => ip.family === family);
    const isAdmitted = source !== undefined && ranges.some((range) => cidrContains(range, source));
    if (ranges.length === 0 || isAdmitted) return null;
    const name = `${service.namespace}/${service.name}`;
    const wanted = servicePorts(state, family).find(
      (one) =>
        one.port === port &&
        one.protocol.toUpperCase() === protocol &&
        (one.name === name || one.name.startsWith(`${name}:`)),
    );
    const node = state.nodes.get(nodeOf(from) ?? "");
    if (wanted === undefined || node === undefined) return null;
    const verdicts = new Set(
      viewEndpoints(wanted, undefined).cluster.map(({ ip, port: backendPort }) =>
        judge.verdictOf(state, {
          ...connection,
          to: ownerOf(state, ip),
          port: backendPort,
          via: { service, node, isMasqueraded: false, before: undefined },
        }),
      ),
    );
    const [verdict = "deny"] = verdicts;
    return verdicts.size > 1 ? "some" : verdict;
  };
}

function addressesOf(end: Connection["from"]): readonly Ip[] {
  return end.kind === "pod" ? end.pod.ips : end.kind === "node" ? end.node.addresses : [end.ip];
}

function ownerOf(state: ClusterState, ip: Ip): CellEnd {
  const text = formatIp(ip);
  const has = (ips: readonly Ip[]): boolean => ips.some((one) => formatIp(one) === text);
  for (const pod of state.pods.values()) if (!pod.hostNetwork && has(pod.ips)) return { kind: "pod", pod };
  for (const node of state.nodes.values()) if (has(node.addresses)) return { kind: "node", node };
  return { kind: "external", ip };
}
