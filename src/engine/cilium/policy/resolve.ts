/**
 * Policies to entries of policy maps: which identities a rule's peers are, which keys its ports. Rules are matched
 * against identities, of which there are few, never against pods; what a rule's statement makes is made once and shared by
 * all whom it is about, and what a list of rules makes by all who have that list.
 * Governing source: cilium/cilium pkg/policy/{repository,rule,l4,mapstate,resolve}.go.
 */
import type { Cidr } from "../../../addr/index.ts";
import type { Origin } from "../../../base/index.ts";
import { type ClusterState, type Labels, matchesSelector, type Node, type Pod } from "../../../k8s/index.ts";
import type { Diagnostic } from "../../engine.ts";
import type { CiliumVariant } from "../variant.ts";
import type { Direction, EndpointPolicy, IdentityLabels, PolicyEntry, PolicyRepository } from "./entry.ts";
import { anyIdentity, hostIdentity, Identities, initIdentity, isRelevant } from "./identities.ts";
import { MapState } from "./map-state.ts";
import { NamedPorts, namedPortsText, portsOfPod } from "./named-ports.ts";
import { everyPort, type PortBlock, portBlocks, withZeroStartDefect } from "./port-blocks.ts";
import type { CiliumRule, RulePeer, RulePort, RuleStatement } from "./rule.ts";
import { rulesOf } from "./rules.ts";

export function resolvePolicies(state: ClusterState, variant: CiliumVariant): PolicyRepository {
  return new Repository(state, variant);
}

/** What one peer on one port of a statement puts into maps. */
interface Contribution {
  /** Protocol and port as the rule has them. */
  readonly filter: string;
  /** Names a port: entries of particular identities say nothing where one of any identity says the same. */
  readonly isPorted: boolean;
  readonly entries: readonly PolicyEntry[];
}

/** The rules about somebody. One object for all about whom the same rules are. */
interface RuleList {
  readonly rules: readonly CiliumRule[];
  /** The subject's own port names decide what its entries are. */
  readonly readsPortNames: boolean;
  readonly policies: Map<string, EndpointPolicy>;
}

class Repository implements PolicyRepository {
  readonly prefixes: PolicyRepository["prefixes"];
  readonly diagnostics: readonly Diagnostic[];
  readonly #variant: CiliumVariant;
  readonly #identities: Identities;
  readonly #namedPorts: NamedPorts;
  readonly #rules: readonly CiliumRule[];
  readonly #lists = new Map<string, RuleList>();
  readonly #listOfIdentity: ReadonlyMap<number, RuleList>;
  readonly #contributions = new Map<RuleStatement, readonly Contribution[]>();

  constructor(state: ClusterState, variant: CiliumVariant) {
    const { rules, diagnostics } = rulesOf(state, variant);
    this.#variant = variant;
    this.#identities = new Identities(state, netsOf(rules), variant);
    this.prefixes = this.#identities.prefixes;
    this.#namedPorts = new NamedPorts(state, (pod) => this.#identities.numberOf(pod));
    this.#rules = rules;
    const places = new Map<number, number[]>();
    for (const [place, rule] of rules.entries()) {
      if (rule.isForNodes) continue;
      for (const number of this.#identities.select({ kind: "labels", path: "", selector: rule.subject })) {
        const ofIdentity = places.get(number);
        if (ofIdentity === undefined) places.set(number, [place]);
        else ofIdentity.push(place);
      }
    }
    this.#listOfIdentity = new Map([...places].map(([number, list]) => [number, this.#listOf(list)]));
    const { unnumbered } = this.#identities;
    this.diagnostics = unnumbered === 0 ? diagnostics : [...diagnostics, exhausted(unnumbered)];
  }

  identityOf(pod: Pod): number {
    return this.#identities.numberOf(pod);
  }

  labelsOf(identity: number): IdentityLabels | undefined {
    return this.#identities.labelsOf(identity);
  }

  policyOf(pod: Pod): EndpointPolicy {
    const identity = this.#identities.numberOf(pod);
    const list = this.#listOfIdentity.get(identity) ?? this.#listOf([]);
    return this.#policyOf(list, identity === initIdentity, pod);
  }

  hostPolicyOf(node: Node): EndpointPolicy | undefined {
    if (!this.#variant.hostFirewall) return undefined;
    const labels = labelsOfNode(node);
    const places = [...this.#rules.keys()].filter((place) => {
      const rule = this.#rules[place];
      return rule?.isForNodes === true && matchesSelector(rule.subject, labels);
    });
    return this.#policyOf(this.#listOf(places), false, undefined);
  }

