/**
 * Objects to a virtual cluster, and edits of one. An edit is the same act as the first build: objects are applied to
 * a state (at first the empty one), and what they leave open - nodes, addresses, slices - is filled in. States are
 * values: an edit makes a new one that shares what did not change.
 */
import { type Family, formatIp, type Ip } from "../addr/index.ts";
import { InputError } from "../base/index.ts";
import type { ClusterOptions, ClusterState } from "./cluster.ts";
import type { PodInput } from "./decode-pod.ts";
import type { ServiceInput } from "./decode-service.ts";
import { deriveSlices } from "./endpoints.ts";
import { AddressPool } from "./ipam.ts";
import { type LoadedObjects, noObjects } from "./load.ts";
import { poolNode } from "./nodes.ts";
import { aksRefusals, type ClusterWords, parseClusterOptions } from "./options.ts";
import { isEnded } from "./phase.ts";
import { matchesSelector } from "./selector.ts";
import { ServiceAllocator } from "./service-defaults.ts";
import type { EndpointSlice, Namespace, Node, Pod, Service } from "./types.ts";
import { expandWorkload } from "./workloads.ts";

export interface BuildOptions {
  /** Emulate combinations that AKS refuses. */
  readonly force?: boolean;
  /** System of the nodes that are made up when the input names none. */
  readonly defaultOs?: "Linux" | "Windows";
}

export interface BuiltCluster {
  readonly state: ClusterState;
  /** What a person should know: pods that no node takes, objects ignored or replaced. */
  readonly warnings: readonly string[];
}

/**
 * Builds the cluster: nodes of the pools (or those given, or three Linux nodes), every object, addresses.
 * @throws InputError for options that AKS refuses (unless forced) and for exhausted ranges.
 */
export function buildCluster(
  objects: LoadedObjects,
  words: ClusterWords = {},
  build: BuildOptions = {},
): BuiltCluster {
  const options = withPools(parseClusterOptions(withFamilies(words, objects)), objects, build);
  const refusals = build.force ? [] : aksRefusals(options);
  if (refusals.length > 0)
    throw new InputError(
      refusals.map((message) => ({ code: "refused", path: "cluster", message: `AKS refuses: ${message}` })),
    );
  const empty: ClusterState = {
    options,
    namespaces: new Map(),
    nodes: new Map(),
    pods: new Map(),
    services: new Map(),
    endpointSlices: new Map(),
    networkPolicies: new Map(),
    vendor: new Map(),
  };
  const nodes = options.nodePools.flatMap((pool) =>
    Array.from({ length: pool.count }, (_, i) => poolNode(pool, i)),
  );
  const given = new Set(objects.nodes.map((node) => node.name));
  const built = applyObjects(empty, {
    ...objects,
    nodes: [...objects.nodes, ...nodes.filter((node) => !given.has(node.name))],
  });
  const notes = [...objects.ignored].map(([kind, count]) => `ignored ${count} ${kind}`);
  const replaced = objects.replaced.map((id) => `${id} is given more than once; the last one counts`);
  return { state: built.state, warnings: [...notes, ...replaced, ...built.warnings] };
}

/** Families that given addresses show, where the words do not say. */
function withFamilies(words: ClusterWords, objects: LoadedObjects): ClusterWords {
  if (words.ipFamilies !== undefined) return words;
  const seen = new Set<Family>();
  for (const pod of objects.pods) for (const ip of pod.ips) seen.add(ip.family);
  for (const node of objects.nodes) for (const ip of node.addresses) seen.add(ip.family);
  if (!seen.has(6)) return words;
  return { ...words, ipFamilies: [...seen].map((family) => (family === 4 ? "ipv4" : "ipv6")) };
}

