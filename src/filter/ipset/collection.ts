/**
 * All sets of one node by name, with the kernel's answers to operations (texts as ipset(8) prints them; errno names of
 * include/uapi/linux/netfilter/ipset/ip_set.h). Copy on write: `own()` replaces a shared set before it is changed.
 */

import { type PacketBatch, packetEnd } from "../../packet/index.ts";
import type { ApplyResult } from "../datapath.ts";
import { LiveSet, type SetNode } from "./live.ts";
import type { IpsetEntry, IpsetOptions, IpsetRepr, IpsetType } from "./repr.ts";
import { shapeOf } from "./shape.ts";

export const setNameMax = 31;

/** One line of `ipset restore` input. */
export type IpsetCommand =
  | (IpsetOptions & {
      readonly op: "create";
      readonly name: string;
      readonly type: IpsetType;
      readonly family: 4 | 6;
      readonly maxelem?: number;
      readonly hashsize?: number;
      /** `--exist`: no error if the same set is there. */
      readonly exist: boolean;
      readonly title?: string;
    })
  | { readonly op: "add" | "del"; readonly name: string; readonly entry: IpsetEntry; readonly exist: boolean }
  /** Without a name: all sets. */
  | { readonly op: "flush" | "destroy"; readonly name: string | undefined }
  | { readonly op: "swap" | "rename"; readonly name: string; readonly to: string };

const sharedSets = new WeakMap<IpsetRepr, LiveSet>();
const done: ApplyResult = { ok: true };

/** Default `maxelem` of hash sets; of `list:set` the default `size` is 8, which the kernel grows as needed. */
export const maxelemDefault = 65536;
const hashsizeDefault = 1024;

export class SetCollection {
  readonly #sets = new Map<string, LiveSet>();
  readonly #owned = new Set<LiveSet>();
  readonly #nowNs: () => number;
  /** Counts changes of the name-to-set relation: linked rules resolve their sets again when it moves. */
  generation = 0;
  /** Counts changes of any set's members, and of which sets there are. */
  changes = 0;

