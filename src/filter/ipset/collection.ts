/**
 * All sets of one node by name, with the kernel's answers to operations (texts as ipset(8) prints them; errno names of
 * include/uapi/linux/netfilter/ipset/ip_set.h). Copy on write: `own()` replaces a shared set before it is changed.
 */
import type { ApplyResult } from "../datapath.ts";
import { LiveSet } from "./live.ts";
import type { IpsetEntry, IpsetRepr, IpsetType } from "./repr.ts";

export const setNameMax = 31;

/** One line of `ipset restore` input. */
export type IpsetCommand =
  | {
      readonly op: "create";
      readonly name: string;
      readonly type: IpsetType;
      readonly family: 4 | 6;
      readonly maxelem?: number;
      readonly hashsize?: number;
      /** `--exist`: no error if the same set is there. */
      readonly exist: boolean;
      readonly title?: string;
    }
  | { readonly op: "add" | "del"; readonly name: string; readonly entry: IpsetEntry; readonly exist: boolean }
  | { readonly op: "flush" | "destroy"; readonly name: string }
  | { readonly op: "swap" | "rename"; readonly name: string; readonly to: string };

const sharedSets = new WeakMap<IpsetRepr, LiveSet>();
const done: ApplyResult = { ok: true };

/** Default `maxelem` of hash sets; of `list:set` the default `size` is 8, which the kernel grows as needed. */
export const maxelemDefault = 65536;
const hashsizeDefault = 1024;

export class SetCollection {
  readonly #sets = new Map<string, LiveSet>();
  readonly #owned = new Set<LiveSet>();
  /** Counts changes of the name-to-set relation: linked rules resolve their sets again when it moves. */
  generation = 0;

  constructor(reprs: Iterable<IpsetRepr>) {
    for (const repr of reprs) {
      let set = sharedSets.get(repr);
      if (set === undefined) {
        set = LiveSet.from(repr);
        sharedSets.set(repr, set);
      }
      this.#sets.set(repr.name, set);
    }
    this.#resolveLists();
  }

  get(name: string): LiveSet | undefined {
    return this.#sets.get(name);
  }

  values(): IterableIterator<LiveSet> {
    return this.#sets.values();
  }

