/**
 * Decoding of core/v1 and discovery.k8s.io/v1 objects with the checks of the API server that bear on networking.
 * Fields that podwire has no use for are not looked at. Pods, nodes and Services arrive as inputs: the virtual
 * cluster assigns what they leave open (node, addresses).
 */
import { type Cidr, type Ip, parseCidr, parseIp } from "../addr/index.ts";
import type { SourceRef } from "../base/index.ts";
import type { Fields, Raw } from "./fields.ts";
import {
  dnsLabel1035Fault,
  dnsLabelFault,
  dnsSubdomainFault,
  portNameFault,
  portNumberFault,
} from "./names.ts";
import { decodePortValue, protocols } from "./policy.ts";
import type {
  ContainerPort,
  EndpointSlice,
  Labels,
  Namespace,
  Node,
  OwnerRef,
  Pod,
  Service,
  ServicePort,
} from "./types.ts";

/** A pod as given: what the virtual cluster assigns may be missing. */
export interface PodInput extends Omit<Pod, "nodeName"> {
  readonly nodeName: string | undefined;
  readonly nodeSelector: Labels;
  readonly hostIPs: readonly Ip[];
}

export type NodeInput = Node;

/** A Service as given: what the API server and the cloud assign may be missing. */
export interface ServiceInput extends Service {
  readonly wantsClusterIP: boolean;
  readonly wantsNodePorts: boolean;
  readonly isDualStack: boolean;
  /** `spec.loadBalancerIP`: asked for, not yet given. */
  readonly wantedLoadBalancerIPs: readonly Ip[];
}

export interface Meta {
  readonly name: string;
  readonly namespace: string;
  readonly labels: Labels;
  readonly annotations: Labels;
  readonly source: SourceRef | undefined;
}

type NameCheck = (name: string) => string | undefined;

/** `namespace` is `default` where the input names none (and meaningless for cluster-wide kinds). */
export function decodeMeta(fields: Fields, raw: Raw, source: SourceRef | undefined, check: NameCheck): Meta {
  const meta = fields.object(raw["metadata"], "metadata") ?? {};
  const name =
    fields.text(meta["name"], "metadata.name") ??
    fields.text(meta["generateName"], "metadata.generateName") ??
    "";
  if (name === "") fields.required("metadata.name", "name or generateName is required");
  else fields.check("metadata.name", name, check(name));
  const namespace = fields.text(meta["namespace"], "metadata.namespace") || "default";
  fields.check("metadata.namespace", namespace, dnsLabelFault(namespace));
  return {
    name,
    namespace,
    labels: fields.labels(meta["labels"], "metadata.labels"),
    annotations: fields.map(meta["annotations"], "metadata.annotations"),
    source,
  };
}

export function decodeNamespace(fields: Fields, raw: Raw, source: SourceRef | undefined): Namespace {
  const { name, labels, annotations } = decodeMeta(fields, raw, source, dnsLabelFault);
  return {
    kind: "Namespace",
    name,
    labels: { ...labels, "kubernetes.io/metadata.name": name },
    annotations,
    source,
  };
}

export function decodeNode(fields: Fields, raw: Raw, source: SourceRef | undefined): NodeInput {
  const { name, labels, annotations } = decodeMeta(fields, raw, source, dnsSubdomainFault);
  const spec = fields.object(raw["spec"], "spec") ?? {};
  const status = fields.object(raw["status"], "status") ?? {};
  const addresses: Ip[] = [];
  fields.list(status["addresses"], "status.addresses").forEach((item, i) => {
    const path = `status.addresses[${i}]`;
    const address = fields.object(item, path) ?? {};
    if (address["type"] !== "InternalIP") return;
    const ip = decodeIp(fields, address["address"], `${path}.address`);
    if (ip !== undefined) addresses.push(ip);
  });
  const ranges = fields.texts(spec["podCIDRs"], "spec.podCIDRs");
  const one = fields.text(spec["podCIDR"], "spec.podCIDR");
  const podCidrs = (ranges.length > 0 ? ranges : one ? [one] : []).map((text) =>
    decodeCidr(fields, text, "spec.podCIDR"),
  );
  const windows = labels["kubernetes.io/os"] === "windows";
  return {
    kind: "Node",
    name,
    labels,
    annotations,
    source,
    os: windows ? "windows" : "linux",
    osSku: labels["kubernetes.azure.com/os-sku"] ?? (windows ? "Windows2022" : "Ubuntu"),
    pool: labels["kubernetes.azure.com/agentpool"] ?? labels["agentpool"] ?? "",
    addresses,
    podCidrs: podCidrs.filter((cidr) => cidr !== undefined),
    unschedulable: fields.boolean(spec["unschedulable"], "spec.unschedulable"),
  };
}

