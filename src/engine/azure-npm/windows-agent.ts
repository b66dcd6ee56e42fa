/**
 * NPM's agent on a Windows node: watch events in, set policies and endpoint policies of HNS out, in the order that the real
 * one keeps. Sets come before the ACLs that name them and go after them; an update is a removal and an addition; what
 * changes of pods and namespaces waits up to half a second, a policy does not. An ACL goes by giving the endpoint the rest
 * of its list. After a restart policies are listed three minutes before pods: until then nothing selects a pod, and all are
 * open. The cluster's own beginning is not a restart.
 */
import { formatIp } from "../../addr/index.ts";
import type { AclPolicy, HnsEndpoint, HnsOp, SetPolicy } from "../../filter/hns/index.ts";
import type { ClusterState, NetworkPolicy, Pod } from "../../k8s/index.ts";
import type { Agent, AgentContext, WatchEvent } from "../engine.ts";
import { aclIdPrefix, policyAcls, setPolicies } from "./hns.ts";
import { collisionDiagnostic, translationDiagnostic } from "./linux.ts";
import { setPrefix, specText } from "./naming.ts";
import { ChainOwners } from "./owners.ts";
import { isWatched } from "./pods.ts";
import { SetCache } from "./sets.ts";
import { type TranslatedPolicy, translatePolicy } from "./translate.ts";
import type { NpmVariant } from "./versions.ts";
import { aclsOn, negationDiagnostic } from "./windows.ts";

/** ApplyInBackground: how long a change of pods or namespaces waits at most, and how many do. */
const applyNs = 500e6;
const applyCallsMax = 100;
/** Between the policies' controller and those of pods and namespaces, at boot (npm.go). */
const bootGapNs = 180e9;
/** Period of the reconcile task. */
const reconcileNs = 300e9;
/** ACLs of one request to an endpoint (MaxBatchedACLsPerPod); a policy is never split. */
const batchedAclsMax = 30;

export function createWindowsAgent(variant: NpmVariant, context: AgentContext): Agent {
  return new WindowsAgent(variant, context);
}

/** `acls` is undefined where HNS conversion refused the policy. */
interface KnownPolicy {
  readonly translated: TranslatedPolicy;
  readonly spec: string;
  readonly acls: readonly AclPolicy[] | undefined;
}

class WindowsAgent implements Agent {
  readonly #variant: NpmVariant;
  readonly #context: AgentContext;
  #cache: SetCache;
  readonly #owners: ChainOwners;
  readonly #policies = new Map<string, KnownPolicy>();
  #hasStarted = false;
  /** Set while pods and namespaces are not listed yet. */
  #pendingState: ClusterState | undefined;
  #waitingCalls = 0;
  /** When what is to be done next is due. */
  readonly #due: { listPods?: number; apply?: number; reconcile?: number } = {};

  constructor(variant: NpmVariant, context: AgentContext) {
    this.#variant = variant;
    this.#context = context;
    this.#cache = new SetCache(variant);
    this.#owners = new ChainOwners(variant);
  }

  start(state: ClusterState): void {
    this.#forget();
    this.#request({ kind: "hns-flows", op: this.#variant.vfpFlows });
    this.#clear();
    this.#pendingState = state;
    for (const policy of state.networkPolicies.values()) this.#addPolicy(policy);
    this.#due.reconcile = this.#context.nowNs() + reconcileNs;
    if (this.#hasStarted) this.#due.listPods = this.#context.nowNs() + bootGapNs;
    else this.#listPods();
    this.#hasStarted = true;
    this.#schedule();
  }

  #schedule(): void {
    const { listPods = Infinity, apply = Infinity, reconcile = Infinity } = this.#due;
    const next = Math.min(listPods, apply, reconcile);
    if (Number.isFinite(next)) this.#context.wakeAt(next);
  }

  #listPods(): void {
    const state = this.#pendingState;
    if (state === undefined) return;
    this.#pendingState = undefined;
    delete this.#due.listPods;
    for (const namespace of state.namespaces.values()) this.#cache.addNamespace(namespace);
    for (const pod of state.pods.values()) if (this.#knows(pod)) this.#cache.addPod(pod);
    this.#apply();
  }

