/**
 * The exact verdict table of a cluster: for every pair of addresses, every protocol and port, whether a new connection passes,
 * or that only the walk knows. An address is a class, a port an atom; what is left is one bit for each stage of the
 * connection's way.
 */
import type { Ip } from "../addr/index.ts";
import { assert, bitWords, emptyBits, setBit } from "../base/index.ts";
import { AddressSpace, compareWords, type SpaceAddress } from "./address-space.ts";
import { ChainTable } from "./chains.ts";
import { type ClassifiedCluster, choosesAtHome, labelsOf, outsideStarts, stateNodes } from "./cluster.ts";
import { EndTable } from "./end-table.ts";
import { Partition } from "./partition.ts";
import { planWays, type Step } from "./plan.ts";
import { AtomIndex, atomsOf } from "./services.ts";
import { StageBuilder } from "./stages.ts";

export const Decision = {
  /** Only the walk knows. */
  ask: 0,
  allow: 1,
  deny: 2,
} as const;
export type Decision = (typeof Decision)[keyof typeof Decision];

export interface ClassPair {
  readonly source: number;
  readonly destination: number;
  /** Both are of one node. */
  readonly isNear: boolean;
}

export interface StepRows {
  readonly passing: readonly number[];
  readonly asked: readonly number[];
}

export interface TableSize {
  readonly classes: number;
  readonly stages: number;
  /** Distinct sets of classes. */
  readonly rows: number;
  readonly atoms: number;
  readonly programs: number;
  /** Everything that a decision may read. */
  readonly bytes: number;
}

const Part = { outside: 0, pod: 1, node: 2, own: 3 } as const;

export class VerdictTable {
  /** Class of each end, by number of the end in the cluster that the table was made of; a node as others see it. */
  readonly classOfEnd: Uint32Array;
  readonly classes: number;
  readonly atoms: AtomIndex;
  readonly size: TableSize;
  readonly rows: Uint32Array;
  readonly rowWords: number;
  /** Row offsets by vector and atom. */
  readonly vectors: Uint32Array;
  readonly ends: EndTable;
  /** By class: what its addresses are, and of which kind of node. */
  readonly #kindOf: Uint32Array;
  readonly #kinds: number;
  /** Program by (same node, kind, kind). */
  readonly #programOf: Uint16Array;
  /** First step of each program, and behind the last; a step is `StepBit`s and where its stage's classes begin. */
  readonly #stepsFrom: Uint32Array;
  readonly #steps: Uint32Array;
  /** By stage and class: where the vector begins of who passes, and of whom only the walk knows. */
  readonly #passing: Uint32Array;
  readonly #asked: Uint32Array;
  /** Class of a node as it sees itself, by its class as others see it. */
  readonly #ownClass: Uint32Array;

