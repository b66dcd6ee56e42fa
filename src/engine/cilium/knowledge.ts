/**
 * What an agent knows of the cluster. Without delays that is the cluster; with them each event waits its time:
 * a policy for the next policy trigger, a pod of another node for its CiliumEndpointSlice, a pod whose labels changed
 * (or whose namespace's did) until the grace period for its new identity is over. An event about an object outdates
 * those about it that still wait.
 * Governing source: cilium Documentation/cmdref/cilium-agent.md (`policy-trigger-interval` 1 s,
 * `identity-change-grace-period` 5 s), cilium-operator.md (slices: `ces-slice-mode: fcfs`); how long a slice is
 * under way is not documented: half a second to one and a half.
 */
import type { ClusterState, Labels, WatchedObject } from "../../k8s/index.ts";
import type { AgentContext, WatchEvent } from "../engine.ts";

const policyTriggerNs = 1e9;
const identityGraceNs = 5e9;
const sliceNs = { least: 0.5e9, spread: 1e9 } as const;

interface Waiting {
  readonly dueNs: number;
  readonly event: WatchEvent;
}

export class Knowledge {
  #state: ClusterState;
  /** The cluster as it is. */
  #truth: ClusterState;
  #waiting: readonly Waiting[] = [];
  readonly #context: AgentContext;
  readonly #hasDelays: boolean;

  constructor(state: ClusterState, context: AgentContext, hasDelays: boolean) {
    this.#state = state;
    this.#truth = state;
    this.#context = context;
    this.#hasDelays = hasDelays;
  }

  get state(): ClusterState {
    return this.#state;
  }

  /** When the next event is due. */
  get nextNs(): number | undefined {
    return this.#waiting.length === 0 ? undefined : Math.min(...this.#waiting.map(({ dueNs }) => dueNs));
  }

  hear(event: WatchEvent): void {
    this.#truth = event.state;
    const key = keyOf(event.object);
    this.#waiting = this.#waiting.filter(({ event: { object } }) => keyOf(object) !== key);
    const delayNs = this.#hasDelays ? this.#delayOf(event) : 0;
    this.#waiting = [...this.#waiting, { dueNs: this.#context.nowNs() + delayNs, event }];
    this.advance();
  }

  /** Takes up what is due. */
  advance(): void {
    const now = this.#context.nowNs();
    const due = this.#waiting.filter(({ dueNs }) => dueNs <= now);
    this.#waiting = this.#waiting.filter(({ dueNs }) => dueNs > now);
    if (this.#waiting.length === 0) this.#state = this.#truth;
    else for (const { event } of due) this.#state = withEvent(this.#state, event);
  }

  #delayOf({ type, object, old }: WatchEvent): number {
    const { node, random } = this.#context;
    const slice = (): number => sliceNs.least + random.below(sliceNs.spread);
    switch (object.kind) {
      case "Pod": {
        const labelled = type === "modified" && old?.kind === "Pod" && !sameLabels(old.labels, object.labels);
        const graceNs = labelled ? identityGraceNs : 0;
        return graceNs + (object.nodeName === node.name ? 0 : slice());
      }
      case "Namespace":
        return type === "modified" ? identityGraceNs + slice() : 0;
      case "NetworkPolicy":
      case "VendorObject":
        return random.below(policyTriggerNs);
      case "Node":
      case "Service":
      case "EndpointSlice":
        return 0;
    }
  }
}

function sameLabels(a: Labels, b: Labels): boolean {
  return JSON.stringify(Object.entries(a).sort()) === JSON.stringify(Object.entries(b).sort());
}

function keyOf(object: WatchedObject): string {
  return `${object.kind} ${"namespace" in object ? object.namespace : ""}/${object.name}`;
}

/** The state with what the event tells, and nothing else of what has happened since. */
function withEvent(state: ClusterState, { type, object }: WatchEvent): ClusterState {
  const edit = <T>(objects: ReadonlyMap<string, T>, key: string, value: T): ReadonlyMap<string, T> => {
    const edited = new Map(objects);
    if (type === "deleted") edited.delete(key);
    else edited.set(key, value);
    return edited;
  };
  switch (object.kind) {
    case "Namespace":
      return { ...state, namespaces: edit(state.namespaces, object.name, object) };
    case "Node":
      return { ...state, nodes: edit(state.nodes, object.name, object) };
    case "Pod":
      return { ...state, pods: edit(state.pods, `${object.namespace}/${object.name}`, object) };
    case "Service":
      return { ...state, services: edit(state.services, `${object.namespace}/${object.name}`, object) };
    case "EndpointSlice": {
      const key = `${object.namespace}/${object.name}`;
      return { ...state, endpointSlices: edit(state.endpointSlices, key, object) };
    }
    case "NetworkPolicy": {
      const key = `${object.namespace}/${object.name}`;
      return { ...state, networkPolicies: edit(state.networkPolicies, key, object) };
    }
    case "VendorObject": {
      const { kind, namespace, name } = object.object;
      const key = namespace === undefined ? name : `${namespace}/${name}`;
      const ofKind = edit(state.vendor.get(kind) ?? new Map(), key, object.object);
      return { ...state, vendor: new Map(state.vendor).set(kind, ofKind) };
    }
  }
}
