/**
 * What the policy maps of endpoints decide, as chains: one for each content of a direction, shared by all who have it. The
 * generations differ in which of two entries stands, that of the peer's identity or that of any; what follows from it for
 * each port is worked out here once, so that a chain tells identities apart only where they are treated otherwise
 * than anyone. Identities that all policies treat alike are one group: addresses are known by their group, of which there
 * are few, where a large cluster has tens of thousands of identities.
 * Governing source: the lookup as `programs/policy.ts` has it, which verdicts are held to by law.
 */
import type {
  AddressMap,
  AddressTest,
  DecisionChain,
  DecisionRule,
  ServiceRange,
} from "../../../base/index.ts";
import type { MapGeneration } from "../variant.ts";
import type { Direction, PolicyEntry, PrefixIdentity } from "./entry.ts";
import { anyIdentity } from "./identities.ts";

export interface PolicyWords {
  readonly generation: MapGeneration;
  /** What programs can read, whole protocols. All else is dropped. */
  readonly services: readonly ServiceRange[];
  /** Of addresses, those of the world among them. */
  readonly identities: readonly PrefixIdentity[];
  /** Identity of the node's own addresses. */
  readonly own: number;
  /** Entries of each map, in key order. */
  readonly policies: readonly (readonly PolicyEntry[])[];
}

export interface DecidedPolicies {
  /** Groups of identities by address. */
  readonly groups: AddressMap;
  /** In the order of the words' policies; equal contents are one chain. */
  readonly chains: readonly Readonly<Record<Direction, DecisionChain>>[];
}

export function decidePolicies({
  generation,
  services,
  identities,
  own,
  policies,
}: PolicyWords): DecidedPolicies {
  const contents = new Contents(generation, services);
  const decided = policies.map((entries) => ({
    ingress: contents.of(entries, "ingress"),
    egress: contents.of(entries, "egress"),
  }));
  const groupOf = groupIdentities(contents.all, [...identities.map(({ identity }) => identity), own]);
  const groups: AddressMap = {
    entries: identities.map(({ net, identity }) => [net, groupOf.get(identity) ?? 0] as const),
    own: groupOf.get(own) ?? 0,
  };
  const tests = new Map<number, readonly AddressTest[]>();
  const testsOf = (group: number): readonly AddressTest[] => {
    const known = tests.get(group) ?? [{ map: groups, value: group }];
    tests.set(group, known);
    return known;
  };
  const chains = contents.all.map((content, i) => chainOf(content, i, groupOf, testsOf));
  const chainAt = (place: number): DecisionChain => chains[place] as DecisionChain;
  return {
    groups,
    chains: decided.map(({ ingress, egress }) => ({ ingress: chainAt(ingress), egress: chainAt(egress) })),
  };
}

/** What an identity may and what anyone may not, and the other way round. */
interface Difference {
  readonly allowed: readonly ServiceRange[];
  readonly denied: readonly ServiceRange[];
  /** Equal for equal ones. */
  readonly text: string;
}

/** One direction of a policy map. */
interface Content {
  readonly direction: Direction;
  /** By identity, of those that differ from anyone. */
  readonly differences: ReadonlyMap<number, Difference>;
  readonly anyone: readonly ServiceRange[];
}

/** Distinct contents by number. */
class Contents {
  readonly all: Content[] = [];
  readonly #generation: MapGeneration;
  readonly #services: readonly ServiceRange[];
  readonly #places = new Map<string, number>();
  readonly #ranges = new Map<string, readonly ServiceRange[]>();

  constructor(generation: MapGeneration, services: readonly ServiceRange[]) {
    this.#generation = generation;
    this.#services = services;
  }

  /** Number of the content. */
  of(entries: readonly PolicyEntry[], direction: Direction): number {
    const runs = runsOf(entries, direction);
    const anyone = runs.find(([first]) => first?.identity === anyIdentity) ?? [];
    const known = new Map<string, Difference>();
    const differences = new Map<number, Difference>();
    const ofAnyone = this.#difference(anyone, []);
    const texts: string[] = [direction, ofAnyone.text];
    for (const run of runs) {
      const identity = run[0]?.identity ?? anyIdentity;
      if (identity === anyIdentity) continue;
      const key = run.map(textOf).join();
      const difference = known.get(key) ?? this.#difference(run, anyone);
      known.set(key, difference);
      if (difference.allowed.length + difference.denied.length === 0) continue;
      differences.set(identity, difference);
      texts.push(`${identity} ${difference.text}`);
    }
    const text = texts.join("\n");
    let place = this.#places.get(text);
    if (place === undefined) {
      place = this.all.push({ direction, differences, anyone: ofAnyone.allowed }) - 1;
      this.#places.set(text, place);
    }
    return place;
  }

