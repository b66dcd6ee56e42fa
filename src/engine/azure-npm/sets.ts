/**
 * NPM's ipsets: which there are and who is in them, kept up to date one pod, namespace and policy at a time. `compile`
 * adds everything to an empty cache; the agent goes on adding and removing, and writes the difference to the kernel.
 * Governing source: azure-container-networking npm/pkg/dataplane/ipsets and the v2 pod and namespace controllers.
 */
import { formatIp } from "../../addr/index.ts";
import {
  hostEntry,
  type IpsetCommand,
  type IpsetEntry,
  type IpsetRepr,
  type IpsetType,
  maxelemDefault,
} from "../../filter/ipset/index.ts";
import { isEnded, type Namespace, type Pod } from "../../k8s/index.ts";
import type { Collision } from "./owners.ts";
import {
  allNamespacesSet,
  namedPortSet,
  namespaceLabelSet,
  namespaceSet,
  podLabelSet,
  type SetMatch,
  type SetName,
  type TranslatedPolicy,
} from "./translate.ts";
import type { NpmVariant } from "./versions.ts";

const protocolNumber = { TCP: 6, UDP: 17, SCTP: 132 } as const;

/** Every member that NPM sets for CIDR sets, so that policies with many blocks fit. */
const cidrMaxelem = 4_294_967_295;

interface Member {
  readonly entry: IpsetEntry;
  /** Who put the address there last; only that one may take it away (addresses are re-used). */
  owner: string;
}

interface CachedSet {
  readonly name: string;
  readonly readable: SetName;
  readonly type: IpsetType;
  readonly members: Map<string, Member>;
  /** Policies whose rules (or nested lists) name it. */
  readonly users: Set<string>;
  /** Lists that it is a member of. */
  lists: number;
}