const phases = ["Pending", "Running", "Succeeded", "Failed"] as const;

export function decodePod(fields: Fields, raw: Raw, source: SourceRef | undefined): PodInput {
  const meta = decodeMeta(fields, raw, source, dnsSubdomainFault);
  const status = fields.object(raw["status"], "status") ?? {};
  const rawMeta = fields.object(raw["metadata"], "metadata") ?? {};
  const owners = fields.list(rawMeta["ownerReferences"], "metadata.ownerReferences");
  return {
    ...decodePodBody(fields, raw["spec"], "spec"),
    kind: "Pod",
    ...meta,
    ips: decodeIps(fields, status, "podIPs", "podIP"),
    hostIPs: decodeIps(fields, status, "hostIPs", "hostIP"),
    phase: fields.oneOf(status["phase"], "status.phase", phases, "Running"),
    ready: !isCondition(fields, status, "Ready", "False"),
    terminating: rawMeta["deletionTimestamp"] !== undefined && rawMeta["deletionTimestamp"] !== null,
    owner: controller(fields, owners),
  };
}

function isCondition(fields: Fields, status: Raw, type: string, value: string): boolean {
  return fields.list(status["conditions"], "status.conditions").some((item, i) => {
    const condition = fields.object(item, `status.conditions[${i}]`) ?? {};
    return condition["type"] === type && condition["status"] === value;
  });
}

function controller(fields: Fields, owners: readonly unknown[]): OwnerRef | undefined {
  const refs = owners.map((owner, i) => fields.object(owner, `metadata.ownerReferences[${i}]`) ?? {});
  const ref = refs.find((owner) => owner["controller"] === true) ?? refs[0];
  const kind = ref?.["kind"];
  const name = ref?.["name"];
  return typeof kind === "string" && typeof name === "string" ? { kind, name } : undefined;
}

type PodBody = Pick<PodInput, "nodeName" | "hostNetwork" | "ports" | "nodeSelector">;

/** A pod's `spec`, or a workload's `spec.template.spec`. */
export function decodePodBody(fields: Fields, value: unknown, path: string): PodBody {
  const spec = fields.object(value, path) ?? {};
  const ports: ContainerPort[] = [];
  const containers = (field: string): readonly Raw[] =>
    fields
      .list(spec[field], `${path}.${field}`)
      .map((item, i) => fields.object(item, `${path}.${field}[${i}]`) ?? {});
  containers("initContainers").forEach((container, i) => {
    // a sidecar (restartPolicy Always) goes on running beside the app containers
    const decoded = decodeContainerPorts(fields, container, `${path}.initContainers[${i}]`);
    if (container["restartPolicy"] === "Always") ports.push(...decoded);
  });
  containers("containers").forEach((container, i) => {
    ports.push(...decodeContainerPorts(fields, container, `${path}.containers[${i}]`));
  });
  return {
    nodeName: fields.text(spec["nodeName"], `${path}.nodeName`) || undefined,
    hostNetwork: fields.boolean(spec["hostNetwork"], `${path}.hostNetwork`),
    nodeSelector: fields.labels(spec["nodeSelector"], `${path}.nodeSelector`),
    ports,
  };
}

function decodeContainerPorts(fields: Fields, container: Raw, path: string): readonly ContainerPort[] {
  const names = new Set<string>();
  const ports: ContainerPort[] = [];
  fields.list(container["ports"], `${path}.ports`).forEach((item, i) => {
    const at = `${path}.ports[${i}]`;
    const port = fields.object(item, at) ?? {};
    const name = fields.text(port["name"], `${at}.name`) || undefined;
    if (name !== undefined) {
      const fault = portNameFault(name);
      fields.check(`${at}.name`, name, fault);
      if (fault === undefined && names.has(name)) fields.duplicate(`${at}.name`, name);
      names.add(name);
    }
    const number = fields.integer(port["containerPort"], `${at}.containerPort`);
    if (number === undefined) fields.required(`${at}.containerPort`);
    else fields.check(`${at}.containerPort`, number, portNumberFault(number));
    ports.push({
      name,
      containerPort: number ?? 0,
      protocol: fields.oneOf(port["protocol"], `${at}.protocol`, protocols, "TCP"),
    });
  });
  return ports;
}

const serviceTypes = ["ClusterIP", "NodePort", "LoadBalancer", "ExternalName"] as const;
const trafficPolicies = ["Cluster", "Local"] as const;