  #listOf(places: readonly number[]): RuleList {
    const key = places.join();
    let list = this.#lists.get(key);
    if (list === undefined) {
      const rules = places.map((place) => this.#rules[place] as CiliumRule);
      const readsPortNames = rules.some(({ statements }) => statements.some(namesPortOfSubject));
      list = { rules, readsPortNames, policies: new Map() };
      this.#lists.set(key, list);
    }
    return list;
  }

  #policyOf(list: RuleList, isClosed: boolean, subject: Pod | undefined): EndpointPolicy {
    const ports = list.readsPortNames && subject !== undefined ? namedPortsText(subject) : "";
    const key = `${isClosed} ${ports}`;
    let policy = list.policies.get(key);
    if (policy === undefined) {
      policy = this.#resolve(list.rules, isClosed, subject);
      list.policies.set(key, policy);
    }
    return policy;
  }

  /** `isClosed`: isolated both ways whatever rules say, as endpoints without known labels are. */
  #resolve(rules: readonly CiliumRule[], isClosed: boolean, subject: Pod | undefined): EndpointPolicy {
    const state = new MapState();
    const isEnforced = (direction: Direction): boolean => {
      const speaking = rules.filter(({ isolates }) => isolates.has(direction));
      if (speaking.length === 0 && !isClosed) {
        state.add(wholeEntry(anyIdentity, direction, "not-enforced"));
        return false;
      }
      if (direction === "ingress") state.add(wholeEntry(hostIdentity, direction, "allow-localhost"));
      if (!isClosed && !speaking.some(({ isolates }) => isolates.get(direction)))
        state.add(wholeEntry(anyIdentity, direction, "no-default-deny"));
      const statements = speaking.flatMap((rule) =>
        rule.statements
          .filter((statement) => statement.direction === direction)
          .map((statement) => ({ rule, statement })),
      );
      for (const entry of this.#entriesOf(statements, subject)) state.add(entry);
      return true;
    };
    const [ingressEnforced, egressEnforced] = [isEnforced("ingress"), isEnforced("egress")];
    const entries = state.resolve(this.#variant.generation);
    const isolating = (direction: Direction): readonly Origin[] =>
      isClosed
        ? [{ kind: "engine", name: "cilium", path: "init", role: "default-deny", direction }]
        : rules
            .filter(({ isolates }) => isolates.get(direction) === true)
            .map((rule) => isolationOf(rule, direction));
    const defaultDeny = { ingress: isolating("ingress"), egress: isolating("egress") };
    return Object.freeze({ ingressEnforced, egressEnforced, entries, defaultDeny });
  }

  *#entriesOf(
    statements: readonly { readonly rule: CiliumRule; readonly statement: RuleStatement }[],
    subject: Pod | undefined,
  ): Iterable<PolicyEntry> {
    const contributions = statements.flatMap(({ rule, statement }) =>
      this.#contributionsOf(rule, statement, subject),
    );
    const keyOf = ({ filter }: Contribution, { deny, redirect }: PolicyEntry): string =>
      `${filter} ${deny} ${redirect}`;
    const ofAnyone = new Set<string>();
    for (const one of contributions)
      for (const entry of one.entries.slice(0, 1))
        if (one.isPorted && entry.identity === anyIdentity) ofAnyone.add(keyOf(one, entry));
    for (const one of contributions) {
      const [first] = one.entries;
      if (first === undefined) continue;
      if (first.identity === anyIdentity || !ofAnyone.has(keyOf(one, first))) yield* one.entries;
    }
  }

  #contributionsOf(
    rule: CiliumRule,
    statement: RuleStatement,
    subject: Pod | undefined,
  ): readonly Contribution[] {
    if (namesPortOfSubject(statement)) return this.#contribute(rule, statement, subject);
    let contributions = this.#contributions.get(statement);
    if (contributions === undefined) {
      contributions = this.#contribute(rule, statement, undefined);
      this.#contributions.set(statement, contributions);
    }
    return contributions;
  }

  #contribute(rule: CiliumRule, statement: RuleStatement, subject: Pod | undefined): readonly Contribution[] {
    const { direction, deny, peers, ports } = statement;
    const contributions: Contribution[] = [];
    for (const peer of peers) {
      const identities = this.#identities.select(peer);
      for (const port of ports ?? [undefined]) {
        const origin = originOf(rule, statement, peer, port);
        const entries: PolicyEntry[] = [];
        const [protocol, redirect] = [port?.protocol ?? 0, port?.redirect ?? 0];
        for (const block of this.#blocksOf(port, direction, identities, subject))
          for (const identity of identities)
            entries.push({
              identity,
              direction,
              protocol,
              port: block.port,
              portPrefix: block.prefix,
              deny,
              redirect,
              origin,
            });
        const filter = port === undefined ? "any" : `${port.protocol}/${port.port}-${port.endPort}`;
        contributions.push({ filter, isPorted: !isOfEveryPort(port), entries });
      }
    }
    return contributions;
  }

  #blocksOf(
    port: RulePort | undefined,
    direction: Direction,
    identities: readonly number[],
    subject: Pod | undefined,
  ): readonly PortBlock[] {
    if (port?.port === undefined || isOfEveryPort(port)) return everyPort;
    const { endPort, zeroStartDefect } = this.#variant;
    if (typeof port.port === "string")
      return this.#numbersOf(port.port, port.protocol, direction, identities, subject).map((number) => ({
        port: number,
        prefix: 16,
      }));
    const blocks = portBlocks(port.port, endPort ? (port.endPort ?? port.port) : port.port);
    return zeroStartDefect ? withZeroStartDefect(blocks) : blocks;
  }

  #numbersOf(
    name: string,
    protocol: number,
    direction: Direction,
    identities: readonly number[],
    subject: Pod | undefined,
  ): readonly number[] {
    if (direction === "ingress") return subject === undefined ? [] : portsOfPod(subject, name, protocol);
    const isOfSelected =
      this.#variant.egressNamedPorts === "of-selected-identities" && identities[0] !== anyIdentity;
    const numbers = this.#namedPorts.numbersOf(name, protocol, isOfSelected ? identities : undefined);
    return numbers.length > 1 ? [] : numbers;
  }
}

