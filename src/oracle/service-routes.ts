/**
 * Where a connection to a Service may end: one cell for each backend that it can reach, in final addresses, with what
 * was rewritten on the way. Governing sources: kubernetes/api core/v1 types.go (externalTrafficPolicy,
 * internalTrafficPolicy, loadBalancerSourceRanges) and the pages on Services and on source addresses. Of Azure it knows
 * that load balancers hand a packet to any node that answers the health probe, still addressed to the frontend.
 */
import { cidrContains, formatIp, type Ip } from "../addr/index.ts";
import { unreachable } from "../base/index.ts";
import type {
  Cell,
  CellEnd,
  ClusterState,
  Connection,
  Endpoint,
  Node,
  Pod,
  Service,
  ServiceEnd,
  Translation,
} from "../k8s/index.ts";

export type ServiceRoutes =
  | { readonly kind: "backends"; readonly cells: readonly Cell[] }
  /** Nothing is reached, whatever policies say. */
  | { readonly kind: "closed"; readonly why: string }
  /** The API does not say where it ends. */
  | { readonly kind: "open"; readonly why: string };

type ServiceConnection = Connection & { readonly to: ServiceEnd };

export function isToService(connection: Connection): connection is ServiceConnection {
  return connection.to.kind === "service" || connection.to.kind === "node-port";
}

const closed = (why: string): ServiceRoutes => ({ kind: "closed", why });

export function serviceRoutes(state: ClusterState, connection: ServiceConnection): ServiceRoutes {
  const { to, protocol, port, from } = connection;
  const { service } = to;
  if (service === undefined) return closed("no Service has the node port");
  const asked = to.kind === "node-port" ? to.port : port;
  const index = service.ports.findIndex(
    (one) => one.protocol === protocol && (to.kind === "node-port" ? one.nodePort : one.port) === asked,
  );
  if (to.kind === "service" && to.access === "headless") return headlessRoutes(state, connection, service);
  if (index < 0) return closed(`the Service has no port ${asked}/${protocol}`);
  const backends = backendsOf(state, service, index, connection);
  if (backends.length === 0) return closed("the Service has no endpoints");
  const reach: Reach = { state, connection, service, backends };
  const here = nodeOf(state, from);
  if (to.kind === "node-port") return nodePortRoutes(reach, to.node, here);
  switch (to.access) {
    case "cluster-ip":
      return here === undefined
        ? closed("cluster addresses are not routed outside")
        : clusterRoutes(reach, here);
    case "external-ip":
    case "load-balancer":
      if (to.access === "load-balancer" && !admits(service, connection))
        return closed("the source is not in loadBalancerSourceRanges");
      if (here !== undefined) return shortRoutes(reach, here);
      return to.access === "load-balancer"
        ? balancedRoutes(reach)
        : closed("nothing outside routes the external address to a node");
    case "headless":
      return headlessRoutes(state, connection, service);
    default:
      return unreachable(to.access);
  }
}

interface Reach {
  readonly state: ClusterState;
  readonly connection: ServiceConnection;
  readonly service: Service;
  readonly backends: readonly Backend[];
}

/** It takes connections: ready, or serving until it ends. */
interface Backend {
  readonly end: CellEnd;
  readonly port: number;
  readonly nodeName: string | undefined;
  readonly ready: boolean;
}

/** Among those that a traffic policy admits: ready ones, or where there are none those that still serve. */
function best(backends: readonly Backend[]): readonly Backend[] {
  const ready = backends.filter((one) => one.ready);
  return ready.length > 0 ? ready : backends;
}

function cells(
  { connection, service }: Reach,
  admitted: readonly Backend[],
  how: Omit<Translation, "service">,
): ServiceRoutes {
  return {
    kind: "backends",
    cells: best(admitted).map(({ end, port }) => ({
      ...connection,
      to: end,
      port,
      via: { service, ...how },
    })),
  };
}

function clusterRoutes(reach: Reach, node: Node): ServiceRoutes {
  const { service, backends } = reach;
  const local = backends.filter(({ nodeName }) => nodeName === node.name);
  const usable = service.internalTrafficPolicy === "Local" ? local : backends;
  if (usable.length === 0) return closed("internalTrafficPolicy Local, and no endpoint on the client's node");
  return cells(reach, usable, { node, isMasqueraded: false, before: undefined });
}