export function decodeService(fields: Fields, raw: Raw, source: SourceRef | undefined): ServiceInput {
  const meta = decodeMeta(fields, raw, source, dnsLabel1035Fault);
  const spec = fields.object(raw["spec"], "spec") ?? {};
  const status = fields.object(raw["status"], "status") ?? {};
  const type = fields.oneOf(spec["type"], "spec.type", serviceTypes, "ClusterIP");
  const listed = fields.texts(spec["clusterIPs"], "spec.clusterIPs");
  const single = fields.text(spec["clusterIP"], "spec.clusterIP");
  const given = listed.length > 0 ? listed : single ? [single] : [];
  const headless = given.includes("None");
  const ingress = fields.list(
    fields.object(status["loadBalancer"], "status.loadBalancer")?.["ingress"],
    "status.loadBalancer.ingress",
  );
  const balancer = ingress
    .map((item, i) => fields.object(item, `status.loadBalancer.ingress[${i}]`) ?? {})
    .filter((item) => item["ipMode"] !== "Proxy")
    .map((item) => item["ip"])
    .filter((ip) => typeof ip === "string" && ip !== "");
  const affinity = fields.object(
    fields.object(spec["sessionAffinityConfig"], "spec.sessionAffinityConfig")?.["clientIP"],
    "spec.sessionAffinityConfig.clientIP",
  );
  return {
    kind: "Service",
    ...meta,
    type,
    selector: serviceSelector(fields, spec["selector"]),
    ports: fields
      .list(spec["ports"], "spec.ports")
      .map((port, i) => decodeServicePort(fields, port, `spec.ports[${i}]`)),
    clusterIPs: headless ? [] : ips(fields, given, "spec.clusterIPs"),
    headless,
    wantsClusterIP: type !== "ExternalName" && !headless && given.length === 0,
    wantsNodePorts: spec["allocateLoadBalancerNodePorts"] !== false,
    isDualStack: ["PreferDualStack", "RequireDualStack"].includes(String(spec["ipFamilyPolicy"])),
    wantedLoadBalancerIPs: ips(
      fields,
      [spec["loadBalancerIP"]].filter((ip) => typeof ip === "string" && ip !== ""),
      "spec.loadBalancerIP",
    ),
    publishNotReadyAddresses: fields.boolean(
      spec["publishNotReadyAddresses"],
      "spec.publishNotReadyAddresses",
    ),
    externalIPs: ips(fields, fields.texts(spec["externalIPs"], "spec.externalIPs"), "spec.externalIPs"),
    loadBalancerIPs: ips(fields, [...new Set(balancer)], "status.loadBalancer.ingress"),
    loadBalancerSourceRanges: fields
      .texts(spec["loadBalancerSourceRanges"], "spec.loadBalancerSourceRanges")
      .map((text, i) => decodeCidr(fields, text.trim(), `spec.loadBalancerSourceRanges[${i}]`))
      .filter((cidr) => cidr !== undefined),
    externalTrafficPolicy: fields.oneOf(
      spec["externalTrafficPolicy"],
      "spec.externalTrafficPolicy",
      trafficPolicies,
      "Cluster",
    ),
    internalTrafficPolicy: fields.oneOf(
      spec["internalTrafficPolicy"],
      "spec.internalTrafficPolicy",
      trafficPolicies,
      "Cluster",
    ),
    healthCheckNodePort: fields.integer(spec["healthCheckNodePort"], "spec.healthCheckNodePort") || undefined,
    sessionAffinitySeconds:
      spec["sessionAffinity"] === "ClientIP"
        ? (fields.integer(
            affinity?.["timeoutSeconds"],
            "spec.sessionAffinityConfig.clientIP.timeoutSeconds",
          ) ?? 10_800)
        : undefined,
  };
}

/** An empty selector is none: the API server's storage does not keep empty maps. */
function serviceSelector(fields: Fields, value: unknown): Labels | undefined {
  if (value === undefined || value === null) return undefined;
  const selector = fields.labels(value, "spec.selector");
  return Object.keys(selector).length === 0 ? undefined : selector;
}

function decodeServicePort(fields: Fields, value: unknown, path: string): ServicePort {
  const raw = fields.object(value, path) ?? {};
  const port = fields.integer(raw["port"], `${path}.port`);
  if (port === undefined) fields.required(`${path}.port`);
  else fields.check(`${path}.port`, port, portNumberFault(port));
  return {
    name: fields.text(raw["name"], `${path}.name`) || undefined,
    protocol: fields.oneOf(raw["protocol"], `${path}.protocol`, protocols, "TCP"),
    port: port ?? 0,
    targetPort: decodePortValue(fields, raw["targetPort"] || undefined, `${path}.targetPort`) ?? port ?? 0,
    nodePort: fields.integer(raw["nodePort"], `${path}.nodePort`) || undefined,
  };
}