function withPools(options: ClusterOptions, objects: LoadedObjects, build: BuildOptions): ClusterOptions {
  const named = objects.nodes.length > 0 || objects.pods.some((pod) => pod.nodeName !== undefined);
  if (options.nodePools.length > 0 || named) return options;
  const windows = build.defaultOs === "Windows";
  const pods =
    objects.pods.length +
    objects.workloads.reduce((sum, workload) => sum + Math.max(0, workload.replicas), 0);
  const pool = {
    name: windows ? "win" : "nodepool1",
    osType: windows ? ("Windows" as const) : ("Linux" as const),
    osSku: windows ? "Windows2022" : "Ubuntu",
    count: Math.max(3, Math.ceil(pods / 100)),
  };
  return { ...options, nodePools: [pool] };
}

/**
 * Applies objects as `kubectl apply` would: new ones are added, known ones replaced (a pod keeps its node and
 * addresses, a Service its cluster addresses). Namespaces that are only referred to come to exist.
 */
export function applyObjects(state: ClusterState, objects: LoadedObjects): BuiltCluster {
  const editor = new ClusterEditor(state);
  editor.apply(objects);
  return editor.finish();
}

/** Kinds that can be edited by name. */
export type EditableKind = "Namespace" | "Node" | "Pod" | "Service" | "NetworkPolicy";

/**
 * Deletes an object; a namespace takes everything in it along, a node its pods.
 * @throws InputError when there is no such object.
 */
export function deleteObject(
  state: ClusterState,
  kind: string,
  namespace: string,
  name: string,
): BuiltCluster {
  const editor = new ClusterEditor(state);
  if (!editor.delete(kind, namespace, name))
    throw new InputError([
      {
        code: "unknown-name",
        path: "",
        message: `no ${kind} ${scoped(kind, namespace, name)} in the cluster`,
      },
    ]);
  return editor.finish();
}

/** Sets (or with `null` removes) labels of a pod, namespace or node. @throws InputError when there is no such object. */
export function setLabels(
  state: ClusterState,
  kind: "Namespace" | "Node" | "Pod",
  namespace: string,
  name: string,
  changes: Readonly<Record<string, string | null>>,
): BuiltCluster {
  const editor = new ClusterEditor(state);
  if (!editor.label(kind, scoped(kind, namespace, name), changes))
    throw new InputError([
      {
        code: "unknown-name",
        path: "",
        message: `no ${kind} ${scoped(kind, namespace, name)} in the cluster`,
      },
    ]);
  return editor.finish();
}

function scoped(kind: string, namespace: string, name: string): string {
  return kind === "Namespace" || kind === "Node" ? name : `${namespace}/${name}`;
}

class ClusterEditor {
  readonly #before: ClusterState;
  readonly #namespaces: Map<string, Namespace>;
  readonly #nodes: Map<string, Node>;
  readonly #pods: Map<string, Pod>;
  readonly #services: Map<string, Service>;
  readonly #slices: Map<string, EndpointSlice>;
  readonly #policies: Map<
    string,
    ClusterState["networkPolicies"] extends ReadonlyMap<string, infer P> ? P : never
  >;
  readonly #vendor: Map<string, ReadonlyMap<string, never>>;
  readonly #pool: AddressPool;
  readonly #allocator: ServiceAllocator;
  readonly #warnings: string[] = [];
  readonly #podsPerNode = new Map<string, number>();

  constructor(state: ClusterState) {
    this.#before = state;
    this.#namespaces = new Map(state.namespaces);
    this.#nodes = new Map(state.nodes);
    this.#pods = new Map(state.pods);
    this.#services = new Map(state.services);
    this.#slices = new Map(state.endpointSlices);
    this.#policies = new Map(state.networkPolicies);
    this.#vendor = new Map(state.vendor) as never;
    this.#pool = new AddressPool(state);
    this.#allocator = new ServiceAllocator(this.#pool, state.services.values());
    for (const pod of state.pods.values()) this.#count(pod.nodeName);
  }

