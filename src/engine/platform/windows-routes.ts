/**
 * Where a connection to a Service ends that a Windows node translates, by what documents and kube-proxy's source say of it:
 * each way in which that is not what the API says is a quirk, and any set of them may be applied. Without them: external
 * policy Local does not bind clients inside, endpoints that end serve where there are no others.
 */
import { cidrContains, formatIp, type Ip, ipEquals } from "../../addr/index.ts";
import type {
  Cell,
  CellEnd,
  ClusterState,
  Connection,
  Node,
  ServiceEnd,
  Translation,
} from "../../k8s/index.ts";
import { type ProxyEndpoint, type ServicePortInfo, servicePorts, viewEndpoints } from "./service-ports.ts";

export type WindowsQuirk =
  | "local-inside"
  | "own-node-port"
  | "unserved-node-port"
  | "source-ranges"
  | "target-port"
  | "conditions"
  | "host-network";

type ServiceConnection = Connection & { readonly to: ServiceEnd };
type Quirks = ReadonlySet<WindowsQuirk>;

/** `closed`: nobody answers. */
export type WindowsRoute = Cell | "closed";

/** Every way that it may take; `undefined`: no Windows node translates it, or the API leaves it open. */
export function windowsRoutes(
  state: ClusterState,
  connection: ServiceConnection,
  quirks: Quirks,
): readonly WindowsRoute[] | undefined {
  const { to, from } = connection;
  const port = servicePortOf(state, connection);
  if (port === undefined) return undefined;
  const here = nodeOf(state, from);
  const way = (node: Node, isInside: boolean): Way => ({ state, connection, port, node, isInside, quirks });
  if (to.kind === "node-port") {
    const isInside = here?.name === to.node.name;
    const isLeftOpen = here !== undefined && !isInside && port.isExternalLocal;
    const isOpen = isLeftOpen && viewAll(port).length > 0;
    return to.node.os === "linux" || isOpen ? undefined : routesAt(way(to.node, isInside));
  }
  if (here !== undefined) return here.os === "linux" ? undefined : routesAt(way(here, true));
  if (to.access !== "load-balancer") return undefined;
  const nodes = [...state.nodes.values()].filter(
    (node) => !Object.hasOwn(node.labels, "node.kubernetes.io/exclude-from-external-load-balancers"),
  );
  const healthy = port.isExternalLocal
    ? nodes.filter(({ name }) => isHealthy(state, connection, name))
    : nodes;
  if (healthy.every(({ os }) => os === "linux")) return undefined;
  return healthy.flatMap((node) => routesAt(way(node, false)));
}

interface Way {
  readonly state: ClusterState;
  readonly connection: ServiceConnection;
  readonly port: ServicePortInfo;
  /** Who translates it. */
  readonly node: Node;
  /** The client is that node or a pod there. */
  readonly isInside: boolean;
  readonly quirks: Quirks;
}

function routesAt(way: Way): readonly WindowsRoute[] {
  const { state, connection, port, node, isInside } = way;
  const { to, from, family } = connection;
  const own = new Set(node.os === "windows" ? way.quirks : []);
  const isNodePort = to.kind === "node-port";
  const itself: Cell = { ...connection, to: { kind: "node", node } };
  if (isNodePort && isInside && isOfNode(from) && own.has("own-node-port")) return [itself];
  if (
    !isNodePort &&
    to.access === "load-balancer" &&
    !own.has("source-ranges") &&
    !admits(port, from, family)
  )
    return ["closed"];
  const endpoints = reachable({ ...way, quirks: own });
  if (endpoints.length === 0) return [isNodePort && own.has("unserved-node-port") ? itself : "closed"];
  const isClusterIp = !isNodePort && to.access === "cluster-ip";
  const translation: Translation = {
    service: to.service as Translation["service"],
    node,
    isMasqueraded: !isClusterIp && !port.isExternalLocal,
    before: isNodePort && !isInside ? { to: { kind: "node", node }, port: connection.port } : undefined,
  };
  const last = endpoints.at(-1)?.port;
  return endpoints.map(
    (one): Cell => ({
      ...connection,
      to: ownerOf(state, one.ip),
      port: own.has("target-port") ? (last ?? one.port) : one.port,
      via: translation,
    }),
  );
}

