/**
 * What programs asked of maps and told user space while somebody watched: copies of keys and answers, put into words when
 * a trace asks. Why an entry exists is looked up among what the map was made of and what has been written since: a program
 * sees the value alone.
 */
import type { Origin } from "../../base/index.ts";
import type { RuleDescription } from "../datapath.ts";
import { fieldsText } from "./field-text.ts";
import type { OutputEvent } from "./helpers/index.ts";
import { type MapEntry, type MapShape, MapType, type MissReason } from "./maps/shape.ts";

/** Finds entries with their origins, and why a key's absence matters. */
export interface OriginFinder {
  /** What the map of that name was made of, what was written later laid over it. */
  entriesOf(map: string): readonly MapEntry[];
  missesOf(map: string, key: Uint8Array): readonly MissReason[];
}

interface Lookup {
  readonly kind: "lookup";
  readonly shape: MapShape;
  readonly key: Uint8Array;
  readonly value: Uint8Array | undefined;
}

type Step =
  | Lookup
  | { readonly kind: "record"; readonly shape: MapShape | undefined; readonly bytes: Uint8Array };

/** Where descriptions of records say that they stand, beside `map` for what was asked. */
export const recordTable = "record";

export class LookupLog {
  readonly #steps: Step[] = [];

  clear(): void {
    if (this.#steps.length > 0) this.#steps.length = 0;
  }

  /** Number of the step. `value` undefined: nothing was there. */
  lookup(shape: MapShape, key: Uint8Array, value: Uint8Array | undefined): number {
    return this.#steps.push({ kind: "lookup", shape, key, value }) - 1;
  }

  /** `shape`: of the array that the record went to. */
  record(shape: MapShape | undefined, { bytes }: OutputEvent): number {
    return this.#steps.push({ kind: "record", shape, bytes }) - 1;
  }

  describe(number: number, finder: OriginFinder): RuleDescription {
    const step = this.#steps[number] as Step;
    const table = step.kind === "record" ? recordTable : "map";
    const described = { table, chain: step.shape?.name ?? "", number: number + 1 };
    if (step.kind === "record") {
      const layout = step.shape?.records?.[step.bytes[0] ?? -1];
      const text = `${layout?.name ?? "record"}: ${fieldsText(layout?.fields, step.bytes)}`;
      return { ...described, text, origin: undefined };
    }
    const { shape, key, value } = step;
    const asked = fieldsText(shape.layout?.key, key);
    if (value === undefined) {
      const [origin, ...furtherOrigins] = this.#reasonsOf(number, step, finder);
      const further = furtherOrigins.length === 0 ? {} : { furtherOrigins };
      return { ...described, text: `${asked}: none`, origin, ...further };
    }
    const isNested = shape.type === MapType.hashOfMaps || shape.type === MapType.arrayOfMaps;
    const entry = entryOf(shape, key, finder.entriesOf(shape.name));
    const matched =
      shape.type === MapType.lpmTrie && entry !== undefined ? ` by /${prefixOf(entry.key)}` : "";
    const answer = isNested ? "a map" : fieldsText(shape.layout?.value, value);
    return { ...described, text: `${asked}:${matched} ${answer}`, origin: entry?.origin };
  }

  /** A map may be asked for one thing after another: only when it had none of them, and was asked last, does that matter. */
  #reasonsOf(number: number, { shape, key }: Lookup, finder: OriginFinder): readonly Origin[] {
    const reasons = finder.missesOf(shape.name, key);
    const alike = this.#steps.filter(
      (step): step is Lookup =>
        step.kind === "lookup" &&
        step.shape.name === shape.name &&
        reasons.some(({ offset, byte }) => step.key[offset] === byte),
    );
    const isFound = alike.some(({ value }) => value !== undefined);
    return isFound || alike.at(-1) !== this.#steps[number] ? [] : reasons.map(({ origin }) => origin);
  }
}

/** The entry that answered: of a trie the one with the longest prefix. */
function entryOf({ type }: MapShape, key: Uint8Array, entries: readonly MapEntry[]): MapEntry | undefined {
  let best: MapEntry | undefined;
  for (const entry of entries) {
    const isFit = type === MapType.lpmTrie ? coversKey(entry.key, key) : sameBytes(entry.key, key);
    if (isFit && (best === undefined || prefixOf(entry.key) >= prefixOf(best.key))) best = entry;
  }
  return best;
}

function prefixOf(key: Uint8Array): number {
  return new DataView(key.buffer, key.byteOffset).getUint32(0, true);
}

function coversKey(prefix: Uint8Array, key: Uint8Array): boolean {
  const length = prefixOf(prefix);
  for (let at = 4, left = length; left > 0; at++, left -= 8) {
    const mask = left >= 8 ? 0xff : (0xff00 >> left) & 0xff;
    if ((((prefix[at] ?? 0) ^ (key[at] ?? 0)) & mask) !== 0) return false;
  }
  return length <= prefixOf(key);
}

function sameBytes(a: Uint8Array, b: Uint8Array): boolean {
  return a.length === b.length && a.every((byte, i) => byte === b[i]);
}