  apply(objects: LoadedObjects): void {
    for (const namespace of objects.namespaces) this.#namespaces.set(namespace.name, namespace);
    this.#addNodes(objects);
    const pods = [...objects.pods, ...this.#expand(objects)];
    for (const pod of pods) this.#pool.claim(pod.hostNetwork || isEnded(pod) ? [] : pod.ips);
    for (const pod of pods) this.#addPod(pod);
    for (const service of objects.services) this.#allocator.claim(service);
    for (const service of objects.services) this.#addService(service);
    for (const slice of objects.endpointSlices) this.#slices.set(`${slice.namespace}/${slice.name}`, slice);
    for (const policy of objects.policies) {
      this.#needNamespace(policy.namespace);
      this.#policies.set(`${policy.namespace}/${policy.name}`, policy);
    }
    for (const object of objects.vendor) {
      const kind = new Map(this.#vendor.get(object.kind) as ReadonlyMap<string, unknown> | undefined);
      kind.set(object.namespace === undefined ? object.name : `${object.namespace}/${object.name}`, object);
      this.#vendor.set(object.kind, kind as never);
    }
  }

  #needNamespace(name: string): void {
    if (this.#namespaces.has(name)) return;
    const labels = { "kubernetes.io/metadata.name": name };
    this.#namespaces.set(name, { kind: "Namespace", name, labels, annotations: {}, source: undefined });
  }

  #addNodes(objects: LoadedObjects): void {
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
    for (const node of withAddresses) this.#pool.claim(node.addresses);
    for (const node of withAddresses) {
      const old = this.#nodes.get(node.name);
      const addresses =
        node.addresses.length > 0 ? node.addresses : (old?.addresses ?? this.#pool.nodeAddresses());
      const podCidrs =
        node.podCidrs.length > 0 ? node.podCidrs : (old?.podCidrs ?? this.#pool.nodePodCidrs());
      const full: Node = { ...node, addresses, podCidrs };
      this.#nodes.set(node.name, full);
      if (old === undefined) this.#pool.addNode(full);
    }
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
          this.#pods.delete(key);
      pods.push(...expanded);
    }
    return pods;
  }

  #addPod(input: PodInput): void {
    const { nodeSelector, hostIPs: _, ...rest } = input;
    const key = `${input.namespace}/${input.name}`;
    this.#needNamespace(input.namespace);
    const old = this.#pods.get(key);
    const nodeName = input.nodeName ?? old?.nodeName ?? this.#schedule(nodeSelector);
    const node = nodeName === undefined ? undefined : this.#nodes.get(nodeName);
    if (node === undefined) {
      this.#warnings.push(`no node takes pod ${key}: it stays Pending without an address`);
      this.#pods.set(key, { ...rest, nodeName: "", phase: "Pending", ips: [] });
      return;
    }
    let ips = input.ips;
    if (input.hostNetwork) ips = node.addresses;
    else if (isEnded(input))
      ips = input.ips; // what it had; others may have it now
    else if (ips.length === 0)
      ips =
        old !== undefined && old.ips.length > 0 && !old.hostNetwork ? old.ips : this.#pool.podAddresses(node);
    if (old === undefined) this.#count(node.name);
    this.#pods.set(key, { ...rest, nodeName: node.name, ips });
  }

  /** The eligible node with the fewest pods; the earliest of equals. */
  #schedule(nodeSelector: PodInput["nodeSelector"]): string | undefined {
    const selector = { matchLabels: nodeSelector, matchExpressions: [] };
    let best: string | undefined;
    let fewest = Number.POSITIVE_INFINITY;
    for (const node of this.#nodes.values()) {
      const pods = this.#podsPerNode.get(node.name) ?? 0;
      if (pods >= fewest || node.unschedulable) continue;
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
    this.#services.set(key, this.#allocator.complete(input, this.#services.get(key)));
  }

  delete(kind: string, namespace: string, name: string): boolean {
    const key = scoped(kind, namespace, name);
    switch (kind) {
      case "Namespace":
        for (const map of [this.#pods, this.#services, this.#slices, this.#policies])
          for (const [id, object] of map) if (object.namespace === name) map.delete(id);
        return this.#namespaces.delete(name);
      case "Node":
        for (const [id, pod] of this.#pods) if (pod.nodeName === name) this.#pods.delete(id);
        return this.#nodes.delete(name);
      case "Pod":
        return this.#pods.delete(key);
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
    const map: Map<string, Namespace | Node | Pod> =
      kind === "Pod"
        ? (this.#pods as Map<string, never>)
        : kind === "Node"
          ? (this.#nodes as Map<string, never>)
          : (this.#namespaces as Map<string, never>);
    const object = map.get(key);
    if (object === undefined) return false;
    const labels: Record<string, string> = { ...object.labels };
    for (const [name, value] of Object.entries(changes)) {
      if (value === null) delete labels[name];
      else labels[name] = value;
    }
    if (kind === "Namespace") labels["kubernetes.io/metadata.name"] = object.name; // the API server puts it back
    map.set(key, { ...object, labels });
    return true;
  }

  finish(): BuiltCluster {
    const before = this.#before;
    const keep = <T>(old: ReadonlyMap<string, T>, now: Map<string, T>): ReadonlyMap<string, T> =>
      sameMap(old, now) ? old : now;
    const pods = keep(before.pods, this.#pods);
    const services = keep(before.services, this.#services);
    const isGiven = !sameMap(before.endpointSlices, this.#slices);
    if (pods !== before.pods || services !== before.services || isGiven) this.#deriveSlices();
    return {
      state: {
        options: before.options,
        namespaces: keep(before.namespaces, this.#namespaces),
        nodes: keep(before.nodes, this.#nodes),
        pods,
        services,
        endpointSlices: keep(before.endpointSlices, this.#slices),
        networkPolicies: keep(before.networkPolicies, this.#policies),
        vendor: keep(before.vendor as never, this.#vendor) as never,
      },
      warnings: this.#warnings,
    };
  }

  /** Slices of Services with a selector follow the pods, unless the input holds slices of the Service: these win. */
  #deriveSlices(): void {
    const podsOf = new Map<string, Pod[]>();
    for (const pod of this.#pods.values()) {
      const list = podsOf.get(pod.namespace);
      if (list === undefined) podsOf.set(pod.namespace, [pod]);
      else list.push(pod);
    }
    const given = new Set<string>();
    const before = new Map<string, EndpointSlice>();
    for (const [key, slice] of this.#slices) {
      const owner = `${slice.namespace}/${slice.serviceName}`;
      if (slice.derived) before.set(key, slice);
      if (slice.derived || !this.#services.has(owner)) this.#slices.delete(key);
      else given.add(owner);
    }
    for (const [owner, service] of this.#services) {
      if (given.has(owner)) continue;
      for (const slice of deriveSlices(service, podsOf.get(service.namespace) ?? [])) {
        const key = `${slice.namespace}/${slice.name}`;
        const old = before.get(key);
        this.#slices.set(key, old !== undefined && sameSlice(old, slice) ? old : slice);
      }
    }
  }
}

/** Equal in all that can differ between two slices of one name, so that a slice nobody changed stays the same object. */
function sameSlice(a: EndpointSlice, b: EndpointSlice): boolean {
  if (a.source !== b.source || a.ports.length !== b.ports.length) return false;
  if (a.endpoints.length !== b.endpoints.length) return false;
  const samePorts = a.ports.every(({ name, port, protocol }, i) => {
    const other = b.ports[i];
    return other?.name === name && other?.port === port && other?.protocol === protocol;
  });
  return (
    samePorts &&
    a.endpoints.every((one, i) => {
      const other = b.endpoints[i];
      return (
        other !== undefined &&
        one.nodeName === other.nodeName &&
        one.ready === other.ready &&
        one.serving === other.serving &&
        one.terminating === other.terminating &&
        one.ips.map(formatIp).join() === other.ips.map(formatIp).join()
      );
    })
  );
}

function sameMap<T>(a: ReadonlyMap<string, T>, b: ReadonlyMap<string, T>): boolean {
  if (a.size !== b.size) return false;
  for (const [key, value] of a) if (b.get(key) !== value) return false;
  return true;
}

/** A cluster without objects but its nodes. */
export function emptyCluster(words: ClusterWords = {}, build: BuildOptions = {}): ClusterState {
  return buildCluster(noObjects, words, build).state;
}