/** From inside, at the client's own node: external policy Local does not bind it, but keeps its address. */
function shortRoutes(reach: Reach, node: Node): ServiceRoutes {
  const isMasqueraded = reach.service.externalTrafficPolicy === "Cluster";
  return cells(reach, reach.backends, { node, isMasqueraded, before: undefined });
}

function balancedRoutes(reach: Reach): ServiceRoutes {
  const { state, service, backends } = reach;
  const nodes = [...state.nodes.values()].filter((node) => !isExcluded(node));
  if (service.externalTrafficPolicy === "Cluster") return join(nodes.map((node) => external(reach, node)));
  const healthy = nodes.filter((node) =>
    backends.some((one) => one.nodeName === node.name && isReady(reach, one)),
  );
  if (healthy.length === 0) return closed("no node with an endpoint of its own answers the health probe");
  return join(healthy.map((node) => external(reach, node)));
}

/** What a node does with a packet from outside: any endpoint behind its own address, or its own endpoints. */
function external(reach: Reach, node: Node, before?: Translation["before"]): ServiceRoutes {
  const { service, backends } = reach;
  if (service.externalTrafficPolicy === "Cluster")
    return cells(reach, backends, { node, isMasqueraded: true, before });
  const local = backends.filter(({ nodeName }) => nodeName === node.name);
  if (local.length === 0) return closed(`externalTrafficPolicy Local, and no endpoint on ${node.name}`);
  return cells(reach, local, { node, isMasqueraded: false, before });
}

function nodePortRoutes(reach: Reach, node: Node, here: Node | undefined): ServiceRoutes {
  if (here?.name === node.name) return shortRoutes(reach, node);
  const { connection, service } = reach;
  const { port } = connection.to as Extract<ServiceEnd, { kind: "node-port" }>;
  if (here !== undefined && service.externalTrafficPolicy === "Local")
    return { kind: "open", why: "externalTrafficPolicy Local, asked from inside at another node" };
  return external(reach, node, { to: { kind: "node", node }, port });
}

/** A name that resolves to the endpoints' own addresses: nothing is rewritten, the port is the one asked for. */
function headlessRoutes(state: ClusterState, connection: ServiceConnection, service: Service): ServiceRoutes {
  const ends = endpointsOf(state, service)
    .filter(({ ready }) => ready)
    .flatMap(({ ips, nodeName }) => {
      const ip = ips.find((one) => one.family === connection.family);
      return ip === undefined ? [] : [ownerOf(state, ip, nodeName, connection.port)];
    });
  const unique = [...new Map(ends.map((end) => [describe(end), end])).values()];
  if (unique.length === 0) return closed("the Service has no endpoints");
  return { kind: "backends", cells: unique.map((end) => ({ ...connection, to: end })) };
}

function join(routes: readonly ServiceRoutes[]): ServiceRoutes {
  const all = routes.flatMap((one) => (one.kind === "backends" ? one.cells : []));
  return all.length > 0 ? { kind: "backends", cells: all } : (routes[0] ?? closed("no node takes it"));
}

function isExcluded(node: Node): boolean {
  return Object.hasOwn(node.labels, "node.kubernetes.io/exclude-from-external-load-balancers");
}

function admits({ loadBalancerSourceRanges }: Service, { from, family }: Connection): boolean {
  const ranges = loadBalancerSourceRanges.filter((range) => range.family === family);
  const ip = addressOf(from).find((one) => one.family === family);
  return ranges.length === 0 || (ip !== undefined && ranges.some((range) => cidrContains(range, ip)));
}

function addressOf(end: CellEnd): readonly Ip[] {
  return end.kind === "pod" ? end.pod.ips : end.kind === "node" ? end.node.addresses : [end.ip];
}

function nodeOf(state: ClusterState, end: CellEnd): Node | undefined {
  if (end.kind === "node") return end.node;
  return end.kind === "pod" ? state.nodes.get(end.pod.nodeName) : undefined;
}

