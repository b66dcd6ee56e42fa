/**
 * Which rules of a long chain can match a packet, from the sets that they name: one look-up for each address instead of one
 * for each rule and set. Two addresses are of one class if the same rules' needs hold for both; a class has one bit for
 * each rule, and the evaluator goes from set bit to set bit (link.ts, signposts). A rule is passed over only if one of its
 * plain set matches is certain to fail; every other rule is tried in full, so verdicts, marks and counters are those of
 * the walk through all rules.
 *
 * Building costs about as much as walking a chain some hundred times, so an index is built only once that many walks
 * have been made since the sets last changed; until then, and for traced packets, every rule is tried. Nodes with the
 * same rules and the same sets share one index.
 */
import { maskWord } from "../../addr/index.ts";
import type { LiveSet, SetCollection } from "../ipset/index.ts";
import type { LinkedRuleset, SetNeed, SignpostedRun } from "./link.ts";

/** Walks without an index that cost as much as building it, for so many members of sets. */
const membersPerWalk = 128;
const walksMin = 32;

/** One rule set's index over given sets. Immutable. */
interface BuiltIndex {
  readonly sets: readonly SetContent[];
  readonly classes: AddressClasses;
  readonly runs: readonly RunBits[];
  readonly members: MemberBits;
}

/** What a set held when the index was built: its own version, and those of the sets that a list holds. */
interface SetContent {
  readonly set: LiveSet | undefined;
  readonly version: number;
  readonly members: readonly SetContent[];
}

/** Which sets hold the addresses of a class: `class * words + slot >> 5`; `known` tells the slots that are indexed. */
interface MemberBits {
  readonly words: number;
  readonly bits: Int32Array;
  readonly known: Uint8Array;
}

/** Bits of one run by class: `class * words + position >> 5`. */
interface RunBits {
  readonly addresses: Int32Array;
  readonly words: number;
  readonly src: Int32Array;
  readonly dst: Int32Array;
}

const shared = new WeakMap<LinkedRuleset, BuiltIndex[]>();

/** Of one node. */
export class SkipIndex {
  readonly #linked: LinkedRuleset;
  readonly #sets: readonly (LiveSet | undefined)[];
  readonly #collection: SetCollection;
  #built: BuiltIndex | undefined;
  #changes = -1;
  #walksLeft = 0;

  constructor(linked: LinkedRuleset, sets: readonly (LiveSet | undefined)[], collection: SetCollection) {
    this.#linked = linked;
    this.#sets = sets;
    this.#collection = collection;
  }