export class SetCache {
  readonly #variant: NpmVariant;
  readonly #sets = new Map<string, CachedSet>();
  readonly #kernelNames = new Map<string, string>();
  /** Commands since the last `drain`, by group in the order of NPM's restore file. */
  #pending: {
    readonly creates: IpsetCommand[];
    readonly changes: IpsetCommand[];
    readonly flushes: IpsetCommand[];
    readonly destroys: IpsetCommand[];
  };

  /** What the kernel was told last, with ApplyIPSetsOnNeed. */
  #told: ReadonlyMap<string, IpsetRepr> = new Map();

  constructor(variant: NpmVariant) {
    this.#variant = variant;
    this.#pending = { creates: [], changes: [], flushes: [], destroys: [] };
    this.#ensure(allNamespacesSet);
  }

  kernelName(set: SetName): string {
    let name = this.#kernelNames.get(set.text);
    if (name === undefined) {
      name = this.#variant.naming.setName(set.text);
      this.#kernelNames.set(set.text, name);
    }
    return name;
  }

  addPod(pod: Pod): void {
    for (const [set, key, entry] of podMembers(pod))
      this.#add(set, key, entry, `${pod.namespace}/${pod.name}`);
  }

  removePod(pod: Pod): void {
    for (const [set, key] of podMembers(pod)) this.#remove(set, key, `${pod.namespace}/${pod.name}`);
  }

  /** From one form of a pod to the next: what both have is not touched. */
  updatePod(old: Pod, pod: Pod): void {
    const kept = new Set(podMembers(pod).map(([set, key]) => `${set.text}\0${key}`));
    for (const [set, key] of podMembers(old))
      if (!kept.has(`${set.text}\0${key}`)) this.#remove(set, key, `${old.namespace}/${old.name}`);
    this.addPod(pod);
  }

  addNamespace(namespace: Namespace): void {
    const own = namespaceSet(namespace.name);
    this.#ensure(own);
    const entry: IpsetEntry = { set: this.kernelName(own) };
    for (const list of namespaceLists(namespace)) this.#add(list, own.text, entry, namespace.name);
  }

  removeNamespace(namespace: Namespace): void {
    for (const list of namespaceLists(namespace))
      this.#remove(list, namespaceSet(namespace.name).text, namespace.name);
  }

  updateNamespace(old: Namespace, namespace: Namespace): void {
    const kept = new Set(namespaceLists(namespace).map((list) => list.text));
    for (const list of namespaceLists(old))
      if (!kept.has(list.text)) this.#remove(list, namespaceSet(old.name).text, old.name);
    this.addNamespace(namespace);
  }

  /** A set that a policy needs and whose kernel name another set has. */
  collision(policy: TranslatedPolicy): Collision | undefined {
    for (const set of withMembers(policySets(policy))) {
      const name = this.kernelName(set);
      const owner = this.#sets.get(name)?.readable.text;
      if (owner !== undefined && owner !== set.text) return { name, owner };
    }
    return undefined;
  }

  addPolicy(policy: TranslatedPolicy): void {
    const sets = policySets(policy);
    for (const set of withMembers(sets)) this.#ensure(set)?.users.add(policy.key);
    for (const set of sets) {
      if (set.kind === "cidr") {
        for (const { net, nomatch } of set.members)
          this.#add(
            set,
            `${formatIp(net)}/${net.prefix}`,
            { net, ...(nomatch ? { nomatch } : {}) },
            policy.key,
          );
      } else if (set.kind === "nested-label") {
        for (const member of set.members)
          this.#add(set, member.text, { set: this.kernelName(member) }, policy.key);
      }
    }
  }

  /** Drops references; sets that nobody needs any more go at once: the policy's own, and labels that no pod has. */
  removePolicy(policy: TranslatedPolicy): void {
    const sets = policySets(policy);
    for (const set of withMembers(sets)) this.#sets.get(this.kernelName(set))?.users.delete(policy.key);
    for (const set of sets) {
      if (set.kind !== "cidr" && set.kind !== "nested-label") continue;
      const cached = this.#sets.get(this.kernelName(set));
      if (cached !== undefined && cached.users.size === 0) this.#empty(cached);
    }
    for (const set of withMembers(sets)) {
      const cached = this.#sets.get(this.kernelName(set));
      if (cached !== undefined && isUnneeded(cached)) this.#destroy(cached);
    }
  }

  /** The five-minute task: sets without members that nothing uses go away. */
  collectGarbage(): void {
    for (const set of [...this.#sets.values()]) if (isUnneeded(set)) this.#destroy(set);
  }

  /** What `ipset restore` is to be told, and forgets it. */
  drain(): readonly IpsetCommand[] {
    const { creates, changes, flushes, destroys } = this.#pending;
    this.#pending = { creates: [], changes: [], flushes: [], destroys: [] };
    if (this.#variant.onNeed) return this.#drainNeeded();
    return [...creates, ...changes, ...flushes, ...destroys];
  }

  /** With ApplyIPSetsOnNeed the kernel follows what is needed: the difference to what it was told last. */
  #drainNeeded(): readonly IpsetCommand[] {
    const [before, now] = [this.#told, this.toReprs()];
    this.#told = now;
    const creates: IpsetCommand[] = [];
    const changes: IpsetCommand[] = [];
    const flushes: IpsetCommand[] = [];
    const destroys: IpsetCommand[] = [];
    for (const [name, { type, maxelem, title, entries }] of now) {
      const old = before.get(name);
      if (old === undefined)
        creates.push({
          op: "create",
          name,
          type,
          family: 4,
          exist: true,
          ...(title ? { title } : {}),
          ...(maxelem === cidrMaxelem ? { maxelem } : {}),
        });
      for (const entry of old?.entries ?? [])
        if (!entries.includes(entry)) changes.push({ op: "del", name, entry, exist: false });
      for (const entry of entries)
        if (!old?.entries.includes(entry)) changes.push({ op: "add", name, entry, exist: false });
    }
    for (const name of before.keys()) {
      if (now.has(name)) continue;
      flushes.push({ op: "flush", name });
      destroys.push({ op: "destroy", name });
    }
    return [...creates, ...changes, ...flushes, ...destroys];
  }

  /** The sets as data; with ApplyIPSetsOnNeed only those that policies (or lists that they use) name. */
  toReprs(): ReadonlyMap<string, IpsetRepr> {
    const needed = this.#variant.onNeed ? this.#neededNames() : undefined;
    const reprs = new Map<string, IpsetRepr>();
    for (const set of this.#sets.values())
      if (needed === undefined || needed.has(set.name)) reprs.set(set.name, toRepr(set));
    return reprs;
  }

  /** Whether all the sets hold the address; lists hold what their members do. */
  holdsAll(matches: readonly SetMatch[], address: string): boolean {
    return matches.every(({ set }) => this.#holds(this.kernelName(set), address));
  }

  #holds(name: string, address: string): boolean {
    const set = this.#sets.get(name);
    if (set === undefined) return false;
    if (set.type !== "list:set") return set.members.has(address);
    return [...set.members.values()].some(
      ({ entry }) => entry.set !== undefined && this.#holds(entry.set, address),
    );
  }

  #neededNames(): ReadonlySet<string> {
    const names = new Set<string>();
    for (const set of this.#sets.values()) {
      if (set.users.size === 0) continue;
      names.add(set.name);
      for (const { entry } of set.members.values()) if (entry.set !== undefined) names.add(entry.set);
    }
    return names;
  }

  /** `undefined`: another set has the kernel name, and NPM refuses to mix them. */
  #ensure(readable: SetName): CachedSet | undefined {
    const name = this.kernelName(readable);
    const known = this.#sets.get(name);
    if (known !== undefined)
      return known.readable.text !== readable.text && this.#variant.naming.refusesCollisions
        ? undefined
        : known;
    const set: CachedSet = {
      name,
      readable,
      type: typeOf(readable),
      members: new Map(),
      users: new Set(),
      lists: 0,
    };
    this.#sets.set(name, set);
    this.#pending.creates.push({
      op: "create",
      name,
      type: set.type,
      family: 4,
      exist: true,
      title: readable.text,
      ...(readable.kind === "cidr" ? { maxelem: cidrMaxelem } : {}),
    });
    return set;
  }

  #add(readable: SetName, key: string, entry: IpsetEntry, owner: string): void {
    const set = this.#ensure(readable);
    if (set === undefined) return;
    const member = set.members.get(key);
    if (member !== undefined) {
      member.owner = owner;
      return;
    }
    set.members.set(key, { entry, owner });
    this.#countLists(entry, 1);
    this.#pending.changes.push({ op: "add", name: set.name, entry, exist: false });
  }

  #remove(readable: SetName, key: string, owner: string): void {
    const set = this.#sets.get(this.kernelName(readable));
    const member = set?.members.get(key);
    if (set === undefined || member === undefined || member.owner !== owner) return;
    set.members.delete(key);
    this.#countLists(member.entry, -1);
    this.#pending.changes.push({ op: "del", name: set.name, entry: member.entry, exist: false });
  }

  #countLists({ set: name }: IpsetEntry, change: 1 | -1): void {
    const member = name === undefined ? undefined : this.#sets.get(name);
    if (member !== undefined) member.lists += change;
  }

  /** Takes the members out of a set that is about to be flushed. */
  #empty(set: CachedSet): void {
    for (const { entry } of set.members.values()) this.#countLists(entry, -1);
    set.members.clear();
  }

  #destroy(set: CachedSet): void {
    this.#sets.delete(set.name);
    this.#pending.flushes.push({ op: "flush", name: set.name });
    this.#pending.destroys.push({ op: "destroy", name: set.name });
  }
}