function endpointsOf(state: ClusterState, service: Service): readonly Endpoint[] {
  return slicesOf(state, service).flatMap(({ endpoints }) => endpoints);
}

type Slices = ReadonlyMap<
  string,
  ClusterState["endpointSlices"] extends ReadonlyMap<string, infer S> ? S[] : never
>;
const slicesByService = new WeakMap<ClusterState["endpointSlices"], Slices>();

function slicesOf(
  { endpointSlices }: ClusterState,
  service: Service,
): NonNullable<ReturnType<Slices["get"]>> {
  let known = slicesByService.get(endpointSlices);
  if (known === undefined) {
    const made = new Map<string, NonNullable<ReturnType<Slices["get"]>>>();
    for (const slice of endpointSlices.values()) {
      const key = `${slice.namespace}/${slice.serviceName}`;
      const list = made.get(key);
      if (list === undefined) made.set(key, [slice]);
      else list.push(slice);
    }
    known = made;
    slicesByService.set(endpointSlices, known);
  }
  return known.get(`${service.namespace}/${service.name}`) ?? [];
}

/** Endpoints of one of the Service's ports that take connections, or would where no others do. */
function backendsOf(
  state: ClusterState,
  service: Service,
  index: number,
  { family }: Connection,
): readonly Backend[] {
  const wanted = service.ports[index];
  const all = slicesOf(state, service).flatMap((slice) => {
    const port = slice.ports.find(
      (one) => one.name === wanted?.name && one.protocol === wanted?.protocol,
    )?.port;
    return port === undefined ? [] : slice.endpoints.map((endpoint) => ({ endpoint, port }));
  });
  const usable = all.filter(({ endpoint: one }) => one.ready || (one.serving && one.terminating));
  const backends = usable.flatMap(({ endpoint: { ips, nodeName, ready }, port }): readonly Backend[] => {
    const [ip] = ips;
    if (ip === undefined || ip.family !== family) return [];
    return [{ end: ownerOf(state, ip, nodeName, port), port, nodeName, ready }];
  });
  const unique = new Map<string, Backend>();
  for (const one of backends) {
    const key = `${describe(one.end)} ${one.port}`;
    if (one.ready || !unique.has(key)) unique.set(key, one);
  }
  return [...unique.values()];
}

/** Only ready endpoints make a node healthy. */
function isReady({ state, service }: Reach, { nodeName }: Backend): boolean {
  return endpointsOf(state, service).some((one) => one.ready && one.nodeName === nodeName);
}

function describe(end: CellEnd): string {
  switch (end.kind) {
    case "pod":
      return `${end.pod.namespace}/${end.pod.name}`;
    case "node":
      return `node ${end.node.name}`;
    case "external":
      return formatIp(end.ip);
    default:
      return unreachable(end);
  }
}

const podsByAddress = new WeakMap<ClusterState["pods"], ReadonlyMap<string, Pod>>();

/** Who has an endpoint's address: a pod, a pod of the host network that declares the port, the node, or nobody here. */
function ownerOf(state: ClusterState, ip: Ip, nodeName: string | undefined, port: number): CellEnd {
  let pods = podsByAddress.get(state.pods);
  if (pods === undefined) {
    const made = new Map<string, Pod>();
    for (const pod of state.pods.values())
      if (!pod.hostNetwork && pod.phase !== "Succeeded" && pod.phase !== "Failed")
        for (const address of pod.ips) made.set(formatIp(address), pod);
    pods = made;
    podsByAddress.set(state.pods, pods);
  }
  const text = formatIp(ip);
  const pod = pods.get(text);
  if (pod !== undefined) return { kind: "pod", pod };
  for (const node of state.nodes.values()) {
    if (nodeName !== undefined && node.name !== nodeName) continue;
    if (!node.addresses.some((one) => formatIp(one) === text)) continue;
    const host = [...state.pods.values()].find(
      (one) =>
        one.hostNetwork &&
        one.nodeName === node.name &&
        one.ports.some((item) => item.containerPort === port),
    );
    return host === undefined ? { kind: "node", node } : { kind: "pod", pod: host };
  }
  return { kind: "external", ip };
}