  toReprs(): ReadonlyMap<string, IpsetRepr> {
    return new Map([...this.#sets].map(([name, set]) => [name, set.toRepr()]));
  }

  /** `inUse` tells whether a rule refers to a set. */
  apply(command: IpsetCommand, inUse: (name: string) => boolean): ApplyResult {
    switch (command.op) {
      case "create":
        return this.#create(command);
      case "add":
      case "del":
        return this.#change(command);
      case "flush": {
        if (!this.#sets.has(command.name)) return missing(command.name);
        this.#own(command.name).flush();
        this.#resolveLists();
        return done;
      }
      case "destroy": {
        if (!this.#sets.has(command.name)) return missing(command.name);
        if (inUse(command.name) || this.#isMember(command.name))
          return refuse("IPSET_ERR_BUSY", "Set cannot be destroyed: it is in use by a kernel component");
        this.#sets.delete(command.name);
        this.generation++;
        return done;
      }
      case "swap":
      case "rename":
        return this.#exchange(command);
    }
  }

  #create(command: Extract<IpsetCommand, { op: "create" }>): ApplyResult {
    const { name, type, family } = command;
    if (name.length > setNameMax)
      return refuse(
        "ENAMETOOLONG",
        `Syntax error: setname '${name}' is longer than ${setNameMax} characters`,
      );
    const maxelem = command.maxelem ?? (type === "list:set" ? 8 : maxelemDefault);
    const present = this.#sets.get(name);
    if (present !== undefined) {
      const same = present.type === type && present.family === family && present.maxelem === maxelem;
      if (command.exist && same) return done;
      return refuse("EEXIST", "Set cannot be created: set with the same name already exists");
    }
    const set = new LiveSet({
      name,
      type,
      family,
      hashsize: command.hashsize ?? hashsizeDefault,
      maxelem,
      ...(command.title === undefined ? {} : { title: command.title }),
    });
    this.#sets.set(name, set);
    this.#owned.add(set);
    this.generation++;
    return done;
  }

  #change(command: Extract<IpsetCommand, { op: "add" | "del" }>): ApplyResult {
    const { name, entry } = command;
    const present = this.#sets.get(name);
    if (present === undefined) return missing(name);
    const isList = present.type === "list:set";
    if (isList) {
      const member = entry.set === undefined ? undefined : this.#sets.get(entry.set);
      if (member === undefined)
        return refuse("IPSET_ERR_NAME", "Set to be added/deleted/tested as element does not exist.");
      if (member.type === "list:set")
        return refuse("IPSET_ERR_LOOP", "Sets with list:set type cannot be added to the set.");
    } else if (entry.net?.prefix === 0) {
      return refuse("IPSET_ERR_INVALID_CIDR", "The value of the CIDR parameter of the IP address is invalid");
    }
    if (command.op === "add") {
      if (present.has(entry) && !command.exist)
        return refuse("EEXIST", "Element cannot be added to the set: it's already added");
      if (!isList && present.size >= present.maxelem && !present.has(entry))
        return refuse("IPSET_ERR_HASH_FULL", "Hash is full, cannot add more elements");
      this.#own(name).add(entry);
    } else {
      if (!present.has(entry) && !command.exist)
        return refuse("ENOENT", "Element cannot be deleted from the set: it's not added");
      this.#own(name).delete(entry);
    }
    if (isList) this.#resolveLists();
    return done;
  }

  #exchange(command: Extract<IpsetCommand, { op: "swap" | "rename" }>): ApplyResult {
    const from = this.#sets.get(command.name);
    const to = this.#sets.get(command.to);
    if (from === undefined) return missing(command.name);
    if (command.op === "rename") {
      if (to !== undefined)
        return refuse("EEXIST", "Set cannot be renamed: a set with the new name already exists");
      this.#sets.delete(command.name);
      this.#place(from.clone(command.to));
    } else {
      if (to === undefined) return missing(command.to);
      if (to.type !== from.type || to.family !== from.family)
        return refuse("IPSET_ERR_TYPE_MISMATCH", "The sets cannot be swapped: their type does not match");
      this.#place(from.clone(command.to));
      this.#place(to.clone(command.name));
    }
    this.#resolveLists();
    return done;
  }

  #place(set: LiveSet): void {
    this.#sets.set(set.name, set);
    this.#owned.add(set);
    this.generation++;
  }

  /** The set as this node's own, copied first if it is shared. */
  #own(name: string): LiveSet {
    const set = this.#sets.get(name) as LiveSet;
    if (this.#owned.has(set)) return set;
    const copy = set.clone();
    this.#place(copy);
    this.#resolveLists();
    return copy;
  }

  #isMember(name: string): boolean {
    for (const set of this.#sets.values()) if (set.members.includes(name)) return true;
    return false;
  }

  /** Points lists at the sets of this collection; a shared list that would change is copied first. */
  #resolveLists(): void {
    for (const set of [...this.#sets.values()]) {
      if (set.type !== "list:set") continue;
      const resolved = set.members.flatMap((name) => this.#sets.get(name) ?? []);
      const current = set.memberSets;
      if (resolved.length === current.length && resolved.every((member, i) => member === current[i]))
        continue;
      if (this.#owned.has(set) || current.length === 0) {
        set.memberSets = resolved;
        continue;
      }
      const copy = set.clone();
      copy.memberSets = resolved;
      this.#place(copy);
    }
  }
}

function missing(_name: string): ApplyResult {
  return refuse("ENOENT", "The set with the given name does not exist");
}

function refuse(errno: string, message: string): ApplyResult {
  return { ok: false, errno, message };
}