/** Nothing is in it, no rule and no list names it. The list of all namespaces is always there. */
function isUnneeded({ members, users, lists, readable }: CachedSet): boolean {
  return members.size === 0 && users.size === 0 && lists === 0 && readable.text !== allNamespacesSet.text;
}

function toRepr({ name, readable, type, members }: CachedSet): IpsetRepr {
  const entries = [...members.values()].map((member) => member.entry);
  const maxelem = readable.kind === "cidr" ? cidrMaxelem : type === "list:set" ? 8 : maxelemDefault;
  return { name, type, family: 4, hashsize: 1024, maxelem, entries, title: readable.text };
}

function typeOf(set: SetName): IpsetType {
  switch (set.kind) {
    case "namespace":
    case "pod-label":
    case "cidr":
      return "hash:net";
    case "named-port":
      return "hash:ip,port";
    case "namespace-label":
    case "nested-label":
      return "list:set";
  }
}

/** Sets of the rules of a policy, each once. */
function policySets(policy: TranslatedPolicy): readonly SetName[] {
  const matches = [
    ...policy.selector,
    ...policy.acls.flatMap((acl) => [...acl.peers, ...(acl.namedPort === undefined ? [] : [acl.namedPort])]),
  ];
  return [...new Map(matches.map(({ set }) => [set.text, set])).values()];
}

/** Sets with the members of the lists among them: lists first, so that what they let go can be let go in turn. */
function withMembers(sets: readonly SetName[]): readonly SetName[] {
  const members = sets.flatMap((set) => (set.kind === "nested-label" ? set.members : []));
  return [...new Map([...sets, ...members].map((set) => [set.text, set])).values()];
}

/** NPM knows pods by their IPv4 address; pods on the host's network and ended pods are none of its business. */
export function isWatched(pod: Pod): boolean {
  return !pod.hostNetwork && !isEnded(pod) && pod.ips.some((ip) => ip.family === 4);
}

const memberships = new WeakMap<Pod, readonly (readonly [SetName, string, IpsetEntry])[]>();

/** Set, key within the set, and entry; all entries of a pod's address are one object. */
function podMembers(pod: Pod): readonly (readonly [SetName, string, IpsetEntry])[] {
  let members = memberships.get(pod);
  if (members === undefined) {
    members = listPodMembers(pod);
    memberships.set(pod, members);
  }
  return members;
}

function listPodMembers(pod: Pod): readonly (readonly [SetName, string, IpsetEntry])[] {
  const ip = pod.ips.find((one) => one.family === 4);
  if (ip === undefined || !isWatched(pod)) return [];
  const text = formatIp(ip);
  const entry = hostEntry(ip);
  const members: (readonly [SetName, string, IpsetEntry])[] = [[namespaceSet(pod.namespace), text, entry]];
  for (const [key, value] of Object.entries(pod.labels))
    members.push([podLabelSet(key), text, entry], [podLabelSet(key, value), text, entry]);
  for (const { name, protocol, containerPort, ofSidecar } of pod.ports) {
    if (name === undefined || ofSidecar) continue; // NPM looks at app containers only
    const portEntry: IpsetEntry = { ...entry, protocol: protocolNumber[protocol], port: containerPort };
    members.push([namedPortSet(name), `${text},${protocol}:${containerPort}`, portEntry]);
  }
  return members;
}

function namespaceLists(namespace: Namespace): readonly SetName[] {
  const lists = [allNamespacesSet];
  for (const [key, value] of Object.entries(namespace.labels))
    lists.push(namespaceLabelSet(key), namespaceLabelSet(key, value));
  return lists;
}
