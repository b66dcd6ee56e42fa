/**
 * A node's endpoints as `cilium endpoint list` prints them, and the identities that its maps name as `cilium identity
 * list` does. Of the agent's model of an endpoint (api/v1/models) those fields are there that follow from the cluster.
 * Governing source: cilium/cilium cilium-dbg/cmd/endpoint_list.go, identity_get.go, pkg/labels/labels.go.
 */
import { formatIp, type Ip } from "../../../addr/index.ts";
import type { Pod } from "../../../k8s/index.ts";
import type { EndpointPolicy, IdentityLabels } from "../policy/entry.ts";
import { type GoValue, goJson, goTable, type TableLine } from "./go-text.ts";

export interface EndpointListing {
  readonly id: number;
  readonly identity: number;
  /** As they are printed, sorted. */
  readonly labels: readonly string[];
  readonly interface: string;
  /** `undefined`: the node itself. */
  readonly pod: Pod | undefined;
  readonly policy: Pick<EndpointPolicy, "ingressEnforced" | "egressEnforced">;
}

/** Labels as Cilium prints them, sorted; a label without a value stands for itself. */
export function printedLabels(labels: IdentityLabels): readonly string[] {
  return Object.entries(labels)
    .map(([key, value]) => (value === "" ? key : `${key}=${value}`))
    .sort();
}

export function endpointsJson(endpoints: readonly EndpointListing[]): string {
  return goJson(endpoints.map(endpointJson));
}

function endpointJson({ id, identity, labels, interface: name, pod, policy }: EndpointListing): GoValue {
  const named = (pod?.ports ?? []).filter((port) => port.name !== undefined);
  const addressing = { ipv4: addressOf(pod?.ips, 4), ipv6: addressOf(pod?.ips, 6) };
  return {
    id,
    status: {
      "external-identifiers":
        pod === undefined
          ? undefined
          : {
              "k8s-namespace": pod.namespace,
              "k8s-pod-name": pod.name,
              "pod-name": `${pod.namespace}/${pod.name}`,
            },
      identity: { id: identity, labels },
      labels: { "security-relevant": labels },
      namedPorts:
        named.length === 0
          ? undefined
          : named.map((port) => ({ name: port.name, port: port.containerPort, protocol: port.protocol })),
      networking: { addressing: pod === undefined ? [] : [addressing], "interface-name": name },
      policy: { realized: { id: identity, "policy-enabled": enforcement(policy) } },
      state: "ready",
    },
  };
}

function addressOf(ips: readonly Ip[] = [], family: 4 | 6): string | undefined {
  const ip = ips.find((one) => one.family === family);
  return ip === undefined ? undefined : formatIp(ip);
}

function enforcement({ ingressEnforced, egressEnforced }: EndpointListing["policy"]): string {
  if (ingressEnforced) return egressEnforced ? "both" : "ingress";
  return egressEnforced ? "egress" : "none";
}

const titles = [
  "ENDPOINT",
  "POLICY (ingress)",
  "POLICY (egress)",
  "IDENTITY",
  "LABELS (source:key[=value])",
  "IPv6",
  "IPv4",
  "STATUS",
];

export function endpointsText(endpoints: readonly EndpointListing[]): string {
  const enabled = (isEnforced: boolean): string => (isEnforced ? "Enabled" : "Disabled");
  const rows = endpoints.flatMap(({ id, identity, labels, pod, policy }): readonly TableLine[] => {
    const [first = "no labels", ...others] = labels;
    const [ipv6 = "", ipv4 = ""] = [addressOf(pod?.ips, 6), addressOf(pod?.ips, 4)];
    const modes = [enabled(policy.ingressEnforced), enabled(policy.egressEnforced)];
    const cells = [String(id), ...modes, String(identity), first, ipv6, ipv4, "ready"];
    return [{ cells }, ...others.map((label) => ({ cells: ["", "", "", "", label, "", "", ""] }))];
  });
  const second = ["", "ENFORCEMENT", "ENFORCEMENT", "", "", "", ""];
  return goTable([{ cells: titles }, { cells: second }, ...rows], 5);
}

export interface IdentityListing {
  readonly id: number;
  /** As they are printed, sorted. */
  readonly labels: readonly string[];
}

export function identitiesJson(identities: readonly IdentityListing[]): string {
  return goJson(identities.map(({ id, labels }) => ({ id, labels })));
}

export function identitiesText(identities: readonly IdentityListing[]): string {
  const rows = identities.flatMap(({ id, labels: [first = "", ...others] }): readonly TableLine[] => [
    { cells: [String(id)], rest: first },
    ...others.map((label) => ({ cells: [""], rest: label })),
  ]);
  return goTable([{ cells: ["ID"], rest: "LABELS" }, ...rows], 2);
}
