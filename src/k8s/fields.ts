/**
 * Reading raw API objects field by field. Wrong types and bad values become issues with the API server's field path
 * and wording (`Invalid value: 70000: must be between 1 and 65535, inclusive`); reading goes on with a neutral value,
 * so that all problems of an object are found at once.
 */
import type { IssueCode } from "../base/index.ts";
import { type Faults, labelKeyFaults, labelValueFaults } from "./names.ts";
import type { Labels } from "./types.ts";

export type Raw = Readonly<Record<string, unknown>>;

export interface FieldIssue {
  readonly code: IssueCode;
  readonly path: string;
  readonly message: string;
  /** Path of the place to point at, where it is deeper than `path` (a key of a map). */
  readonly at: string;
}

/** Value as the API server quotes it in messages. */
function quote(value: unknown): string {
  return typeof value === "string" ? JSON.stringify(value) : (JSON.stringify(value) ?? String(value));
}

/** Pairs that were found fine: the same few labels come again and again. */
const validLabels = new Set<string>();
const validLabelsMax = 100_000;

export class Fields {
  readonly issues: FieldIssue[] = [];

  invalid(path: string, value: unknown, detail: string, at: string = path): void {
    this.#add("invalid", path, `Invalid value: ${quote(value)}: ${detail}`, at);
  }
  required(path: string, detail = ""): void {
    this.#add("required", path, `Required value${detail && `: ${detail}`}`);
  }
  forbidden(path: string, detail: string, at: string = path): void {
    this.#add("forbidden", path, `Forbidden: ${detail}`, at);
  }
  notSupported(path: string, value: unknown, supported: readonly string[]): void {
    const list = supported.map(quote).join(", ");
    this.#add("not-supported", path, `Unsupported value: ${quote(value)}: supported values: ${list}`);
  }
  duplicate(path: string, value: unknown): void {
    this.#add("duplicate", path, `Duplicate value: ${quote(value)}`);
  }

  #add(code: IssueCode, path: string, message: string, at: string = path): void {
    this.issues.push({ code, path, message, at });
  }

  /** Reports each fault as Invalid. */
  check(path: string, value: unknown, faults: Faults, at: string = path): void {
    for (const fault of faults) this.invalid(path, value, fault, at);
  }

  /** Reports fields that the API does not have, as `kubectl apply` does (strict field validation). */
  known(raw: Raw, path: string, names: readonly string[]): void {
    for (const name of Object.keys(raw))
      if (!names.includes(name)) this.#add("invalid", `${path}.${name}`, `unknown field "${path}.${name}"`);
  }

  /** An object; absent or null gives `undefined`. */
  object(value: unknown, path: string): Raw | undefined {
    if (value === undefined || value === null) return undefined;
    if (typeof value === "object" && !Array.isArray(value)) return value as Raw;
    this.invalid(path, value, "must be an object");
    return undefined;
  }

  /** A list; absent or null gives the empty list. */
  list(value: unknown, path: string): readonly unknown[] {
    if (value === undefined || value === null) return [];
    if (Array.isArray(value)) return value;
    this.invalid(path, value, "must be a list");
    return [];
  }

  text(value: unknown, path: string): string | undefined {
    if (value === undefined || value === null) return undefined;
    if (typeof value === "string") return value;
    this.invalid(path, value, "must be a string");
    return undefined;
  }

  integer(value: unknown, path: string): number | undefined {
    if (value === undefined || value === null) return undefined;
    if (typeof value === "number" && Number.isInteger(value)) return value;
    this.invalid(path, value, "must be an integer");
    return undefined;
  }

  boolean(value: unknown, path: string): boolean {
    if (value === undefined || value === null) return false;
    if (typeof value === "boolean") return value;
    this.invalid(path, value, "must be true or false");
    return false;
  }

  oneOf<T extends string>(value: unknown, path: string, supported: readonly T[], fallback: T): T {
    if (value === undefined || value === null || value === "") return fallback;
    return this.oneOfExactly(value, path, supported) ?? fallback;
  }

  /** As `oneOf`, but text that is there and empty is wrong too. */
  oneOfExactly<T extends string>(value: unknown, path: string, supported: readonly T[]): T | undefined {
    const found = supported.find((item) => item === value);
    if (found === undefined) this.notSupported(path, value, supported);
    return found;
  }

  texts(value: unknown, path: string): readonly string[] {
    const list = this.list(value, path);
    const texts: string[] = [];
    list.forEach((item, i) => {
      if (typeof item === "string") texts.push(item);
      else this.invalid(`${path}[${i}]`, item, "must be a string");
    });
    return texts;
  }

  /** A string map whose keys and values are labels. */
  labels(value: unknown, path: string): Labels {
    const map = this.map(value, path);
    for (const [key, text] of Object.entries(map)) {
      const pair = `${key}\0${text}`;
      if (validLabels.has(pair)) continue;
      const [keyFaults, valueFaults] = [labelKeyFaults(key), labelValueFaults(text)];
      this.check(path, key, keyFaults, `${path}[${key}]`);
      this.check(path, text, valueFaults, `${path}[${key}]`);
      if (keyFaults.length + valueFaults.length === 0 && validLabels.size < validLabelsMax)
        validLabels.add(pair);
    }
    return map;
  }

  /** Annotations: keys as those of labels, in any case; values are free text. */
  annotations(value: unknown, path: string): Labels {
    const map = this.map(value, path);
    for (const key of Object.keys(map))
      this.check(path, key, labelKeyFaults(key.toLowerCase()), `${path}[${key}]`);
    return map;
  }

  /** A string map; null stands for the empty text, as it does in Go. */
  map(value: unknown, path: string): Labels {
    const raw = this.object(value, path);
    if (raw === undefined) return {};
    const entries = Object.entries(raw).map(([key, item]): readonly [string, string] => {
      if (typeof item === "string") return [key, item];
      if (item !== null) this.invalid(`${path}[${key}]`, item, "must be a string (quote it)");
      return [key, ""];
    });
    return Object.fromEntries(entries); // defines `__proto__` as a key like others
  }
}