/** Type 0 of ICMP is of every type: agents tell a port from none by its not being 0 (cilium/cilium #41304). */
function isOfEveryPort(port: RulePort | undefined): boolean {
  return port?.port === undefined || (port.port === 0 && port.endPort === undefined);
}

/** An ingress rule's port name is the subject's own. */
function namesPortOfSubject({ direction, ports = [] }: RuleStatement): boolean {
  return direction === "ingress" && ports.some(({ port }) => typeof port === "string");
}

function originOf(
  { kind, name, source }: CiliumRule,
  { direction, deny }: RuleStatement,
  peer: RulePeer,
  port: RulePort | undefined,
): Origin {
  const path = peer.kind === "anyone" ? (port?.path ?? peer.path) : peer.path;
  const role = deny ? "deny" : "allow";
  return { kind, name, path, role, direction, ...(source === undefined ? {} : { source }) };
}

function isolationOf({ kind, name, path, source, statements }: CiliumRule, direction: Direction): Origin {
  const first = statements.find((statement) => statement.direction === direction);
  const section = first === undefined ? "" : `.${direction}${first.deny ? "Deny" : ""}`; // types may be defaults
  const origin = { kind, name, path: `${path}${section}`, role: "default-deny", direction } as const;
  return source === undefined ? origin : { ...origin, source };
}

function wholeEntry(identity: number, direction: Direction, path: string): PolicyEntry {
  const origin: Origin = { kind: "engine", name: "cilium", path, role: "base", direction };
  return { identity, direction, protocol: 0, port: 0, portPrefix: 0, deny: false, redirect: 0, origin };
}

/** Every prefix that a rule names, exceptions too: they get identities of their own, which the rule does not select. */
function netsOf(rules: readonly CiliumRule[]): readonly Cidr[] {
  return rules.flatMap(({ statements }) =>
    statements.flatMap(({ peers }) =>
      peers.flatMap((peer) => (peer.kind === "cidr" ? [peer.cidr, ...peer.except] : [])),
    ),
  );
}

/** What a rule for nodes sees of one: labels pass the filter of pods' (pkg/endpoint, InitWithNodeLabels). */
function labelsOfNode({ labels }: Node): Labels {
  const pairs = Object.entries(labels).filter(([key]) => isRelevant(key));
  return Object.fromEntries([
    ...pairs.map(([key, value]) => [`k8s:${key}`, value]),
    ...pairs.map(([key, value]) => [`any:${key}`, value]),
    ["reserved:host", ""],
    ["any:host", ""],
  ]);
}

function exhausted(labelSets: number): Diagnostic {
  return {
    code: "identities-exhausted",
    severity: "error",
    policy: undefined,
    message: `unable to allocate identities: no more available IDs for pods of ${labelSets} label sets, which stay as init`,
  };
}
