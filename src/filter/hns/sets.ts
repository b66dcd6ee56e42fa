/** Live set policies of a network: which sets hold an address, and what HNS refuses to do to them. */
import { type Cidr, cidrContainsWords, maskWord } from "../../addr/index.ts";
import type { ApplyResult } from "../datapath.ts";
import type { SetPolicy } from "./tables.ts";

/** Prefixes of one set, IPv4 by length and network. */
class Prefixes {
  readonly #byLength = new Map<number, Set<number>>();
  readonly #v6: Cidr[] = [];

  constructor(values: readonly Cidr[]) {
    for (const net of values) {
      if (net.family === 6) {
        this.#v6.push(net);
        continue;
      }
      const words = this.#byLength.get(net.prefix) ?? new Set();
      words.add((net.words[0]! & maskWord(net.prefix, 0)) >>> 0);
      this.#byLength.set(net.prefix, words);
    }
  }

  /** `words` has the address at `at`: one word of IPv4, four of IPv6. */
  holds(family: number, words: ArrayLike<number>, at: number): boolean {
    if (family === 6) return this.#v6.some((net) => cidrContainsWords(net, words, at));
    const word = words[at]!;
    for (const [prefix, nets] of this.#byLength)
      if (nets.has((word & maskWord(prefix, 0)) >>> 0)) return true;
    return false;
  }
}

/** A network's sets, by id. */
export class HnsSets {
  readonly #policies = new Map<string, SetPolicy>();
  readonly #prefixes = new Map<string, Prefixes>();
  /** As it was given, until it is changed: what is made of a list is so made once for all that were given it. */
  #list: readonly SetPolicy[] | undefined;

  /** Nothing is refused here: whoever read or made the sets of a Repr has checked them. */
  constructor(sets: readonly SetPolicy[]) {
    for (const set of sets) this.#put(set);
    if (this.#policies.size === sets.length) this.#list = sets;
  }

  /** The same list until it is changed. */
  get policies(): readonly SetPolicy[] {
    this.#list ??= [...this.#policies.values()];
    return this.#list;
  }

  get(id: string): SetPolicy | undefined {
    return this.#policies.get(id);
  }

  /** Whether a set has the address. Of an empty nested set HNS says so of every address. */
  holds(id: string, family: number, words: ArrayLike<number>, at: number): boolean {
    const set = this.#policies.get(id);
    if (set?.type !== "NESTEDIPSET") return this.#prefixes.get(id)?.holds(family, words, at) === true;
    return set.values.length === 0 || set.values.some((member) => this.holds(member, family, words, at));
  }

  /** One request: sets of the same id are replaced as a whole. Nothing of it is done when a part is refused. */
  put(sets: readonly SetPolicy[]): ApplyResult {
    const known = new Set([...this.#policies.keys(), ...sets.map(({ id }) => id)]);
    for (const set of sets) {
      const unknown = set.type === "IPSET" ? undefined : set.values.find((id) => !known.has(id));
      if (unknown !== undefined)
        return refused("HCN_E_INVALID_POLICY", `set ${set.name} names ${unknown}, which is not there`);
    }
    for (const set of sets) this.#put(set);
    return { ok: true };
  }

  /** @param isNamed whether an ACL names the set */
  remove(ids: readonly string[], isNamed: (id: string) => boolean): ApplyResult {
    const gone = new Set(ids);
    for (const id of ids) {
      const set = this.#policies.get(id);
      if (set === undefined) return refused("HCN_E_INVALID_POLICY", `there is no set ${id}`);
      const holder = this.policies.find(
        (one) => one.type === "NESTEDIPSET" && one.values.includes(id) && !gone.has(one.id),
      );
      if (holder !== undefined)
        return refused("HCN_E_INVALID_POLICY", `set ${set.name} is a member of ${holder.name}`);
      if (isNamed(id)) return refused("HCN_E_INVALID_POLICY", `an ACL names set ${set.name}`);
    }
    this.#list = undefined;
    for (const id of ids) {
      this.#policies.delete(id);
      this.#prefixes.delete(id);
    }
    return { ok: true };
  }

  #put(set: SetPolicy): void {
    this.#list = undefined;
    this.#policies.set(set.id, set);
    if (set.type === "IPSET") this.#prefixes.set(set.id, new Prefixes(set.values));
  }
}

function refused(errno: string, message: string): ApplyResult {
  return { ok: false, errno, message };
}