  constructor(cluster: ClassifiedCluster) {
    const chains = new ChainTable();
    const nodes = stateNodes(cluster.nodes, chains);
    const space = spaceOf(cluster, chains);
    const { addresses, parts, nodeOf, ownOf } = space;
    const partition = new Partition(
      addresses,
      [...chains.testMaps],
      labelsOf(addresses, parts, nodeOf, nodes),
    );
    const { count, classOf, representative } = partition;
    this.classes = count;
    this.classOfEnd = classOf.slice(0, cluster.ends.length);
    this.atoms = new AtomIndex(atomsOf(chains.services()));
    const outside = emptyBits(count);
    for (let one = 0; one < count; one++)
      if (parts[representative[one]!] === Part.outside) setBit(outside, one);
    const builder = new StageBuilder(partition, this.atoms, outside);
    const isStated = nodes.map((node, number) => choosesAtHome(node, number, addresses, nodeOf));
    const kindOf = new Uint32Array(count);
    const nodeKinds = 1 + nodes.reduce((max, { kind }) => Math.max(max, kind), 0);
    for (let one = 0; one < count; one++) {
      const index = representative[one]!;
      const part = parts[index]! === Part.own ? Part.node : parts[index]!;
      kindOf[one] =
        part === Part.outside ? 0 : 1 + (part - 1) * nodeKinds + (nodes[nodeOf[index]!]?.kind ?? 0);
    }
    const { programs, programOf, kinds } = planWays(nodes, isStated, builder, nodeKinds, (one) => {
      const number = nodeOf[representative[one]!]!;
      return number < 0 ? undefined : nodes[number];
    });
    assert(
      builder.stages.length * count < 2 ** (32 - StepBit.shift),
      "stages and classes of a step fit one word",
    );
    this.#stepsFrom = Uint32Array.from({ length: programs.length + 1 }, (_, program) =>
      programs.slice(0, program).reduce((sum, steps) => sum + (steps?.length ?? 0), 0),
    );
    this.#steps = Uint32Array.from(
      programs.flatMap((steps = []) => steps.map((step) => stepWord(step, count))),
    );
    this.#programOf = programOf;
    this.#kindOf = kindOf;
    this.#kinds = kinds;
    this.#ownClass = new Uint32Array(count);
    for (const [index, own] of ownOf) this.#ownClass[classOf[index]!] = classOf[own]!;
    this.rowWords = bitWords(count);
    this.rows = new Uint32Array(builder.rows.rows.length * this.rowWords);
    for (const [id, row] of builder.rows.rows.entries()) this.rows.set(row, id * this.rowWords);
    const atoms = this.atoms.atoms.length;
    this.vectors = new Uint32Array(builder.vectors.vectors.length * atoms);
    builder.vectors.vectors.forEach((vector, id) => {
      for (let atom = 0; atom < atoms; atom++)
        this.vectors[id * atoms + atom] = vector[atom]! * this.rowWords;
    });
    this.ends = new EndTable(cluster.ends, space.outside, classOf, count);
    const { stages } = builder;
    // a class that is never such an end has the empty vector
    const flat = (lists: readonly (Int32Array | undefined)[]): Uint32Array => {
      const out = new Uint32Array(lists.length * count);
      lists.forEach((list, stage) => {
        list?.forEach((vector, one) => {
          out[stage * count + one] = Math.max(0, vector) * atoms;
        });
      });
      return out;
    };
    this.#passing = flat(stages.map(({ passing }) => passing));
    this.#asked = flat(stages.map(({ asked }) => asked));
    this.size = {
      classes: count,
      stages: stages.length,
      rows: builder.rows.rows.length,
      atoms,
      programs: programs.length - 1,
      bytes:
        this.rows.byteLength +
        this.vectors.byteLength +
        this.atoms.bytes +
        this.ends.bytes +
        this.#passing.byteLength +
        this.#asked.byteLength +
        kindOf.byteLength * 2 +
        programOf.byteLength,
    };
  }

  /** Classes of two addresses; `undefined` for an address with itself, or with one of the other family. */
  pair(src: Ip, dst: Ip): ClassPair | undefined {
    if (src.family !== dst.family || compareWords(src.words, dst.words) === 0) return undefined;
    const { ends } = this;
    const from = ends.locateAt(src.family, src.words, 0);
    const to = ends.locateAt(dst.family, dst.words, 0);
    const node = from >>> ends.classBits;
    const isNear = node === to >>> ends.classBits && node !== ends.outsideNode;
    return { source: from & ends.classMask, destination: to & ends.classMask, isNear };
  }

  /** @returns `Decision.ask` for protocols that no connections are opened by, and where there is no `pair`. */
  decide(src: Ip, dst: Ip, protocol: number, port: number): Decision {
    const pair = this.pair(src, dst);
    if (pair === undefined) return Decision.ask;
    return this.decideClasses(pair.source, pair.destination, pair.isNear, this.atoms.of(protocol, port));
  }

  /** Of two different addresses. `isNear`: both are of one node. `atom`: of `atoms`, or -1. */
  decideClasses(source: number, destination: number, isNear: boolean, atom: number): Decision {
    if (atom < 0) return Decision.ask;
    const program = this.programBetween(source, destination, isNear);
    if (program === 0) return Decision.ask;
    const { rows, vectors } = this;
    const steps = this.#steps;
    const last = this.#stepsFrom[program + 1]!;
    for (let step = this.#stepsFrom[program]!; step < last; step++) {
      const word = steps[step]!;
      const src = (word & StepBit.sourceIsOwn) === 0 ? source : this.#ownClass[source]!;
      const dst = (word & StepBit.destinationIsOwn) === 0 ? destination : this.#ownClass[destination]!;
      const ofSource = (word & StepBit.ofSource) !== 0;
      const peer = ofSource ? dst : src;
      const key = (word >>> StepBit.shift) + (ofSource ? src : dst);
      if ((word & StepBit.asks) !== 0) {
        const asked = rows[vectors[this.#asked[key]! + atom]! + (peer >>> 5)]!;
        if (((asked >>> (peer & 31)) & 1) === 1) return Decision.ask;
      }
      const passing = rows[vectors[this.#passing[key]! + atom]! + (peer >>> 5)]!;
      if (((passing >>> (peer & 31)) & 1) === 0) return Decision.deny;
    }
    return Decision.allow;
  }

  /**
   * Where the rows begin that a program's steps about the rules of one end have for a class: of who passes, and of whom only
   * the walk knows. Not for programs that know a node as itself.
   */
  rowsOf(program: number, ofSource: boolean, one: number, atom: number): StepRows {
    const passing: number[] = [];
    const asked: number[] = [];
    for (let step = this.#stepsFrom[program]!; step < this.#stepsFrom[program + 1]!; step++) {
      const word = this.#steps[step]!;
      if (((word & StepBit.ofSource) !== 0) !== ofSource) continue;
      const key = (word >>> StepBit.shift) + one;
      passing.push(this.vectors[this.#passing[key]! + atom]!);
      if ((word & StepBit.asks) !== 0) asked.push(this.vectors[this.#asked[key]! + atom]!);
    }
    return { passing, asked };
  }

  /** Equal for classes that meet the same programs. */
  kindOf(one: number): number {
    return this.#kindOf[one]!;
  }

  /** Number of the program that tells connections between addresses of two classes. */
  programBetween(source: number, destination: number, isNear: boolean): number {
    const near = isNear ? this.#kinds : 0;
    return this.#programOf[(near + this.#kindOf[source]!) * this.#kinds + this.#kindOf[destination]!]!;
  }
}

const StepBit = { ofSource: 1, sourceIsOwn: 2, destinationIsOwn: 4, asks: 8, shift: 4 } as const;

function stepWord({ stage, sourceIsOwn, destinationIsOwn }: Step, classes: number): number {
  const bits =
    (stage.end === "source" ? StepBit.ofSource : 0) |
    (sourceIsOwn ? StepBit.sourceIsOwn : 0) |
    (destinationIsOwn ? StepBit.destinationIsOwn : 0) |
    (stage.asked === undefined ? 0 : StepBit.asks);
  return ((stage.id * classes) << StepBit.shift) | bits;
}

interface ClusterSpace {
  readonly addresses: AddressSpace;
  /** By address: a number of `Part`, and of its node (-1 outside). */
  readonly parts: Uint8Array;
  readonly nodeOf: Int32Array;
  /** A node's address, and the same as the node itself sees it. */
  readonly ownOf: readonly (readonly [index: number, own: number])[];
  readonly outside: readonly {
    readonly words: readonly number[];
    readonly family: 4 | 6;
    readonly index: number;
  }[];
}

function spaceOf({ ends, nodes }: ClassifiedCluster, chains: ChainTable): ClusterSpace {
  const list: SpaceAddress[] = ends.map(({ family, words }) => ({ family, words, isOwn: false }));
  const parts: number[] = ends.map(({ kind }) => Part[kind]);
  const nodeOf: number[] = ends.map(({ node }) => node);
  const ownOf: (readonly [number, number])[] = [];
  for (const [index, { kind, family, words, node }] of ends.entries()) {
    assert(node >= 0 && node < nodes.length, "an end is on one of the nodes");
    if (kind !== "node") continue;
    ownOf.push([index, list.push({ family, words, isOwn: true }) - 1]);
    parts.push(Part.own);
    nodeOf.push(node);
  }
  const outside: { words: readonly number[]; family: 4 | 6; index: number }[] = [];
  for (const family of [4, 6] as const)
    for (const words of outsideStarts(chains.testMaps, ends, family)) {
      outside.push({ words, family, index: list.push({ family, words, isOwn: false }) - 1 });
      parts.push(Part.outside);
      nodeOf.push(-1);
    }
  return {
    addresses: new AddressSpace(list),
    parts: Uint8Array.from(parts),
    nodeOf: Int32Array.from(nodeOf),
    ownOf,
    outside,
  };
}

/** @throws AssertionError when an end is on a node that there is not. */
export function buildVerdictTable(cluster: ClassifiedCluster): VerdictTable {
  return new VerdictTable(cluster);
}