  /** Asked once a walk, before the first signpost; false: try every rule. */
  isReady(): boolean {
    const { changes } = this.#collection;
    if (this.#changes !== changes) {
      this.#changes = changes;
      this.#built = findShared(this.#linked, this.#sets);
      const members = this.#sets.reduce((sum, set) => sum + (set?.size ?? 0), 0);
      this.#walksLeft = Math.max(walksMin, Math.floor(members / membersPerWalk));
    }
    if (this.#built !== undefined) return true;
    if (--this.#walksLeft > 0) return false;
    this.#built = buildIndex(this.#linked, this.#sets);
    return true;
  }

  /** Class of an IPv4 address; only when ready. */
  classOf(word: number): number {
    return this.#built!.classes.of(word);
  }

  /** Whether a set holds the addresses of a class: 1, 0, or -1 for a set that is not indexed. */
  holds(slot: number, addressClass: number): number {
    const { known, bits, words } = this.#built!.members;
    if (known[slot] === 0) return -1;
    return (bits[addressClass * words + (slot >>> 5)]! >>> (slot & 31)) & 1;
  }

  /** Address in the code of the first rule of `run` from `position` on that can match; 0 when there is none. */
  next(run: number, position: number, srcClass: number, dstClass: number): number {
    const { addresses, words, src, dst } = this.#built!.runs[run]!;
    const [srcAt, dstAt] = [srcClass * words, dstClass * words];
    let word = position >>> 5;
    let bits = src[srcAt + word]! & dst[dstAt + word]! & (-1 << (position & 31));
    while (bits === 0) {
      if (++word === words) return 0;
      bits = src[srcAt + word]! & dst[dstAt + word]!;
    }
    return addresses[(word << 5) + 31 - Math.clz32(bits & -bits)]!;
  }
}

function findShared(linked: LinkedRuleset, sets: readonly (LiveSet | undefined)[]): BuiltIndex | undefined {
  return shared.get(linked)?.find((built) => isUnchanged(built.sets, sets));
}

function contentOf(set: LiveSet | undefined): SetContent {
  if (set === undefined) return { set, version: 0, members: [] };
  return { set, version: set.version, members: set.memberSets.map(contentOf) };
}

function isUnchanged(known: readonly SetContent[], sets: readonly (LiveSet | undefined)[]): boolean {
  return (
    known.length === sets.length &&
    known.every(({ set, version, members }, i) => {
      const now = sets[i];
      if (set !== now) return false;
      return now === undefined || (version === now.version && isUnchanged(members, now.memberSets));
    })
  );
}

/** Indices kept for one rule set: nodes whose sets differ each have their own. */
const sharedMax = 4;

function buildIndex(linked: LinkedRuleset, sets: readonly (LiveSet | undefined)[]): BuiltIndex {
  const classes = new AddressClasses();
  const named = linked.runs.flatMap(({ needs }) => needs.flat().map(({ slot }) => slot));
  const needed = [...new Set(named)].sort((a, b) => a - b);
  const indexed = new Map<number, readonly LiveSet[]>();
  for (const slot of needed) {
    const plain = plainSets(sets[slot]);
    if (plain !== undefined) indexed.set(slot, plain);
  }
  classes.build(indexed);
  const built: BuiltIndex = {
    sets: sets.map(contentOf),
    classes,
    runs: linked.runs.map((run) => runBits(run, classes, indexed)),
    members: memberBits(sets.length, classes, indexed),
  };
  const list = shared.get(linked) ?? [];
  list.unshift(built);
  list.length = Math.min(list.length, sharedMax);
  shared.set(linked, list);
  return built;
}

/** More bits than this are not worth their memory: sets are asked themselves. */
const memberWordsMax = 1 << 22;

function memberBits(
  setCount: number,
  classes: AddressClasses,
  indexed: ReadonlyMap<number, readonly LiveSet[]>,
): MemberBits {
  const words = (setCount + 31) >>> 5;
  const known = new Uint8Array(setCount);
  if (words * classes.count > memberWordsMax) return { words, bits: new Int32Array(0), known };
  for (const slot of indexed.keys()) known[slot] = 1;
  const bits = new Int32Array(words * classes.count);
  for (let id = 0; id < classes.count; id++)
    for (const slot of classes.slotsOf(id)) bits[id * words + (slot >>> 5)]! |= 1 << (slot & 31);
  return { words, bits, known };
}

/** The set itself, or the members of a list; `undefined` where some of it is not a plain set of IPv4 addresses. */
function plainSets(set: LiveSet | undefined): readonly LiveSet[] | undefined {
  if (set === undefined) return [];
  const all = set.type === "list:set" ? set.memberSets : [set];
  const isPlain = !set.isStateful && all.every((one) => one.isPlainV4);
  return isPlain ? all : undefined;
}

function runBits(
  { addresses, needs }: SignpostedRun,
  classes: AddressClasses,
  indexed: ReadonlyMap<number, readonly LiveSet[]>,
): RunBits {
  const words = (needs.length + 31) >>> 5;
  const ofSide = (isSrc: boolean): Int32Array => {
    const bits = new Int32Array(classes.count * words);
    const always = new Int32Array(words); // rules that need nothing of this side
    const bySlot = new Map<number, number[]>();
    const needCounts = new Uint8Array(needs.length);
    needs.forEach((list, position) => {
      const own = uniqueNeeds(list, isSrc).filter((slot) => indexed.has(slot));
      needCounts[position] = own.length;
      if (own.length === 0) always[position >>> 5]! |= 1 << (position & 31);
      for (const slot of own) {
        const rules = bySlot.get(slot) ?? [];
        rules.push(position);
        bySlot.set(slot, rules);
      }
    });
    const met = new Uint8Array(needs.length);
    for (let id = 0; id < classes.count; id++) {
      const base = id * words;
      bits.set(always, base);
      const slots = classes.slotsOf(id);
      for (const slot of slots)
        for (const position of bySlot.get(slot) ?? [])
          if (++met[position]! === needCounts[position])
            bits[base + (position >>> 5)]! |= 1 << (position & 31);
      for (const slot of slots) for (const position of bySlot.get(slot) ?? []) met[position] = 0;
    }
    return bits;
  };
  return { addresses, words, src: ofSide(true), dst: ofSide(false) };
}

function uniqueNeeds(list: readonly SetNeed[], isSrc: boolean): readonly number[] {
  return [...new Set(list.filter((need) => need.isSrc === isSrc).map(({ slot }) => slot))];
}

/**
 * Classes of IPv4 addresses by the sets that hold them. Addresses that some set names one by one are found by hashing,
 * all others lie in an interval between the edges of prefixes.
 */
class AddressClasses {
  #keys = new Uint32Array(2);
  #ids = new Int32Array(2).fill(-1);
  #mask = 1;
  #starts: Uint32Array = new Uint32Array(1);
  #intervalIds: Int32Array = new Int32Array(1);
  readonly #slots: (readonly number[])[] = [];
  readonly #known = new Map<string, number>();

  get count(): number {
    return this.#slots.length;
  }

  /** Slots whose set holds the addresses of the class. */
  slotsOf(id: number): readonly number[] {
    return this.#slots[id]!;
  }

  of(word: number): number {
    const keys = this.#keys;
    const ids = this.#ids;
    const mask = this.#mask;
    for (let at = hash(word) & mask; ids[at]! >= 0; at = (at + 1) & mask)
      if (keys[at] === word) return ids[at]!;
    const starts = this.#starts;
    let low = 0;
    let high = starts.length - 1;
    while (low < high) {
      const middle = (low + high + 1) >>> 1;
      if (starts[middle]! <= word) low = middle;
      else high = middle - 1;
    }
    return this.#intervalIds[low]!;
  }

  build(indexed: ReadonlyMap<number, readonly LiveSet[]>): void {
    const hosts = new Map<number, number[]>();
    /** Hosts that some set names as no member of it: the sets themselves are asked. */
    const disputed = new Set<number>();
    const edges = new Set<number>([0]);
    const netSlots: number[] = [];
    for (const [slot, sets] of indexed) {
      let hasNets = false;
      for (const set of sets)
        set.visitPlain((word, prefix, isNomatch) => {
          if (prefix < 32) {
            hasNets = true;
            const last = (word | ~maskWord(prefix, 0)) >>> 0;
            edges.add(word);
            edges.add(last === 0xffffffff ? 0 : last + 1);
            return;
          }
          if (isNomatch) disputed.add(word);
          const list = hosts.get(word);
          if (list === undefined) hosts.set(word, [slot]);
          else if (list[list.length - 1] !== slot) list.push(slot); // slots come in order
        });
      if (hasNets) netSlots.push(slot);
    }
    this.#starts = Uint32Array.from(edges).sort();
    const around = [...this.#starts].map((start) =>
      netSlots.filter((slot) => holdsAround(indexed, slot, start)),
    );
    this.#intervalIds = Int32Array.from(around, (slots) => this.#intern(slots));
    this.#allocate(hosts.size);
    for (const [word, listed] of hosts) {
      const prefixed = this.#slots[this.of(word)]!;
      const all = prefixed.length === 0 ? listed : mergeSorted(listed, prefixed);
      const held = disputed.has(word)
        ? all.filter((slot) => indexed.get(slot)?.some((set) => set.holdsPlain(word)) === true)
        : all;
      this.#put(word, this.#intern(held));
    }
  }

  #intern(slots: readonly number[]): number {
    const key = slots.join(",");
    const known = this.#known.get(key);
    if (known !== undefined) return known;
    const id = this.#slots.push(slots) - 1;
    this.#known.set(key, id);
    return id;
  }

  #allocate(count: number): void {
    let capacity = 16;
    while (capacity < count * 2) capacity *= 2;
    this.#keys = new Uint32Array(capacity);
    this.#ids = new Int32Array(capacity).fill(-1);
    this.#mask = capacity - 1;
  }

  #put(word: number, id: number): void {
    let at = hash(word) & this.#mask;
    while (this.#ids[at]! >= 0) at = (at + 1) & this.#mask;
    this.#keys[at] = word;
    this.#ids[at] = id;
  }
}

function mergeSorted(a: readonly number[], b: readonly number[]): readonly number[] {
  return [...new Set([...a, ...b])].sort((left, right) => left - right);
}

/** Whether the prefixes of a slot hold the interval that begins at `start`, host entries apart. */
function holdsAround(indexed: ReadonlyMap<number, readonly LiveSet[]>, slot: number, start: number): boolean {
  return indexed.get(slot)?.some((set) => set.prefixHolds(start)) === true;
}

function hash(word: number): number {
  let h = Math.imul(word ^ (word >>> 16), 0x85ebca6b);
  h ^= h >>> 13;
  h = Math.imul(h, 0xc2b2ae35);
  return (h ^ (h >>> 16)) >>> 0;
}
