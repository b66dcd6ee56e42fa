/**
 * Decoding of Services (core/v1) and of their endpoints in both forms, with the checks of the API server on types,
 * ports and names (kubernetes pkg/apis/core/validation, ValidateService).
 */
import type { Ip } from "../addr/index.ts";
import type { SourceRef } from "../base/index.ts";
import { decodeCidr, decodeIp, decodeIpList } from "./decode.ts";
import { corePortProtocols } from "./decode-pod.ts";
import type { Fields, Raw } from "./fields.ts";
import { decodeMeta } from "./meta.ts";
import { dnsLabel1035Faults, dnsLabelFaults, dnsSubdomainFaults, portNumberFaults } from "./names.ts";
import { decodePortValue } from "./policy.ts";
import type { EndpointSlice, Labels, Service, ServicePort } from "./types.ts";

/** A Service as given: what the API server and the cloud assign may be missing. */
export interface ServiceInput extends Service {
  readonly wantsClusterIP: boolean;
  readonly wantsNodePorts: boolean;
  readonly isDualStack: boolean;
  /** `spec.loadBalancerIP`: asked for, not yet given. */
  readonly wantedLoadBalancerIPs: readonly Ip[];
}

const serviceTypes = ["ClusterIP", "ExternalName", "LoadBalancer", "NodePort"] as const;
const trafficPolicies = ["Cluster", "Local"] as const;
const familyPolicies = ["SingleStack", "PreferDualStack", "RequireDualStack"] as const;
/** Seconds that affinity to a client lasts where the Service does not say. */
const affinityDefaultSeconds = 10_800;

export function decodeService(fields: Fields, raw: Raw, source: SourceRef | undefined): ServiceInput {
  const meta = decodeMeta(fields, raw, source, dnsLabel1035Faults);
  const spec = fields.object(raw["spec"], "spec") ?? {};
  const type = fields.oneOf(spec["type"], "spec.type", serviceTypes, "ClusterIP");
  const listed = fields.texts(spec["clusterIPs"], "spec.clusterIPs");
  const single = fields.text(spec["clusterIP"], "spec.clusterIP");
  const given = listed.length > 0 ? listed : single ? [single] : [];
  const headless = given.includes("None");
  const ports = decodeServicePorts(fields, spec, type, headless);
  const externalIPs = fields.texts(spec["externalIPs"], "spec.externalIPs");
  const familyPolicy = fields.oneOf(
    spec["ipFamilyPolicy"],
    "spec.ipFamilyPolicy",
    familyPolicies,
    "SingleStack",
  );
  return {
    kind: "Service",
    ...meta,
    type,
    selector: serviceSelector(fields, spec["selector"]),
    ports,
    clusterIPs: headless ? [] : decodeIpList(fields, given, "spec.clusterIPs"),
    headless,
    wantsClusterIP: type !== "ExternalName" && !headless && given.length === 0,
    wantsNodePorts: spec["allocateLoadBalancerNodePorts"] !== false,
    isDualStack: familyPolicy !== "SingleStack",
    wantedLoadBalancerIPs: decodeIpList(
      fields,
      [spec["loadBalancerIP"]].filter((ip) => typeof ip === "string" && ip !== ""),
      "spec.loadBalancerIP",
    ),
    publishNotReadyAddresses: fields.boolean(
      spec["publishNotReadyAddresses"],
      "spec.publishNotReadyAddresses",
    ),
    externalIPs: decodeIpList(fields, externalIPs, "spec.externalIPs"),
    loadBalancerIPs: loadBalancerIPs(fields, raw),
    loadBalancerSourceRanges: sourceRanges(fields, spec, type),
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
    sessionAffinitySeconds: sessionAffinity(fields, spec),
  };
}

/** An empty selector is none: the API server's storage does not keep empty maps. */
function serviceSelector(fields: Fields, value: unknown): Labels | undefined {
  if (value === undefined || value === null) return undefined;
  const selector = fields.labels(value, "spec.selector");
  return Object.keys(selector).length === 0 ? undefined : selector;
}