  #difference(own: readonly PolicyEntry[], anyone: readonly PolicyEntry[]): Difference {
    const [allowed, denied] = [new Ranges(), new Ranges()];
    for (const { protocol, last } of this.#services)
      for (const [first, until] of stretches([...own, ...anyone], protocol, last)) {
        const ofAnyone = narrowest(anyone, protocol, first);
        const before = allows(undefined, ofAnyone, this.#generation);
        const after = allows(narrowest(own, protocol, first), ofAnyone, this.#generation);
        if (after && !before) allowed.add(protocol, first, until);
        if (before && !after) denied.add(protocol, first, until);
      }
    const text = `${servicesText(allowed.list)}-${servicesText(denied.list)}`;
    return { allowed: this.#shared(allowed.list), denied: this.#shared(denied.list), text };
  }

  #shared(ranges: readonly ServiceRange[]): readonly ServiceRange[] {
    const text = servicesText(ranges);
    const known = this.#ranges.get(text) ?? ranges;
    this.#ranges.set(text, known);
    return known;
  }
}

/** A number from 1 for each of the identities: the same for those that no content tells apart. */
function groupIdentities(
  contents: readonly Content[],
  identities: readonly number[],
): ReadonlyMap<number, number> {
  const treatments = new Map<number, string[]>();
  for (const [place, { differences }] of contents.entries())
    for (const [identity, { text }] of differences) {
      const list = treatments.get(identity);
      if (list === undefined) treatments.set(identity, [`${place} ${text}`]);
      else list.push(`${place} ${text}`);
    }
  const byTreatment = new Map<string, number>();
  const groups = new Map<number, number>();
  for (const identity of identities) {
    if (groups.has(identity)) continue;
    const text = treatments.get(identity)?.join("\n") ?? "";
    const group = byTreatment.get(text) ?? byTreatment.size + 1;
    byTreatment.set(text, group);
    groups.set(identity, group);
  }
  return groups;
}

function chainOf(
  { direction, differences, anyone }: Content,
  place: number,
  groupOf: ReadonlyMap<number, number>,
  testsOf: (group: number) => readonly AddressTest[],
): DecisionChain {
  const peer = direction === "ingress" ? "source" : "destination";
  const rules: DecisionRule[] = [];
  const done = new Set<number>();
  for (const [identity, { allowed, denied }] of differences) {
    const group = groupOf.get(identity);
    if (group === undefined || done.has(group)) continue; // nobody has the identity, or its group is treated
    done.add(group);
    const peers = { [peer]: testsOf(group) };
    if (denied.length > 0) rules.push({ ...peers, services: denied, action: drop });
    if (allowed.length > 0) rules.push({ ...peers, services: allowed, action: accept });
  }
  if (anyone.length > 0) rules.push({ services: anyone, action: accept });
  return { name: `policy ${place} ${direction}`, rules, atEnd: "drop" };
}

function servicesText(ranges: readonly ServiceRange[]): string {
  return ranges.map(({ protocol, first, last }) => `${protocol}/${first}-${last}`).join();
}

const accept = { kind: "accept" } as const;
const drop = { kind: "drop" } as const;

/** Entries of a direction by identity. */
function runsOf(entries: readonly PolicyEntry[], direction: Direction): readonly (readonly PolicyEntry[])[] {
  const runs: PolicyEntry[][] = [];
  let current: PolicyEntry[] = [];
  for (const entry of entries) {
    if (entry.direction !== direction) continue;
    if (current[0]?.identity !== entry.identity) {
      current = [];
      runs.push(current);
    }
    current.push(entry);
  }
  return runs;
}

function textOf({ protocol, port, portPrefix, deny }: PolicyEntry): string {
  return `${deny ? "-" : ""}${protocol}/${port}/${portPrefix}`;
}

/** Consecutive ranges, joined where they touch. */
class Ranges {
  readonly list: ServiceRange[] = [];

  add(protocol: number, first: number, last: number): void {
    const before = this.list.at(-1);
    if (before?.protocol === protocol && before.last + 1 === first)
      this.list[this.list.length - 1] = { ...before, last };
    else this.list.push({ protocol, first, last });
  }
}

/** A protocol's ports from 0 to `last`, parted where blocks begin and end. */
function stretches(
  entries: readonly PolicyEntry[],
  protocol: number,
  last: number,
): readonly (readonly [first: number, last: number])[] {
  const starts = new Set([0]);
  for (const entry of entries)
    if (entry.protocol === protocol) {
      starts.add(entry.port);
      starts.add(entry.port + sizeOf(entry));
    }
  const sorted = [...starts].filter((start) => start <= last).sort((a, b) => a - b);
  return sorted.map((start, i) => [start, (sorted[i + 1] ?? last + 1) - 1]);
}

/** The entry with the longest key that holds the port, as the map finds it. */
function narrowest(entries: readonly PolicyEntry[], protocol: number, port: number): PolicyEntry | undefined {
  let found: PolicyEntry | undefined;
  for (const entry of entries) {
    const holds =
      entry.protocol === 0 ||
      (entry.protocol === protocol && port >= entry.port && port < entry.port + sizeOf(entry));
    if (holds && (found === undefined || keyBits(entry) > keyBits(found))) found = entry;
  }
  return found;
}

function sizeOf({ portPrefix }: PolicyEntry): number {
  return 2 ** (16 - portPrefix);
}

function keyBits({ protocol, portPrefix }: PolicyEntry): number {
  return protocol === 0 ? 0 : 8 + portPrefix;
}

/** `own`: the entry of the peer's identity, `anyone`: that of any. */
function allows(
  own: PolicyEntry | undefined,
  anyone: PolicyEntry | undefined,
  generation: MapGeneration,
): boolean {
  if (own === undefined || anyone === undefined) {
    const only = own ?? anyone;
    return only !== undefined && !only.deny;
  }
  if (generation === "G1") return !(rung(anyone) < rung(own) ? anyone : own).deny;
  return !own.deny && !anyone.deny; // priorities choose between allows
}

/** G1's ladder: ports, a protocol, anything. */
function rung({ protocol, portPrefix }: PolicyEntry): number {
  if (protocol === 0) return 2;
  return portPrefix === 0 ? 1 : 0;
}