export function decodeEndpointSlice(fields: Fields, raw: Raw, source: SourceRef | undefined): EndpointSlice {
  const meta = decodeMeta(fields, raw, source, dnsSubdomainFault);
  return {
    kind: "EndpointSlice",
    ...meta,
    serviceName: meta.labels["kubernetes.io/service-name"] ?? "",
    derived: false,
    ports: fields
      .list(raw["ports"], "ports")
      .map((port, i) => decodeEndpointPort(fields, port, `ports[${i}]`)),
    endpoints: fields.list(raw["endpoints"], "endpoints").map((item, i) => {
      const endpoint = fields.object(item, `endpoints[${i}]`) ?? {};
      const conditions = fields.object(endpoint["conditions"], `endpoints[${i}].conditions`) ?? {};
      return {
        ips: ips(
          fields,
          fields.texts(endpoint["addresses"], `endpoints[${i}].addresses`),
          `endpoints[${i}].addresses`,
        ),
        nodeName: fields.text(endpoint["nodeName"], `endpoints[${i}].nodeName`),
        ready: conditions["ready"] !== false,
        serving: (conditions["serving"] ?? conditions["ready"]) !== false,
        terminating: conditions["terminating"] === true,
      };
    }),
  };
}

/** core/v1 Endpoints, the older form: one slice per subset. */
export function decodeEndpoints(
  fields: Fields,
  raw: Raw,
  source: SourceRef | undefined,
): readonly EndpointSlice[] {
  const meta = decodeMeta(fields, raw, source, dnsSubdomainFault);
  return fields.list(raw["subsets"], "subsets").map((item, i): EndpointSlice => {
    const subset = fields.object(item, `subsets[${i}]`) ?? {};
    const addresses = (field: string, ready: boolean): EndpointSlice["endpoints"] =>
      fields.list(subset[field], `subsets[${i}].${field}`).map((address, j) => {
        const path = `subsets[${i}].${field}[${j}]`;
        const one = fields.object(address, path) ?? {};
        const ip = decodeIp(fields, one["ip"], `${path}.ip`);
        return {
          ips: ip === undefined ? [] : [ip],
          nodeName: fields.text(one["nodeName"], `${path}.nodeName`),
          ready,
          serving: ready,
          terminating: false,
        };
      });
    return {
      kind: "EndpointSlice",
      ...meta,
      name: `${meta.name}-${i}`,
      serviceName: meta.name,
      derived: false,
      ports: fields
        .list(subset["ports"], `subsets[${i}].ports`)
        .map((port, j) => decodeEndpointPort(fields, port, `subsets[${i}].ports[${j}]`)),
      endpoints: [...addresses("addresses", true), ...addresses("notReadyAddresses", false)],
    };
  });
}

function decodeEndpointPort(fields: Fields, value: unknown, path: string): EndpointSlice["ports"][number] {
  const raw = fields.object(value, path) ?? {};
  return {
    name: fields.text(raw["name"], `${path}.name`) || undefined,
    protocol: fields.oneOf(raw["protocol"], `${path}.protocol`, protocols, "TCP"),
    port: fields.integer(raw["port"], `${path}.port`) ?? 0,
  };
}

function decodeIps(fields: Fields, status: Raw, many: string, one: string): readonly Ip[] {
  const list = fields.list(status[many], `status.${many}`);
  if (list.length > 0)
    return list
      .map((item, i) =>
        decodeIp(fields, fields.object(item, `status.${many}[${i}]`)?.["ip"], `status.${many}[${i}].ip`),
      )
      .filter((ip) => ip !== undefined);
  const ip = decodeIp(fields, status[one], `status.${one}`);
  return ip === undefined ? [] : [ip];
}

function decodeIp(fields: Fields, value: unknown, path: string): Ip | undefined {
  const text = fields.text(value, path);
  if (text === undefined || text === "") return undefined;
  const ip = parseIp(text);
  if (ip === undefined)
    fields.invalid(path, text, "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)");
  return ip;
}

function ips(fields: Fields, texts: readonly unknown[], path: string): readonly Ip[] {
  return texts.map((text, i) => decodeIp(fields, text, `${path}[${i}]`)).filter((ip) => ip !== undefined);
}

function decodeCidr(fields: Fields, text: string, path: string): Cidr | undefined {
  const cidr = parseCidr(text);
  if (cidr === undefined)
    fields.invalid(path, text, "must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)");
  return cidr;
}