  #forget(): void {
    this.#cache = new SetCache(this.#variant);
    this.#policies.clear();
    this.#owners.clear();
    this.#pendingState = undefined;
    this.#waitingCalls = 0;
    for (const what of ["listPods", "apply", "reconcile"] as const) delete this.#due[what];
  }

  /** Every ACL of NPM's, then every set. */
  #clear(): void {
    for (const endpoint of this.#endpoints()) {
      const rest = endpoint.acls.filter((acl) => !isNpms(acl));
      if (rest.length < endpoint.acls.length) this.#request(updateOp(endpoint, rest));
    }
    this.#removeSets(this.#sets().filter(({ id }) => id.startsWith(setPrefix)));
  }

  #network(): string | undefined {
    return this.#context.tables().hns?.networks[0]?.id;
  }

  /** Those that pods are attached to: NPM asks HNS for no others. */
  #endpoints(): readonly HnsEndpoint[] {
    return (this.#context.tables().hns?.endpoints ?? []).filter(({ isRemote }) => !isRemote);
  }

  #sets(): readonly SetPolicy[] {
    return this.#context.tables().hns?.networks[0]?.sets ?? [];
  }

  event({ type, object, old, state }: WatchEvent): void {
    if (this.#pendingState !== undefined) this.#pendingState = state;
    switch (object.kind) {
      case "Namespace":
        if (this.#pendingState !== undefined) return;
        if (type === "deleted") this.#cache.removeNamespace(object);
        else if (type === "modified" && old?.kind === "Namespace") this.#cache.updateNamespace(old, object);
        else this.#cache.addNamespace(object);
        this.#applySoon();
        break;
      case "Pod":
        if (this.#pendingState !== undefined || !this.#knows(object)) return;
        if (type === "deleted") this.#cache.removePod(object);
        else if (type === "modified" && old?.kind === "Pod") this.#cache.updatePod(old, object);
        else this.#cache.addPod(object);
        this.#applySoon();
        break;
      case "NetworkPolicy":
        if (type === "deleted") this.#removePolicy(`${object.namespace}/${object.name}`);
        else this.#addPolicy(object);
        this.#apply();
        break;
      case "Node":
      case "Service":
      case "EndpointSlice":
      case "VendorObject":
        break; // NPM does not watch these
    }
  }

  #applySoon(): void {
    this.#waitingCalls++;
    if (this.#waitingCalls >= applyCallsMax) this.#apply();
    else if (this.#waitingCalls === 1) this.#due.apply = this.#context.nowNs() + applyNs;
    this.#schedule();
  }

  #knows(pod: Pod): boolean {
    return isWatched(pod, this.#context.node, this.#variant);
  }

  wake(): void {
    const now = this.#context.nowNs();
    const isDue = (atNs: number | undefined): boolean => atNs !== undefined && atNs <= now;
    if (isDue(this.#due.listPods)) this.#listPods();
    if (isDue(this.#due.apply)) this.#apply();
    if (isDue(this.#due.reconcile)) {
      this.#cache.collectGarbage();
      this.#apply();
      this.#due.reconcile = now + reconcileNs;
    }
    this.#schedule();
  }

  stop(): void {
    this.#forget();
    this.#clear();
  }

  /** As on Linux; one that HNS conversion refuses has lost the rules of its earlier form by then. */
  #addPolicy(source: NetworkPolicy): void {
    const key = `${source.namespace}/${source.name}`;
    const spec = specText(source);
    if (this.#policies.get(key)?.spec === spec) return;
    const translation = translatePolicy(source, this.#variant);
    if (!translation.ok) {
      this.#context.log(translationDiagnostic(source, translation));
      return;
    }
    const { policy } = translation;
    this.#removePolicy(key);
    const collision = this.#owners.claim(policy, this.#cache);
    if (collision !== undefined) {
      this.#context.log(collisionDiagnostic(policy, collision));
      return;
    }
    this.#cache.addPolicy(policy);
    const refusal = negationDiagnostic(source, policy);
    if (refusal !== undefined) this.#context.log(refusal);
    const acls =
      refusal === undefined
        ? policyAcls(policy, this.#variant, (set) => this.#cache.kernelName(set))
        : undefined;
    this.#policies.set(key, { translated: policy, spec, acls });
  }

  #removePolicy(key: string): void {
    const known = this.#policies.get(key);
    if (known === undefined) return;
    this.#policies.delete(key);
    this.#owners.release(key);
    this.#setAcls(); // before the sets that they name go
    this.#cache.removePolicy(known.translated);
  }

  /** Sets that ACLs will name, the ACLs of each endpoint, and then sets that nothing names any more. */
  #apply(): void {
    this.#waitingCalls = 0;
    delete this.#due.apply;
    this.#cache.drain();
    const wanted = setPolicies(this.#cache.toReprs(), this.#variant.naming.setName);
    const known = new Map(this.#sets().map((set) => [set.id, set]));
    for (const type of ["IPSET", "NESTEDIPSET"] as const) {
      const changed = wanted.filter((set) => set.type === type && !isSame(known.get(set.id), set));
      const network = this.#network();
      if (changed.length > 0 && network !== undefined)
        this.#request({ kind: "hns-sets", network, op: "put", sets: changed });
    }
    this.#setAcls();
    const kept = new Set(wanted.map(({ id }) => id));
    this.#removeSets([...known.values()].filter(({ id }) => id.startsWith(setPrefix) && !kept.has(id)));
  }

  /** Lists before the sets that are in them. */
  #removeSets(sets: readonly SetPolicy[]): void {
    const network = this.#network();
    if (network === undefined) return;
    for (const type of ["NESTEDIPSET", "IPSET"] as const) {
      const ids = sets.filter((set) => set.type === type).map(({ id }) => id);
      if (ids.length > 0) this.#request({ kind: "hns-sets", network, op: "remove", ids });
    }
  }

  /** Each endpoint loses the policies that do not select it any more, then gets those that now do. */
  #setAcls(): void {
    for (const endpoint of this.#endpoints()) {
      const ip = endpoint.addresses.find(({ family }) => family === 4);
      if (ip === undefined) continue;
      const address = formatIp(ip);
      const selecting = [...this.#policies.values()].filter(
        ({ translated, acls }) => acls !== undefined && this.#cache.holdsAll(translated.selector, address),
      );
      this.#setPolicies(endpoint, selecting);
    }
  }

  #setPolicies(endpoint: HnsEndpoint, selecting: readonly KnownPolicy[]): void {
    const lists = selecting.map(({ translated, acls = [] }) => aclsOn(this.#context.node, translated, acls));
    const wanted = new Set(lists.flat().map(aclText));
    const rest = endpoint.acls.filter((acl) => !isNpms(acl) || wanted.has(aclText(acl)));
    if (rest.length < endpoint.acls.length) this.#request(updateOp(endpoint, rest));
    const present = new Set(rest.filter(isNpms).map(aclText));
    const missing = lists.filter((acls) => acls.some((acl) => !present.has(aclText(acl))));
    let batch: AclPolicy[] = [];
    const send = (): void => {
      if (batch.length > 0)
        this.#request({ kind: "hns-acls", op: "add", endpoint: endpoint.id, acls: batch });
      batch = [];
    };
    for (const acls of missing) {
      if (batch.length > 0 && batch.length + acls.length > batchedAclsMax) send();
      batch.push(...acls);
    }
    send();
  }

  #request(op: HnsOp): void {
    const result = this.#context.apply(op);
    if (result.ok) return;
    this.#context.log({
      code: "apply-failed",
      severity: "error",
      policy: undefined,
      message: `HNS refused ${op.kind} ${op.op}: ${result.message} (${result.errno})`,
    });
  }
}

function isNpms({ id }: AclPolicy): boolean {
  return id?.startsWith(`${aclIdPrefix}-`) === true;
}

const texts = new WeakMap<AclPolicy, string>();

/** What an ACL asks and does, its origin apart. */
function aclText(acl: AclPolicy): string {
  let text = texts.get(acl);
  if (text === undefined) {
    const { origin: _, ...rest } = acl;
    text = JSON.stringify(rest);
    texts.set(acl, text);
  }
  return text;
}

function isSame(known: SetPolicy | undefined, set: SetPolicy): boolean {
  if (known === undefined || known.values.length !== set.values.length) return false;
  return known.name === set.name && JSON.stringify(known.values) === JSON.stringify(set.values);
}

function updateOp(endpoint: HnsEndpoint, acls: readonly AclPolicy[]): HnsOp {
  return { kind: "hns-acls", op: "update", endpoint: endpoint.id, acls };
}
