/** Policy maps out of what `cilium bpf policy get -o json` prints, of all endpoints or of one. */
import type { MapEntry } from "../../../filter/bpf/index.ts";
import type { Fields, ManifestInput } from "../../../k8s/index.ts";
import type { MapGeneration } from "../variant.ts";
import { entryFields, keyFields, type RecordField, recordEntry, tellingField } from "./records.ts";

type RawFields = Readonly<Record<string, unknown>>;

export interface ListedPolicies {
  /** How many files there were. */
  readonly files: number;
  /** All of them could be read. */
  readonly isWhole: boolean;
  readonly generation: MapGeneration | undefined;
  readonly byEndpoint: ReadonlyMap<number, readonly MapEntry[]>;
}

/** `files`: each with its endpoint, or `undefined` for a listing of all; `read` collects what is wrong with one. */
export function readPolicies(
  files: readonly (readonly [number | undefined, ManifestInput])[],
  read: <T>(input: ManifestInput, decode: (fields: Fields, value: unknown) => T) => T | undefined,
): ListedPolicies {
  const byEndpoint = new Map<number, readonly MapEntry[]>();
  const reader = new RecordReader();
  let isWhole = true;
  for (const [endpoint, input] of files) {
    const isRead = read(input, (fields, value) => {
      const add = (id: number, at: string, entries: readonly MapEntry[]): void => {
        if (byEndpoint.has(id)) fields.duplicate(at, id);
        byEndpoint.set(id, entries);
      };
      if (endpoint !== undefined) add(endpoint, "", reader.entries(fields, value, "", input.name));
      else
        fields.list(value, "").forEach((item, i) => {
          const at = `[${i}]`;
          const raw = fields.object(item, at) ?? {};
          const id = endpointId(fields, raw, at);
          add(
            id ?? -1,
            `${at}.EndpointID`,
            reader.entries(fields, raw["Content"], `${at}.Content`, input.name),
          );
        });
      return fields.issues.length === 0;
    });
    isWhole &&= isRead === true;
  }
  return { files: files.length, isWhole, generation: reader.generation, byEndpoint };
}

function endpointId(fields: Fields, raw: RawFields, at: string): number | undefined {
  fields.known(raw, at, ["EndpointID", "Path", "Content"]);
  if (raw["Key"] !== undefined) {
    fields.invalid(
      at,
      "Key",
      "entries of one endpoint stand in a file that is named after it: policy-ID.json",
    );
    return undefined;
  }
  const path = fields.text(raw["Path"], `${at}.Path`) ?? "";
  if (path.includes("cilium_policy_v3_"))
    fields.invalid(`${at}.Path`, path, "policy maps of 1.20 and later are not emulated");
  const text = fields.text(raw["EndpointID"], `${at}.EndpointID`);
  if (text === undefined) fields.required(`${at}.EndpointID`);
  else if (!/^[1-9][0-9]{0,4}$/.test(text) || Number(text) > 65_535)
    fields.invalid(`${at}.EndpointID`, text, "must be an endpoint's number, 1 to 65535, as text");
  else return Number(text);
  return undefined;
}

/** The first entry tells which generation all of them are of. */
class RecordReader {
  #generation: MapGeneration | undefined;

  get generation(): MapGeneration | undefined {
    return this.#generation;
  }

  entries(fields: Fields, value: unknown, at: string, file: string): readonly MapEntry[] {
    if (value === undefined || value === null) fields.required(at);
    const known = new Set<string>();
    return fields.list(value, at).flatMap((item, i): MapEntry[] => {
      const path = `${at}[${i}]`;
      const entry = this.#entry(fields, item, path, file);
      if (entry === undefined) return [];
      const key = entry.key.join();
      if (known.has(key)) fields.duplicate(`${path}.Key`, "the same key");
      known.add(key);
      return [entry];
    });
  }

  #entry(fields: Fields, item: unknown, at: string, file: string): MapEntry | undefined {
    const raw = fields.object(item, at) ?? {};
    const generation = generationOf(raw);
    if (generation === undefined) {
      const names = Object.values(tellingField).join(", ");
      fields.required(at, `one of ${names} says which layout a policy map has`);
      return undefined;
    }
    this.#generation ??= generation;
    if (generation !== this.#generation) {
      const [mine, first] = [generation, this.#generation].map((one) => tellingField[one]);
      fields.invalid(`${at}.${mine}`, raw[mine ?? ""], `entries before this one have ${first} instead`);
      return undefined;
    }
    const before = fields.issues.length;
    fields.known(raw, at, [...entryFields[generation].map(({ name }) => name), "Cookie", "Key"]);
    const value = numbers(fields, raw, at, entryFields[generation]);
    const rawKey = fields.object(raw["Key"], `${at}.Key`);
    if (rawKey === undefined) fields.required(`${at}.Key`);
    else
      fields.known(
        rawKey,
        `${at}.Key`,
        keyFields.map(({ name }) => name),
      );
    const key = numbers(fields, rawKey ?? {}, `${at}.Key`, keyFields);
    checkKey(fields, key, `${at}.Key`);
    if (fields.issues.length > before) return undefined;
    const role = ((value["Flags"] ?? 0) & 1) === 0 ? "allow" : "deny";
    const direction = key["TrafficDirection"] === 0 ? "ingress" : "egress";
    const origin = { kind: "Listing", name: file, path: at, role, direction } as const;
    return { ...recordEntry(generation, key, value), origin };
  }
}

function generationOf(raw: RawFields): MapGeneration | undefined {
  return (["G1", "G2", "G3"] as const).find((generation) => raw[tellingField[generation]] !== undefined);
}

/** Counters that are not in the entry may say anything. */
function numbers(
  fields: Fields,
  raw: RawFields,
  at: string,
  wanted: readonly RecordField[],
): Readonly<Record<string, number>> {
  const read: Record<string, number> = {};
  for (const { name, offset, bytes } of wanted) {
    if (offset === undefined) continue;
    const number = fields.integer(raw[name], `${at}.${name}`);
    if (raw[name] === undefined || raw[name] === null) fields.required(`${at}.${name}`);
    else if (number !== undefined && (number < 0 || number > 2 ** (8 * bytes) - 1))
      fields.invalid(`${at}.${name}`, number, `must fit ${8 * bytes} bits`);
    else if (number !== undefined) read[name] = number;
  }
  return read;
}

/** A prefix holds identity and direction, then the whole protocol or nothing of it, then bits of the port. */
function checkKey(fields: Fields, key: Readonly<Record<string, number>>, at: string): void {
  const { Prefixlen: length, TrafficDirection: direction } = key;
  if (length !== undefined && length !== 40 && (length < 48 || length > 64))
    fields.invalid(`${at}.Prefixlen`, length, "must be 40 (any protocol) or 48 to 64");
  if (direction !== undefined && direction > 1)
    fields.invalid(`${at}.TrafficDirection`, direction, "must be 0 (ingress) or 1 (egress)");
}
