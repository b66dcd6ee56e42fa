/**
 * A node's BPF as it stands in its kernel: maps and programs loaded, programs attached, all of it changing while the node
 * runs. Loading tables where some stand already keeps the maps that are there under the same name and of the same shape
 * with what they hold, as pinned maps outlive the process that made them; programs and attachments are replaced.
 */
import type { Origin } from "../../base/index.ts";
import { type ApplyResult, Hook, type NodeFacts, type TableOp } from "../datapath.ts";
import type { ProgramType } from "./context.ts";
import { wordBytes } from "./maps/nested.ts";
import {
  Errno,
  type MapEntry,
  type MapRepr,
  type MapShape,
  MapType,
  type MissReason,
  UpdateFlag,
} from "./maps/shape.ts";
import type { LinkedProgram } from "./program.ts";
import { BpfSpace } from "./space.ts";
import { type Attachment, type BpfTables, contentOf, noBpfTables, type ProgramRepr } from "./tables.ts";

/** bpf(2)'s BPF_MAP_UPDATE_ELEM and BPF_MAP_DELETE_ELEM on a map by name. */
export interface BpfMapOp extends TableOp {
  readonly kind: "bpf-map";
  readonly op: "update" | "delete";
  readonly map: string;
  readonly key: Uint8Array;
  /** Of an update. */
  readonly value?: Uint8Array;
  /** Of an update of a map of maps: the inner map's name, in place of a value. */
  readonly inner?: string;
  readonly flags?: number;
  readonly interfaceAt?: MapEntry["interfaceAt"];
  readonly origin?: Origin;
}

/** BPF_MAP_CREATE and a pin, or the pin's removal: the map is gone with the last that names it. */
export interface BpfPinOp extends TableOp {
  readonly kind: "bpf-pin";
  readonly op: "create" | "destroy";
  readonly map: MapRepr;
}

/** Programs, attachments and the maps that are not there yet; `noBpfTables` takes everything away. */
export interface BpfLoadOp extends TableOp {
  readonly kind: "bpf-load";
  readonly tables: BpfTables;
}

export type BpfOp = BpfMapOp | BpfPinOp | BpfLoadOp;

/** Kinds of operations that a node's BPF takes. */
export const bpfOps: readonly BpfOp["kind"][] = ["bpf-map", "bpf-pin", "bpf-load"];

export interface AttachedProgram {
  readonly attachment: Attachment;
  readonly repr: ProgramRepr;
  readonly program: LinkedProgram;
  readonly type: ProgramType;
  readonly hook: number;
}

interface LoadedMap {
  readonly repr: MapRepr;
  /** What has been written and deleted since, by the key's bytes. */
  readonly later: Map<string, MapEntry | undefined>;
  /** Number in the space. */
  readonly number: number;
}

/** Numbers in the space of a load's maps and programs, by their places. */
interface PlaceNumbers {
  readonly maps: ReadonlyMap<number, number>;
  readonly programs: readonly number[];
}

const hookOf = ({ kind, direction }: Attachment): number =>
  kind === "xdp" ? Hook.xdp : direction === "ingress" ? Hook.tcIngress : Hook.tcEgress;

