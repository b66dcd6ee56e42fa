/**
 * One edit of a cluster: takes a state apart, changes it, fills in what objects leave open (nodes, addresses, ports,
 * slices), and puts together a new state that shares what did not change.
 */
import { formatIp, type Ip, ipEquals } from "../addr/index.ts";
import type { ClusterState } from "./cluster.ts";
import type { PodInput } from "./decode-pod.ts";
import type { ServiceInput } from "./decode-service.ts";
import { followPods } from "./endpoints.ts";
import { AddressPool, podsPerNodeMax } from "./ipam.ts";
import type { LoadedObjects } from "./load.ts";
import { poolNode } from "./nodes.ts";
import { isEnded } from "./phase.ts";
import { matchesSelector } from "./selector.ts";
import { ServiceAllocator } from "./service-defaults.ts";
import type { EndpointSlice, Namespace, NetworkPolicy, Node, Pod, Service, VendorObject } from "./types.ts";
import { expandWorkload } from "./workloads.ts";

/** A cluster, and what the user should know of how it was built. */
export interface BuiltCluster {
  readonly state: ClusterState;
  /** What a person should know: pods that no node takes, addresses given twice, objects ignored or replaced. */
  readonly warnings: readonly string[];
}

/** How an object of a kind is keyed in a state: `namespace/name`, or the name alone. */
export function scopedName(kind: string, namespace: string, name: string): string {
  return kind === "Namespace" || kind === "Node" ? name : `${namespace}/${name}`;
}

export class ClusterEditor {
  readonly #before: ClusterState;
  readonly #namespaces: Map<string, Namespace>;
  readonly #nodes: Map<string, Node>;
  readonly #pods: Map<string, Pod>;
  readonly #services: Map<string, Service>;
  readonly #slices: Map<string, EndpointSlice>;
  readonly #policies: Map<string, NetworkPolicy>;
  readonly #vendor: Map<string, ReadonlyMap<string, VendorObject>>;
  /** Made when the first object asks: most edits need no address. */
  #addresses: { readonly pool: AddressPool; readonly allocator: ServiceAllocator } | undefined;
  readonly #warnings: string[] = [];
  readonly #podsPerNode = new Map<string, number>();
  readonly #nodeOfHost = new Map<string, string>();

  constructor(state: ClusterState) {
    this.#before = state;
    this.#namespaces = new Map(state.namespaces);
    this.#nodes = new Map(state.nodes);
    this.#pods = new Map(state.pods);
    this.#services = new Map(state.services);
    this.#slices = new Map(state.endpointSlices);
    this.#policies = new Map(state.networkPolicies);
    this.#vendor = new Map(state.vendor);
    for (const pod of state.pods.values()) this.#count(pod.nodeName);
  }