function loadBalancerIPs(fields: Fields, raw: Raw): readonly Ip[] {
  const status = fields.object(raw["status"], "status") ?? {};
  const path = "status.loadBalancer.ingress";
  const texts = fields
    .list(fields.object(status["loadBalancer"], "status.loadBalancer")?.["ingress"], path)
    .map((item, i) => fields.object(item, `${path}[${i}]`) ?? {})
    .filter((item) => item["ipMode"] !== "Proxy")
    .map((item) => item["ip"])
    .filter((ip) => typeof ip === "string" && ip !== "");
  return decodeIpList(fields, [...new Set(texts)], path);
}

/** The API server's error paths have a capital L here. */
function sourceRanges(fields: Fields, spec: Raw, type: Service["type"]): Service["loadBalancerSourceRanges"] {
  const at = "spec.loadBalancerSourceRanges";
  const path = "spec.LoadBalancerSourceRanges";
  const texts = fields.texts(spec["loadBalancerSourceRanges"], at);
  if (texts.length > 0 && type !== "LoadBalancer")
    fields.forbidden(path, "may only be used when `type` is 'LoadBalancer'", at);
  return texts
    .map((text, i) => decodeCidr(fields, text.trim(), `${path}[${i}]`, `${at}[${i}]`))
    .filter((cidr) => cidr !== undefined);
}

function sessionAffinity(fields: Fields, spec: Raw): number | undefined {
  const kind = fields.oneOf(
    spec["sessionAffinity"],
    "spec.sessionAffinity",
    ["ClientIP", "None"] as const,
    "None",
  );
  const config = fields.object(spec["sessionAffinityConfig"], "spec.sessionAffinityConfig");
  const clientIP = fields.object(config?.["clientIP"], "spec.sessionAffinityConfig.clientIP");
  const path = "spec.sessionAffinityConfig.clientIP.timeoutSeconds";
  const seconds = fields.integer(clientIP?.["timeoutSeconds"], path);
  return kind === "ClientIP" ? (seconds ?? affinityDefaultSeconds) : undefined;
}

function decodeServicePorts(
  fields: Fields,
  spec: Raw,
  type: Service["type"],
  headless: boolean,
): readonly ServicePort[] {
  const list = fields.list(spec["ports"], "spec.ports");
  if (list.length === 0 && !headless && type !== "ExternalName") fields.required("spec.ports");
  const names = new Set<string>();
  const numbers = new Set<string>();
  const ports = list.map((item, i) => {
    const path = `spec.ports[${i}]`;
    const port = decodeServicePort(fields, item, path);
    if (port.name === undefined) {
      if (list.length > 1) fields.required(`${path}.name`);
    } else {
      if (names.has(port.name)) fields.duplicate(`${path}.name`, port.name);
      names.add(port.name);
    }
    return port;
  });
  ports.forEach((port, i) => {
    const path = `spec.ports[${i}]`;
    if (type === "ClusterIP" && port.nodePort !== undefined)
      fields.forbidden(`${path}.nodePort`, "may not be used when `type` is 'ClusterIP'");
    const key = `${port.protocol} ${port.port}`;
    if (numbers.has(key)) fields.duplicate(path, { protocol: port.protocol, port: port.port });
    numbers.add(key);
  });
  return ports;
}

function decodeServicePort(fields: Fields, value: unknown, path: string): ServicePort {
  const raw = fields.object(value, path) ?? {};
  const name = fields.text(raw["name"], `${path}.name`) || undefined;
  if (name !== undefined) fields.check(`${path}.name`, name, dnsLabelFaults(name));
  const port = fields.integer(raw["port"], `${path}.port`) ?? 0;
  fields.check(`${path}.port`, port, portNumberFaults(port));
  return {
    name,
    protocol: fields.oneOf(raw["protocol"], `${path}.protocol`, corePortProtocols, "TCP"),
    port,
    targetPort: decodePortValue(fields, raw["targetPort"] || undefined, `${path}.targetPort`) ?? port,
    nodePort: fields.integer(raw["nodePort"], `${path}.nodePort`) || undefined,
  };
}

export function decodeEndpointSlice(fields: Fields, raw: Raw, source: SourceRef | undefined): EndpointSlice {
  const meta = decodeMeta(fields, raw, source, dnsSubdomainFaults);
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
        ips: decodeIpList(
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
  const meta = decodeMeta(fields, raw, source, dnsSubdomainFaults);
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
    protocol: fields.oneOf(raw["protocol"], `${path}.protocol`, corePortProtocols, "TCP"),
    port: fields.integer(raw["port"], `${path}.port`) ?? 0,
  };
}