/** In the order of their names. */
function reachable({ connection: { to }, port, node, isInside, quirks }: Way): readonly ProxyEndpoint[] {
  const isHere = (one: ProxyEndpoint): boolean => one.nodeName === node.name;
  const isClusterIp = to.kind === "service" && to.access === "cluster-ip";
  const isBound = isClusterIp
    ? port.isInternalLocal
    : port.isExternalLocal && (!isInside || quirks.has("local-inside"));
  const admitted = { ...port, endpoints: isBound ? port.endpoints.filter(isHere) : port.endpoints };
  const chosen = quirks.has("conditions") ? conditioned(port, to, isHere) : viewAll(admitted);
  return chosen
    .filter(
      (one) =>
        !quirks.has("host-network") || !isHere(one) || !node.addresses.some((ip) => ipEquals(ip, one.ip)),
    )
    .filter((one) => !isBound || isHere(one));
}

function viewAll(port: ServicePortInfo): readonly ProxyEndpoint[] {
  return viewEndpoints({ ...port, isInternalLocal: false, isExternalLocal: false }, undefined).cluster;
}

/** Ready ones that serve; those that end are looked at for Services with a load balancer's address alone. */
function conditioned(
  port: ServicePortInfo,
  to: ServiceEnd,
  isHere: (one: ProxyEndpoint) => boolean,
): readonly ProxyEndpoint[] {
  const { endpoints, isExternalLocal, loadBalancerIPs } = port;
  if (loadBalancerIPs.length === 0) return endpoints.filter(({ ready, serving }) => ready && serving);
  const counted = isExternalLocal ? endpoints.filter(isHere) : endpoints;
  const noneServes = counted.every(({ serving }) => !serving);
  const allEnd = counted.every(({ ready, terminating }) => terminating || !ready);
  const isLasting = to.kind === "service" && to.access !== "external-ip";
  if (noneServes) return isLasting ? endpoints : [];
  if (!allEnd) return endpoints.filter(({ ready, serving }) => ready && serving);
  return isLasting ? endpoints.filter(({ serving }) => serving) : [];
}

function servicePortOf(
  state: ClusterState,
  { to, port, protocol, family }: ServiceConnection,
): ServicePortInfo | undefined {
  const { service } = to;
  if (service === undefined || (to.kind === "service" && to.access === "headless")) return undefined;
  const name = `${service.namespace}/${service.name}`;
  return servicePorts(state, family).find(
    (one) =>
      (one.name === name || one.name.startsWith(`${name}:`)) &&
      one.protocol.toUpperCase() === protocol &&
      (to.kind === "node-port" ? one.nodePort === to.port : one.port === port),
  );
}

function isHealthy(state: ClusterState, { to: { service } }: ServiceConnection, node: string): boolean {
  return [...state.endpointSlices.values()].some(
    (slice) =>
      slice.namespace === service?.namespace &&
      slice.serviceName === service.name &&
      slice.endpoints.some(({ ready, nodeName }) => ready && nodeName === node),
  );
}

function admits({ sourceRanges }: ServicePortInfo, from: CellEnd, family: number): boolean {
  const ips = from.kind === "pod" ? from.pod.ips : from.kind === "node" ? from.node.addresses : [from.ip];
  const ip = ips.find((one) => one.family === family);
  return (
    sourceRanges.length === 0 || (ip !== undefined && sourceRanges.some(({ net }) => cidrContains(net, ip)))
  );
}

function isOfNode(end: CellEnd): boolean {
  return end.kind === "node" || (end.kind === "pod" && end.pod.hostNetwork);
}

function nodeOf(state: ClusterState, end: CellEnd): Node | undefined {
  if (end.kind === "node") return end.node;
  return end.kind === "pod" ? state.nodes.get(end.pod.nodeName) : undefined;
}

const owners = new WeakMap<ClusterState["pods"], ReadonlyMap<string, CellEnd>>();

function ownerOf({ pods, nodes }: ClusterState, ip: Ip): CellEnd {
  let known = owners.get(pods);
  if (known === undefined) {
    const made = new Map<string, CellEnd>();
    for (const node of nodes.values())
      for (const address of node.addresses) made.set(formatIp(address), { kind: "node", node });
    for (const pod of pods.values())
      if (!pod.hostNetwork && pod.phase !== "Succeeded" && pod.phase !== "Failed")
        for (const address of pod.ips) made.set(formatIp(address), { kind: "pod", pod });
    known = made;
    owners.set(pods, known);
  }
  return known.get(formatIp(ip)) ?? { kind: "external", ip };
}