  /** Members' time-outs run from now. */
  constructor(reprs: Iterable<IpsetRepr>, nowNs: () => number = () => 0) {
    this.#nowNs = nowNs;
    for (const repr of reprs) {
      let set = sharedSets.get(repr);
      if (set === undefined) {
        set = LiveSet.from(repr, nowNs());
        if (set.isStateful) this.#owned.add(set);
        else sharedSets.set(repr, set);
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
    return new Map([...this.#sets].map(([name, set]) => [name, set.toRepr(this.#nowNs())]));
  }

  /** `inUse` tells whether a rule refers to a set. */
  apply(command: IpsetCommand, inUse: (name: string) => boolean): ApplyResult {
    this.changes++;
    switch (command.op) {
      case "create":
        return this.#create(command);
      case "add":
      case "del":
        return this.#change(command);
      case "flush":
        return this.#flush(command.name);
      case "destroy":
        return this.#destroy(command.name, inUse);
      case "swap":
      case "rename":
        return this.#exchange(command, inUse);
    }
  }

  /** Copies a set that packets will change, and the members of a list, so that whoever holds the sets sees the changes. */
  makeOwn(name: string): void {
    const set = this.#sets.get(name);
    for (const one of [name, ...(set?.members ?? [])]) if (this.#sets.has(one)) this.#own(one);
  }

  /** What the SET target does with a packet's own entry; refusals change nothing, as in the kernel. */
  changeByRow(
    op: "add" | "del",
    name: string,
    batch: PacketBatch,
    row: number,
    dimensions: number,
    node: SetNode,
    options: { readonly exist: boolean; readonly timeout: number | undefined },
  ): void {
    this.changes++;
    const set = this.#sets.get(name);
    const targets = set?.type === "list:set" ? set.memberSets : set === undefined ? [] : [set];
    for (const target of targets) {
      const entry = target.entryOfRow(batch, row, dimensions, node);
      if (entry === undefined) continue;
      const size = packetEnd(batch, row) - batch.offset[row]!;
      const timeout = options.timeout === undefined ? {} : { timeout: options.timeout };
      const timed = { ...entry, ...timeout, packets: 1, bytes: size }; // the packet that adds is the first counted
      const result = this.#change({ op, name: target.name, entry: timed, exist: options.exist });
      if (result.ok) return; // of a list, the first set that takes it
    }
  }

  #create(command: Extract<IpsetCommand, { op: "create" }>): ApplyResult {
    const { op: _op, exist, hashsize, ...fields } = command;
    const { name, type } = fields;
    if (name.length > setNameMax)
      return refuse(
        "ENAMETOOLONG",
        `Syntax error: setname '${name}' is longer than ${setNameMax} characters`,
      );
    const maxelem = command.maxelem ?? (type === "list:set" ? 8 : maxelemDefault);
    const present = this.#sets.get(name);
    if (present !== undefined) {
      const same = isSameSet(present, { ...fields, maxelem });
      if (exist && same) return done;
      return refuse("EEXIST", "Set cannot be created: set with the same name already exists");
    }
    if (shapeOf(type).isBitmap && fields.range === undefined)
      return refuse("IPSET_ERR_PROTOCOL", "Kernel error received: ipset protocol error");
    const set = new LiveSet({ ...fields, hashsize: roundHashsize(hashsize ?? hashsizeDefault), maxelem });
    this.#sets.set(name, set);
    this.#owned.add(set);
    this.generation++;
    return done;
  }

  #flush(name: string | undefined): ApplyResult {
    if (name !== undefined && !this.#sets.has(name)) return missing();
    for (const one of name === undefined ? [...this.#sets.keys()] : [name]) this.#own(one).flush();
    this.#resolveLists();
    return done;
  }

  #destroy(name: string | undefined, inUse: (name: string) => boolean): ApplyResult {
    if (name !== undefined && !this.#sets.has(name)) return missing();
    const isBusy = (one: string): boolean => inUse(one) || this.#isMember(one);
    const names = name === undefined ? [...this.#sets.keys()] : [name];
    if (names.some(isBusy))
      return refuse("IPSET_ERR_BUSY", "Set cannot be destroyed: it is in use by a kernel component");
    for (const one of names) this.#sets.delete(one);
    this.generation++;
    return done;
  }

  #change(command: Extract<IpsetCommand, { op: "add" | "del" }>): ApplyResult {
    const { name, entry } = command;
    const present = this.#sets.get(name);
    if (present === undefined) return missing();
    const problem = this.#problemOf(present, entry);
    if (problem !== undefined) return problem;
    const isList = present.type === "list:set";
    const nowNs = this.#nowNs();
    const isThere = present.has(entry, nowNs);
    if (command.op === "add") {
      if (isThere && !command.exist)
        return refuse("EEXIST", "Element cannot be added to the set: it's already added");
      if (!isList && !isThere && present.size >= present.maxelem && !present.shape.isBitmap) {
        const own = this.#own(name);
        own.expire(nowNs);
        const victim = own.size < own.maxelem || !own.fields.forceadd ? undefined : own.anyEntry();
        if (victim !== undefined) own.delete(victim);
        if (own.size >= own.maxelem)
          return refuse("IPSET_ERR_HASH_FULL", "Hash is full, cannot add more elements");
      }
      this.#own(name).add(entry, nowNs);
    } else {
      if (!isThere && !command.exist)
        return refuse("ENOENT", "Element cannot be deleted from the set: it's not added");
      this.#own(name).delete(entry);
    }
    if (isList) this.#resolveLists();
    return done;
  }

  /** What the kernel refuses about an entry, whatever the set holds. */
  #problemOf(set: LiveSet, entry: IpsetEntry): ApplyResult | undefined {
    if (set.type === "list:set") {
      const member = entry.set === undefined ? undefined : this.#sets.get(entry.set);
      if (member === undefined)
        return refuse("IPSET_ERR_NAME", "Set to be added/deleted/tested as element does not exist.");
      if (member.type === "list:set")
        return refuse("IPSET_ERR_LOOP", "Sets with list:set type cannot be added to the set.");
      return undefined;
    }
    const { parts, isBitmap } = set.shape;
    if (entry.net?.prefix === 0 || entry.net2?.prefix === 0)
      return refuse("IPSET_ERR_INVALID_CIDR", "The value of the CIDR parameter of the IP address is invalid");
    if (set.type === "hash:ip" && entry.net?.words.every((word) => word === 0))
      return refuse("IPSET_ERR_HASH_ELEM", "Element is out of the range of the set");
    const [first, last] = set.fields.range ?? [0, 0];
    const value = parts[0] === "port" ? (entry.port ?? 0) : (entry.net?.words[0] ?? 0);
    if (isBitmap && (value < first || value > last))
      return refuse("IPSET_ERR_BITMAP_RANGE", "Element is out of the range of the set");
    return undefined;
  }

  #exchange(
    command: Extract<IpsetCommand, { op: "swap" | "rename" }>,
    inUse: (name: string) => boolean,
  ): ApplyResult {
    const from = this.#sets.get(command.name);
    const to = this.#sets.get(command.to);
    if (from === undefined) return missing();
    if (command.op === "rename") {
      if (to !== undefined)
        return refuse("EEXIST", "Set cannot be renamed: a set with the new name already exists");
      if (inUse(command.name) || this.#isMember(command.name))
        return refuse("IPSET_ERR_REFERENCED", "Set cannot be renamed: it is in use by another system");
      this.#sets.delete(command.name);
      this.#place(from.clone(command.to));
    } else {
      if (to === undefined) return missing();
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

/** hashsize is a power of two, 64 at least (ip_set_hash_gen.h). */
function roundHashsize(hashsize: number): number {
  return 2 ** Math.ceil(Math.log2(Math.max(64, hashsize)));
}

/** What `create --exist` compares (mtype_same_set): all but names and the size of the table. */
function isSameSet(set: LiveSet, wanted: Omit<IpsetRepr, "entries" | "hashsize">): boolean {
  const { fields } = set;
  const keys = ["type", "family", "maxelem", "timeout", "netmask", "counters", "comment", "skbinfo"] as const;
  const range = ({ range: span }: IpsetOptions): string => (span ?? []).join("-");
  return (
    keys.every((key) => (fields[key] ?? false) === (wanted[key] ?? false)) && range(fields) === range(wanted)
  );
}

function missing(): ApplyResult {
  return refuse("ENOENT", "The set with the given name does not exist");
}

function refuse(errno: string, message: string): ApplyResult {
  return { ok: false, errno, message };
}