  #take(): { readonly pool: AddressPool; readonly allocator: ServiceAllocator } {
    if (this.#addresses === undefined) {
      const pool = new AddressPool(this.#before);
      const allocator = new ServiceAllocator(pool, this.#before.services.values());
      this.#addresses = { pool, allocator };
    }
    return this.#addresses;
  }

  /** What the input gives is taken before anything is handed out. */
  apply(objects: LoadedObjects): void {
    for (const namespace of objects.namespaces) this.#namespaces.set(namespace.name, namespace);
    this.#claimPods(objects.pods);
    this.#addNodes(objects);
    const pods = [...objects.pods, ...this.#expand(objects)];
    if (pods.some((pod) => pod.nodeName === undefined && pod.hostIPs.length > 0)) this.#learnHosts();
    for (const pod of pods) this.#addPod(pod);
    for (const service of objects.services) this.#take().allocator.claim(service);
    for (const service of objects.services) this.#addService(service);
    for (const slice of objects.endpointSlices) {
      this.#needNamespace(slice.namespace);
      this.#slices.set(`${slice.namespace}/${slice.name}`, slice);
    }
    for (const policy of objects.policies) {
      this.#needNamespace(policy.namespace);
      this.#policies.set(`${policy.namespace}/${policy.name}`, policy);
    }
    for (const object of objects.vendor) {
      if (object.namespace !== undefined) this.#needNamespace(object.namespace);
      const kind = new Map(this.#vendor.get(object.kind));
      kind.set(object.namespace === undefined ? object.name : `${object.namespace}/${object.name}`, object);
      this.#vendor.set(object.kind, kind);
    }
  }

  #needNamespace(name: string): void {
    if (this.#namespaces.has(name)) return;
    const labels = { "kubernetes.io/metadata.name": name };
    this.#namespaces.set(name, { kind: "Namespace", name, labels, annotations: {}, source: undefined });
  }

  /** Addresses that the input gives to pods; of two running pods with one address the later one is told. */
  #claimPods(pods: readonly PodInput[]): void {
    for (const pod of pods) {
      if (pod.hostNetwork || isEnded(pod) || pod.ips.length === 0) continue;
      const key = `${pod.namespace}/${pod.name}`;
      const own = this.#pods.get(key)?.ips ?? [];
      const taken = this.#take().pool.claim(pod.ips.filter((ip) => !own.some((one) => ipEquals(one, ip))));
      for (const ip of taken) this.#warnings.push(`pod ${key} has the address ${formatIp(ip)} of another`);
    }
  }

  #addNodes(objects: LoadedObjects): void {
    if (objects.nodes.length === 0 && objects.pods.every((pod) => this.#isKnownNode(pod.nodeName))) return;
    const { pool } = this.#take();
    const named = objects.pods.map((pod) => pod.nodeName).filter((name) => name !== undefined);
    const listed = new Set(objects.nodes.map((node) => node.name));
    const hostIPs = new Map<string, readonly Ip[]>();
    for (const pod of objects.pods)
      if (pod.nodeName !== undefined && pod.hostIPs.length > 0) hostIPs.set(pod.nodeName, pod.hostIPs);
    const unlisted = [...new Set(named)].filter((name) => !listed.has(name) && !this.#nodes.has(name)).sort();
    const inputs: Node[] = [...objects.nodes, ...unlisted.map((name) => poolNode(undefined, name))];
    const withAddresses = inputs.map((node) =>
      node.addresses.length > 0 ? node : { ...node, addresses: hostIPs.get(node.name) ?? [] },
    );
    for (const node of withAddresses) {
      pool.claim(node.addresses);
      pool.claimRanges(node.podCidrs);
    }
    for (const node of withAddresses) {
      const old = this.#nodes.get(node.name);
      const addresses = node.addresses.length > 0 ? node.addresses : (old?.addresses ?? pool.nodeAddresses());
      const podCidrs = node.podCidrs.length > 0 ? node.podCidrs : (old?.podCidrs ?? pool.nodePodCidrs());
      const full: Node = { ...node, addresses, podCidrs };
      this.#nodes.set(node.name, full);
      if (old === undefined) pool.addNode(full);
    }
  }

  #isKnownNode(name: string | undefined): boolean {
    return name === undefined || this.#nodes.has(name);
  }

  /** Nodes by address, for pods of which only the host's address is given. */
  #learnHosts(): void {
    for (const node of this.#nodes.values())
      for (const ip of node.addresses) this.#nodeOfHost.set(formatIp(ip), node.name);
  }

  /** Pods of workloads, unless the input (a dump of a live cluster) holds pods that such a workload controls. */
  #expand(objects: LoadedObjects): readonly PodInput[] {
    const controlled = new Set(
      objects.pods.map((pod) => (pod.owner ? `${pod.owner.kind}/${pod.namespace}/${pod.owner.name}` : "")),
    );
    const workloads = new Map(objects.workloads.map((w) => [`${w.kind}/${w.namespace}/${w.name}`, w]));
    for (const workload of objects.workloads) {
      const id = `${workload.kind}/${workload.namespace}/${workload.name}`;
      // a live Deployment's pods belong to its ReplicaSet, which belongs to it
      if (controlled.has(id) && workload.owner)
        controlled.add(`${workload.owner.kind}/${workload.namespace}/${workload.owner.name}`);
    }
    const pods: PodInput[] = [];
    for (const workload of objects.workloads) {
      const { kind, namespace, name, owner } = workload;
      if (owner !== undefined && workloads.has(`${owner.kind}/${namespace}/${owner.name}`)) continue;
      if (controlled.has(`${kind}/${namespace}/${name}`)) continue;
      const expanded = expandWorkload(workload, this.#nodes.values());
      const kept = new Set(expanded.map((pod) => `${namespace}/${pod.name}`));
      for (const [key, pod] of this.#pods)
        if (
          pod.namespace === namespace &&
          pod.owner?.kind === kind &&
          pod.owner.name === name &&
          !kept.has(key)
        )
          this.#deletePod(key);
      pods.push(...expanded);
    }
    return pods;
  }

  #addPod(input: PodInput): void {
    const { nodeSelector, hostIPs, ...rest } = input;
    const key = `${input.namespace}/${input.name}`;
    this.#needNamespace(input.namespace);
    const old = this.#pods.get(key);
    const host = hostIPs.map((ip) => this.#nodeOfHost.get(formatIp(ip))).find((name) => name !== undefined);
    const kept = old?.nodeName === "" ? undefined : old?.nodeName;
    const nodeName = input.nodeName ?? host ?? kept ?? this.#schedule(nodeSelector);
    const node = nodeName === undefined ? undefined : this.#nodes.get(nodeName);
    if (old !== undefined && old.nodeName !== node?.name) this.#deletePod(key);
    if (node === undefined) {
      this.#warnings.push(`no node takes pod ${key}: it stays Pending without an address`);
      this.#pods.set(key, { ...rest, nodeName: "", phase: "Pending", ips: [] });
      return;
    }
    if (!this.#pods.has(key)) this.#count(node.name);
    this.#pods.set(key, { ...rest, nodeName: node.name, ips: this.#podIps(input, node, old) });
  }

  /** A pod that goes on where it was keeps its addresses; one that has ended keeps what it had, which others may have now. */
  #podIps(input: PodInput, node: Node, old: Pod | undefined): readonly Ip[] {
    if (input.hostNetwork) return node.addresses;
    if (input.ips.length > 0) return input.ips;
    const goesOn = old !== undefined && old.nodeName === node.name && !old.hostNetwork;
    if (isEnded(input)) return goesOn ? old.ips : [];
    if (goesOn && !isEnded(old) && old.ips.length > 0) return old.ips;
    return this.#take().pool.podAddresses(node);
  }

  #deletePod(key: string): boolean {
    const pod = this.#pods.get(key);
    if (pod === undefined) return false;
    this.#podsPerNode.set(pod.nodeName, (this.#podsPerNode.get(pod.nodeName) ?? 1) - 1);
    return this.#pods.delete(key);
  }

  /** The eligible node with the fewest pods; the earliest of equals. */
  #schedule(nodeSelector: PodInput["nodeSelector"]): string | undefined {
    const selector = { matchLabels: nodeSelector, matchExpressions: [] };
    let best: string | undefined;
    let fewest = Number.POSITIVE_INFINITY;
    for (const node of this.#nodes.values()) {
      const pods = this.#podsPerNode.get(node.name) ?? 0;
      if (pods >= fewest || pods >= podsPerNodeMax || node.unschedulable) continue;
      // without a selector pods go to Linux nodes where there are any, as AKS taints nothing but images decide
      if (!matchesSelector(selector, node.labels)) continue;
      if (node.os === "windows" && nodeSelector["kubernetes.io/os"] === undefined && this.#hasLinux())
        continue;
      best = node.name;
      fewest = pods;
    }
    return best;
  }

  #hasLinux(): boolean {
    for (const node of this.#nodes.values()) if (node.os === "linux") return true;
    return false;
  }

  #count(nodeName: string): void {
    this.#podsPerNode.set(nodeName, (this.#podsPerNode.get(nodeName) ?? 0) + 1);
  }

  #addService(input: ServiceInput): void {
    const key = `${input.namespace}/${input.name}`;
    this.#needNamespace(input.namespace);
    this.#services.set(key, this.#take().allocator.complete(input, this.#services.get(key)));
  }

  delete(kind: string, namespace: string, name: string): boolean {
    const key = scopedName(kind, namespace, name);
    switch (kind) {
      case "Namespace":
        for (const map of [this.#pods, this.#services, this.#slices, this.#policies])
          for (const [id, object] of map) if (object.namespace === name) map.delete(id);
        for (const [vendorKind, objects] of this.#vendor)
          this.#vendor.set(
            vendorKind,
            new Map([...objects].filter(([, object]) => object.namespace !== name)),
          );
        return this.#namespaces.delete(name);
      case "Node":
        for (const [id, pod] of this.#pods) if (pod.nodeName === name) this.#deletePod(id);
        return this.#nodes.delete(name);
      case "Pod":
        return this.#deletePod(key);
      case "Service":
        return this.#services.delete(key);
      case "NetworkPolicy":
        return this.#policies.delete(key);
      default:
        return this.#deleteOwned(kind, namespace, name) || this.#deleteVendor(kind, key, name);
    }
  }

  /** A workload stands only for its pods. */
  #deleteOwned(kind: string, namespace: string, name: string): boolean {
    let found = false;
    for (const [id, pod] of this.#pods) {
      if (pod.namespace !== namespace || pod.owner?.kind !== kind || pod.owner.name !== name) continue;
      this.#pods.delete(id);
      found = true;
    }
    return found;
  }

  #deleteVendor(kind: string, key: string, name: string): boolean {
    const map = new Map(this.#vendor.get(kind));
    const found = map.delete(key) || map.delete(name);
    if (found) this.#vendor.set(kind, map);
    return found;
  }

  label(
    kind: "Namespace" | "Node" | "Pod",
    key: string,
    changes: Readonly<Record<string, string | null>>,
  ): boolean {
    const map = { Namespace: this.#namespaces, Node: this.#nodes, Pod: this.#pods }[kind] as Map<
      string,
      Namespace | Node | Pod
    >;
    const object = map.get(key);
    if (object === undefined) return false;
    const labels = new Map(Object.entries(object.labels));
    for (const [name, value] of Object.entries(changes)) {
      if (value === null) labels.delete(name);
      else labels.set(name, value);
    }
    if (kind === "Namespace") labels.set("kubernetes.io/metadata.name", object.name); // the API server puts it back
    map.set(key, { ...object, labels: Object.fromEntries(labels) });
    return true;
  }

  finish(): BuiltCluster {
    const before = this.#before;
    const keep = <T>(old: ReadonlyMap<string, T>, now: Map<string, T>): ReadonlyMap<string, T> =>
      sameMap(old, now) ? old : now;
    const pods = keep(before.pods, this.#pods);
    const services = keep(before.services, this.#services);
    const isGiven = !sameMap(before.endpointSlices, this.#slices);
    if (pods !== before.pods || services !== before.services || isGiven)
      followPods(this.#services, this.#pods, this.#slices);
    return {
      state: {
        options: before.options,
        namespaces: keep(before.namespaces, this.#namespaces),
        nodes: keep(before.nodes, this.#nodes),
        pods,
        services,
        endpointSlices: keep(before.endpointSlices, this.#slices),
        networkPolicies: keep(before.networkPolicies, this.#policies),
        vendor: keep(before.vendor, this.#vendor),
      },
      warnings: this.#warnings,
    };
  }
}

function sameMap<T>(a: ReadonlyMap<string, T>, b: ReadonlyMap<string, T>): boolean {
  if (a.size !== b.size) return false;
  for (const [key, value] of a) if (b.get(key) !== value) return false;
  return true;
}
