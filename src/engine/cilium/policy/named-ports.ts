/**
 * Names of ports. An ingress rule's name is the subject's own port; an egress rule's is looked up among many pods at once,
 * and stands for no port at all where they give it different numbers (cilium/cilium#30003).
 * Governing source: cilium/cilium pkg/policy/types/portmap.go (NamedPortMultiMap), #44429 for the selected identities.
 */
import type { ClusterState, Pod } from "../../../k8s/index.ts";

const protocolNumber = { TCP: 6, UDP: 17, SCTP: 132 } as const;

/** Names with protocol and number, in one text: pods of equal text resolve ingress rules alike. */
export function namedPortsText({ ports }: Pod): string {
  const named = ports.filter(({ name }) => name !== undefined);
  return named
    .map(({ name, protocol, containerPort }) => `${name}:${containerPort}/${protocol}`)
    .sort()
    .join();
}

/** Numbers of a name on one pod. */
export function portsOfPod({ ports }: Pod, name: string, protocol: number): readonly number[] {
  const named = ports.filter((port) => port.name === name && protocolNumber[port.protocol] === protocol);
  return [...new Set(named.map(({ containerPort }) => containerPort))];
}

/** Numbers of one name, in the whole cluster and by the identity of the pods that give it them. */
interface NumbersOfName {
  readonly all: Set<number>;
  readonly byIdentity: Map<number, Set<number>>;
}

/** Names of the cluster's pods. */
export class NamedPorts {
  readonly #names = new Map<string, NumbersOfName>();

  constructor(state: ClusterState, identityOf: (pod: Pod) => number) {
    for (const pod of state.pods.values()) {
      if (pod.hostNetwork) continue;
      for (const { name, protocol, containerPort } of pod.ports)
        if (name !== undefined)
          this.#add(`${name}/${protocolNumber[protocol]}`, identityOf(pod), containerPort);
    }
  }

  #add(key: string, identity: number, port: number): void {
    let name = this.#names.get(key);
    if (name === undefined) {
      name = { all: new Set(), byIdentity: new Map() };
      this.#names.set(key, name);
    }
    name.all.add(port);
    const ports = name.byIdentity.get(identity);
    if (ports === undefined) name.byIdentity.set(identity, new Set([port]));
    else ports.add(port);
  }

  /** Every number of a name; of the pods of `identities` alone where they are given. */
  numbersOf(name: string, protocol: number, identities?: Iterable<number>): readonly number[] {
    const known = this.#names.get(`${name}/${protocol}`);
    if (known === undefined) return [];
    if (identities === undefined) return [...known.all];
    const numbers = new Set<number>();
    for (const identity of identities)
      for (const port of known.byIdentity.get(identity) ?? []) numbers.add(port);
    return [...numbers];
  }
}
