/**
 * Reading raw API objects field by field. Wrong types and bad values become issues with the API server's field path
 * and wording (`Invalid value: 70000: must be between 1 and 65535, inclusive`); reading goes on with a neutral value,
 * so that all problems of an object are found at once.
 */
import type { IssueCode } from "../base/index.ts";
import { labelKeyFault, labelValueFault } from "./names.ts";
import type { Labels } from "./types.ts";

export type Raw = Readonly<Record<string, unknown>>;

export interface FieldIssue {
  readonly code: IssueCode;
  readonly path: string;
  readonly message: string;
}

/** Value as the API server quotes it in messages. */
function quote(value: unknown): string {
  return typeof value === "string" ? JSON.stringify(value) : (JSON.stringify(value) ?? String(value));
}

const validLabels = new Set<string>();

export class Fields {
  readonly issues: FieldIssue[] = [];

  invalid(path: string, value: unknown, detail: string): void {
    this.issues.push({ code: "invalid", path, message: `Invalid value: ${quote(value)}: ${detail}` });
  }
  required(path: string, detail = ""): void {
    this.issues.push({ code: "required", path, message: `Required value${detail && `: ${detail}`}` });
  }
  forbidden(path: string, detail: string): void {
    this.issues.push({ code: "forbidden", path, message: `Forbidden: ${detail}` });
  }
  notSupported(path: string, value: unknown, supported: readonly string[]): void {
    const list = supported.map(quote).join(", ");
    this.issues.push({
      code: "not-supported",
      path,
      message: `Unsupported value: ${quote(value)}: supported values: ${list}`,
    });
  }
  duplicate(path: string, value: unknown): void {
    this.issues.push({ code: "duplicate", path, message: `Duplicate value: ${quote(value)}` });
  }

  /** Reports `detail` as Invalid if there is one. */
  check(path: string, value: unknown, fault: string | undefined): void {
    if (fault !== undefined) this.invalid(path, value, fault);
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
    const found = supported.find((item) => item === value);
    if (found === undefined) this.notSupported(path, value, supported);
    return found ?? fallback;
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
    for (const key in map) {
      const text = map[key] ?? "";
      const pair = `${key}\0${text}`;
      if (validLabels.has(pair)) continue;
      const keyFault = labelKeyFault(key);
      const valueFault = labelValueFault(text);
      if (keyFault !== undefined) this.invalid(path, key, keyFault);
      if (valueFault !== undefined) this.invalid(path, text, valueFault);
      if (keyFault === undefined && valueFault === undefined && validLabels.size < 100_000)
        validLabels.add(pair);
    }
    return map;
  }

  map(value: unknown, path: string): Labels {
    const raw = this.object(value, path);
    if (raw === undefined) return {};
    const map: Record<string, string> = {};
    for (const [key, item] of Object.entries(raw)) {
      if (typeof item === "string") map[key] = item;
      else if (item === null) map[key] = "";
      else this.invalid(`${path}[${key}]`, item, "must be a string (quote it)");
    }
    return map;
  }
}