export class LoadedTables {
  readonly space: BpfSpace = new BpfSpace();
  readonly #facts: NodeFacts;
  /** In the order of their places: a node's policy maps come and go with its pods, one by one. */
  #maps: Set<LoadedMap> = new Set();
  #byName = new Map<string, LoadedMap>();
  /** Numbers of interfaces by name, as of a generation of the facts. */
  #interfaces: { readonly generation: number; readonly numbers: ReadonlyMap<string, number> } = {
    generation: -1,
    numbers: new Map(),
  };
  #programs: readonly ProgramRepr[] = [];
  #attached: readonly AttachedProgram[] = [];
  #hooks: readonly number[] = [];
  #questions: BpfTables["questions"];

  /** @throws InputError for maps and programs that cannot be loaded. */
  constructor(tables: BpfTables, facts: NodeFacts) {
    this.#facts = facts;
    this.#load(tables);
  }

  get attached(): readonly AttachedProgram[] {
    return this.#attached;
  }

  /** The same list until what is attached changes. */
  get hooks(): readonly number[] {
    return this.#hooks;
  }

  /** The tables with their maps as they are now; values of maps of maps are places in the list. */
  tables(): BpfTables {
    const loaded = [...this.#maps];
    const places = new Map(loaded.map(({ number }, place) => [number, place]));
    const maps = loaded.map(({ repr: { base, ...repr }, number }): MapRepr => {
      if (!this.space.isTouched(number)) return { ...repr, ...(base === undefined ? {} : { base }) };
      const entries = this.space.map(number)?.entries() ?? [];
      return { ...repr, entries: isNested(repr) ? entries.map((one) => renumbered(one, places)) : entries };
    });
    const attachments = this.#attached.map(({ attachment }) => attachment);
    return { maps, programs: this.#programs, attachments };
  }

  /** Empties the maps that remember clients. */
  forgetClients(): void {
    for (const { repr, number } of this.#maps) {
      if (repr.remembersClients !== true || !this.space.isTouched(number)) continue;
      const map = this.space.map(number);
      for (const { key } of map?.entries() ?? []) map?.remove(key, 0);
    }
  }

  /** What the tables state of themselves; operations that change maps say nothing of what they change it to. */
  get questions(): BpfTables["questions"] {
    return this.#questions;
  }

  apply(op: BpfOp): ApplyResult {
    this.#questions = undefined;
    switch (op.kind) {
      case "bpf-map":
        return this.#change(op);
      case "bpf-pin":
        return op.op === "create" ? this.#create(op.map) : this.#destroy(op.map.name);
      case "bpf-load":
        this.#load(op.tables);
        return { ok: true };
    }
  }

  #load(tables: BpfTables): void {
    const before = tables === noBpfTables ? [] : [...this.#maps];
    // maps that are there already may hold something else
    this.#questions = before.length === 0 ? tables.questions : undefined;
    const named = new Set(tables.maps.map(({ name }) => name));
    const there = new Map(before.map((map) => [map.repr.name, map]));
    const fresh = new Set<LoadedMap>();
    const maps = tables.maps.map((repr): LoadedMap => {
      const old = there.get(repr.name);
      if (old !== undefined && sameShape(old.repr, repr)) return old;
      const map = {
        repr,
        later: new Map(),
        number: this.space.createMap(repr, isNested(repr) ? undefined : repr.base),
      };
      fresh.add(map);
      return map;
    });
    const programs = tables.programs.map(({ name, instructions, isVerified = false }) =>
      this.space.loadProgram(name, instructions, (place) => maps[place]?.number, isVerified),
    );
    this.#setMaps([...maps, ...before.filter(({ repr }) => !named.has(repr.name))]);
    this.#programs = tables.programs;
    const numbers = { maps: new Map(maps.map(({ number }, place) => [place, number])), programs };
    for (const map of fresh) this.#fill(map, numbers);
    this.#attached = tables.attachments.flatMap((attachment) => {
      const program = this.space.program(programs[attachment.program] ?? -1);
      const repr = tables.programs[attachment.program];
      if (program === undefined || repr === undefined) return [];
      return [{ attachment, repr, program, type: repr.type, hook: hookOf(attachment) }];
    });
    this.#hooks = [...new Set(this.#attached.map(({ hook }) => hook))];
  }

  /** Values of maps of maps and of program arrays are places of the tables: here they become numbers of the space. */
  #fill({ repr, number }: LoadedMap, numbers?: PlaceNumbers): void {
    const { entries, base = [] } = repr;
    const written = isNested(repr) ? [...base, ...entries] : entries;
    if (written.length === 0) return;
    const map = this.space.map(number);
    const places = isNested(repr)
      ? (numbers?.maps ?? new Map<number, number>())
      : repr.type === MapType.progArray
        ? new Map(numbers?.programs.entries())
        : undefined;
    for (const entry of written) {
      const { key, value, interfaceAt } = places === undefined ? entry : renumbered(entry, places);
      map?.update(key, 0, this.#valueHere(value, interfaceAt), 0, UpdateFlag.any);
    }
  }

  /** An entry's value with the number of the interface that it names. */
  #valueHere(value: Uint8Array, interfaceAt: MapEntry["interfaceAt"]): Uint8Array {
    if (interfaceAt === undefined) return value;
    const { generation, interfaces } = this.#facts;
    if (this.#interfaces.generation !== generation)
      this.#interfaces = { generation, numbers: new Map(interfaces.map(({ name, index }) => [name, index])) };
    const bytes = value.slice();
    const index = this.#interfaces.numbers.get(interfaceAt.name) ?? 0;
    new DataView(bytes.buffer).setUint32(interfaceAt.offset, index, true);
    return bytes;
  }

  #setMaps(maps: readonly LoadedMap[]): void {
    this.#maps = new Set(maps);
    this.#byName = new Map(maps.map((map) => [map.repr.name, map]));
  }

  /** Entries with their origins, as tables and operations gave them; what programs write is not among them. */
  entriesOf(name: string): readonly MapEntry[] {
    const map = this.#byName.get(name);
    if (map === undefined) return [];
    const entries = contentOf(map.repr);
    if (map.later.size === 0) return entries;
    const written = [...map.later.values()].flatMap((entry) => (entry === undefined ? [] : [entry]));
    return [...entries.filter(({ key }) => !map.later.has(key.join())), ...written];
  }

  shapeOf(name: string): MapShape | undefined {
    return this.#byName.get(name)?.repr;
  }

  missesOf(name: string, key: Uint8Array): readonly MissReason[] {
    const { misses = [] } = this.#byName.get(name)?.repr ?? {};
    return misses.filter(({ offset, byte }) => key[offset] === byte);
  }

  #change({ op, map: name, key, value, inner, flags, interfaceAt, origin }: BpfMapOp): ApplyResult {
    const loaded = this.#byName.get(name);
    const map = this.space.map(loaded?.number ?? -1);
    if (loaded === undefined || map === undefined) return noMap(name);
    const word = inner === undefined ? undefined : this.#byName.get(inner)?.number;
    if (inner !== undefined && word === undefined) return noMap(inner);
    const written = word === undefined ? value : wordBytes(word);
    const isWhole =
      key.length === map.shape.keySize && (op === "delete" || written?.length === map.shape.valueSize);
    if (!isWhole)
      return {
        ok: false,
        errno: "EINVAL",
        message: `map ${name} has keys of ${map.shape.keySize} and values of ${map.shape.valueSize} bytes`,
      };
    const here = this.#valueHere(written ?? new Uint8Array(), interfaceAt);
    const status = op === "delete" ? map.remove(key, 0) : map.update(key, 0, here, 0, flags ?? 0);
    if (status === 0)
      loaded.later.set(
        key.join(),
        op === "delete" ? undefined : { key, value: here, ...(origin === undefined ? {} : { origin }) },
      );
    return answer(name, status);
  }

  #create(repr: MapRepr): ApplyResult {
    if (this.#byName.get(repr.name) !== undefined) return answer(repr.name, -Errno.EEXIST);
    const map = { repr, later: new Map(), number: this.space.createMap(repr, repr.base) };
    this.#maps.add(map);
    this.#byName.set(repr.name, map);
    this.#fill(map);
    return { ok: true };
  }

  #destroy(name: string): ApplyResult {
    const map = this.#byName.get(name);
    if (map === undefined) return noMap(name);
    this.#maps.delete(map);
    this.#byName.delete(name);
    return { ok: true };
  }
}

function noMap(name: string): ApplyResult {
  return { ok: false, errno: "ENOENT", message: `there is no map ${name}` };
}

function answer(name: string, status: number): ApplyResult {
  if (status === 0) return { ok: true };
  const errno = Object.entries(Errno).find(([, number]) => number === -status)?.[0] ?? String(-status);
  return { ok: false, errno, message: `map ${name}: ${errno}` };
}

function isNested({ type }: MapShape): boolean {
  return type === MapType.arrayOfMaps || type === MapType.hashOfMaps;
}

function sameShape(a: MapShape, b: MapShape): boolean {
  return (
    a.type === b.type &&
    a.keySize === b.keySize &&
    a.valueSize === b.valueSize &&
    a.maxEntries === b.maxEntries &&
    a.flags === b.flags
  );
}

/** An entry whose value is a number of another counting. */
function renumbered(entry: MapEntry, numbers: ReadonlyMap<number, number>): MapEntry {
  const word = new DataView(entry.value.buffer, entry.value.byteOffset).getUint32(0, true);
  return { ...entry, value: wordBytes(numbers.get(word) ?? 0xffff_ffff) };
}
