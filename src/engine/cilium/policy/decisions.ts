/**
 * What the policy maps of endpoints decide, as chains: one for each content of a direction, shared by all who have it. The
 * generations differ in which of two entries stands, that of the peer's identity or that of any; what follows from it for
 * each port is worked out here once, so that a chain tells identities apart only where they are treated otherwise
 * than anyone. Governing source: the lookup as `programs/policy.ts` has it, which verdicts are held to by law.
 */
import type {
  AddressMap,
  AddressTest,
  DecisionChain,
  DecisionRule,
  ServiceRange,
} from "../../../base/index.ts";
import type { MapGeneration } from "../variant.ts";
import type { Direction, PolicyEntry } from "./entry.ts";
import { anyIdentity } from "./identities.ts";

/** What an identity may and what anyone may not, and the other way round. */
interface Difference {
  readonly allowed: readonly ServiceRange[];
  readonly denied: readonly ServiceRange[];
}

export class PolicyDecisions {
  readonly #generation: MapGeneration;
  readonly #identities: AddressMap;
  readonly #services: readonly ServiceRange[];
  readonly #ranges = new Map<string, readonly ServiceRange[]>();
  readonly #tests = new Map<number, readonly AddressTest[]>();
  readonly #chains = new Map<string, DecisionChain>();

  /** `identities`: of addresses; `services`: what programs can read, whole protocols. All else is dropped. */
  constructor(generation: MapGeneration, identities: AddressMap, services: readonly ServiceRange[]) {
    this.#generation = generation;
    this.#identities = identities;
    this.#services = services;
  }

  /** `entries` of a map, in key order. A chain has the name of the first policy that is like it. */
  chainOf(name: string, entries: readonly PolicyEntry[], direction: Direction): DecisionChain {
    const runs = runsOf(entries, direction);
    const anyone = runs.find(([first]) => first?.identity === anyIdentity) ?? [];
    const peer = direction === "ingress" ? "source" : "destination";
    const known = new Map<string, Difference>();
    const rules: DecisionRule[] = [];
    const texts: string[] = [direction];
    const add = (identity: number, services: readonly ServiceRange[], kind: "accept" | "drop"): void => {
      if (services.length === 0) return;
      const shared = this.#shared(services);
      const peers = identity === anyIdentity ? {} : { [peer]: this.#testsOf(identity) };
      rules.push({ ...peers, services: shared.ranges, action: kind === "accept" ? accept : drop });
      texts.push(`${identity} ${kind} ${shared.text}`);
    };
    for (const run of runs) {
      const identity = run[0]?.identity ?? anyIdentity;
      if (identity === anyIdentity) continue;
      const text = run.map(textOf).join();
      let difference = known.get(text);
      if (difference === undefined) {
        difference = this.#difference(run, anyone);
        known.set(text, difference);
      }
      add(identity, difference.denied, "drop");
      add(identity, difference.allowed, "accept");
    }
    add(anyIdentity, this.#difference(anyone, []).allowed, "accept");
    const text = texts.join("\n");
    let chain = this.#chains.get(text);
    if (chain === undefined) {
      chain = { name: `${name} ${direction}`, rules, atEnd: "drop" };
      this.#chains.set(text, chain);
    }
    return chain;
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
    return { allowed: allowed.list, denied: denied.list };
  }

  #shared(ranges: readonly ServiceRange[]): {
    readonly ranges: readonly ServiceRange[];
    readonly text: string;
  } {
    const text = ranges.map(({ protocol, first, last }) => `${protocol}/${first}-${last}`).join();
    const known = this.#ranges.get(text);
    if (known !== undefined) return { ranges: known, text };
    this.#ranges.set(text, ranges);
    return { ranges, text };
  }

  #testsOf(identity: number): readonly AddressTest[] {
    let tests = this.#tests.get(identity);
    if (tests === undefined) {
      tests = [{ map: this.#identities, value: identity }];
      this.#tests.set(identity, tests);
    }
    return tests;
  }
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
