/**
 * Decisions for columns of packets, in stages of 1,024 rows: addresses to classes, ports to atoms, then bits. What one stage
 * reads lies close together, and no row waits for the reads of the one before.
 */
import { Decision, type VerdictTable } from "./table.ts";

/** Columns of IPv4 and IPv6 packets: four lanes an address, as a `PacketBatch` has them. */
export interface DecidedColumns {
  readonly family: Uint8Array;
  readonly protocol: Uint8Array;
  readonly src: Uint32Array;
  readonly dst: Uint32Array;
  readonly dport: Uint16Array;
}

const stageRows = 1024;

export class BatchDecider {
  readonly #table: VerdictTable;
  readonly #from = new Uint32Array(stageRows);
  readonly #to = new Uint32Array(stageRows);
  readonly #isNear = new Uint8Array(stageRows);
  readonly #atoms = new Int32Array(stageRows);

  constructor(table: VerdictTable) {
    this.#table = table;
  }

  /** Fills `out[first..last)` with `Decision`s of the rows as new connections. */
  decide(columns: DecidedColumns, first: number, last: number, out: Uint8Array): void {
    for (let at = first; at < last; at += stageRows)
      this.#stage(columns, at, Math.min(at + stageRows, last), out);
  }

  #stage(
    { family, protocol, src, dst, dport }: DecidedColumns,
    first: number,
    last: number,
    out: Uint8Array,
  ): void {
    const table = this.#table;
    const { ends } = table;
    const { classBits, classMask } = ends;
    const [from, to, isNear, atoms] = [this.#from, this.#to, this.#isNear, this.#atoms];
    for (let row = first; row < last; row++) {
      const i = row - first;
      if (family[row] !== 4) {
        const a = ends.locateAt(6, src, row * 4);
        const b = ends.locateAt(6, dst, row * 4);
        from[i] = a & classMask;
        to[i] = b & classMask;
        isNear[i] = nearness(a >>> classBits, b >>> classBits, ends.outsideNode);
        if (isNear[i] === 1 && sameWords(src, dst, row * 4)) isNear[i] = itself;
        continue;
      }
      const s = src[row * 4]!;
      const d = dst[row * 4]!;
      const a = ends.locate4(s);
      const b = ends.locate4(d);
      from[i] = a & classMask;
      to[i] = b & classMask;
      isNear[i] = s === d ? itself : nearness(a >>> classBits, b >>> classBits, ends.outsideNode);
    }
    for (let row = first; row < last; row++) atoms[row - first] = table.atoms.of(protocol[row]!, dport[row]!);
    for (let row = first; row < last; row++) {
      const i = row - first;
      out[row] =
        isNear[i] === itself
          ? Decision.ask
          : table.decideClasses(from[i]!, to[i]!, isNear[i] === 1, atoms[i]!);
    }
  }
}

/** In place of nearness: source and destination are one address. */
const itself = 2;

function nearness(a: number, b: number, outside: number): number {
  return a === b && a !== outside ? 1 : 0;
}

function sameWords(a: Uint32Array, b: Uint32Array, at: number): boolean {
  for (let i = at; i < at + 4; i++) if (a[i] !== b[i]) return false;
  return true;
}
