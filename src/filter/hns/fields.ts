/** Fields of a JSON document, read with their paths: every mistake is kept, and told with line and column. */
import { type Document, isNode, LineCounter, parseDocument } from "yaml";
import { InputError, type Issue, type IssueCode } from "../../base/index.ts";

export type JsonPath = readonly (string | number)[];
export type JsonObject = Readonly<Record<string, unknown>>;

export class JsonFields {
  readonly file: string;
  readonly value: unknown;
  readonly #text: string;
  readonly #wrong: { readonly path: JsonPath; readonly code: IssueCode; readonly message: string }[] = [];

  /** @throws InputError for text that is no JSON. */
  constructor(file: string, text: string) {
    this.file = file;
    // PowerShell 5 writes files with a byte order mark
    this.#text = text.startsWith("\ufeff") ? text.slice(1) : text;
    try {
      this.value = JSON.parse(this.#text);
    } catch {
      const before = this.#text.slice(0, syntaxErrorAt(this.#text));
      const lines = before.split("\n");
      const place = { file, line: lines.length, column: (lines.at(-1)?.length ?? 0) + 1 };
      const found = this.#text[before.length];
      const message = `no JSON: unexpected ${found === undefined ? "end" : JSON.stringify(found)}`;
      throw new InputError([{ code: "syntax", path: "", message, ...place }]);
    }
  }

  wrong(path: JsonPath, message: string, code: IssueCode = "invalid"): void {
    this.#wrong.push({ path, code, message });
  }

  object(value: unknown, path: JsonPath): JsonObject {
    if (typeof value === "object" && value !== null && !Array.isArray(value)) return value as JsonObject;
    const isCut = typeof value === "string" && /^@\{|^System\./.test(value);
    const why = isCut ? " (PowerShell cut it: ConvertTo-Json -Depth 10)" : "";
    this.wrong(path, `must be an object, not ${JSON.stringify(value)}${why}`);
    return {};
  }

  /** Absent and null are empty. PowerShell writes a list of one as its element. */
  list(value: unknown, path: JsonPath): readonly unknown[] {
    if (value === undefined || value === null) return [];
    if (Array.isArray(value)) return value as readonly unknown[];
    if (typeof value === "object") return [value];
    this.wrong(path, `must be a list, not ${JSON.stringify(value)}`);
    return [];
  }

  /** Absent and null are empty; numbers are taken for their digits. */
  text(value: unknown, path: JsonPath): string {
    if (value === undefined || value === null) return "";
    if (typeof value === "string") return value;
    if (typeof value === "number") return String(value);
    this.wrong(path, `must be a string, not ${JSON.stringify(value)}`);
    return "";
  }

  oneOf<T extends string>(value: unknown, path: JsonPath, known: readonly T[], fallback: T | undefined): T {
    const text = this.text(value, path);
    const found = known.find((one) => one.toLowerCase() === text.toLowerCase());
    if (found !== undefined) return found;
    if (text === "" && fallback !== undefined) return fallback;
    this.wrong(
      path,
      text === "" ? `is missing: ${known.join(", ")}` : `must be ${known.join(", ")}, not ${text}`,
    );
    return known[0] as T;
  }

  /** 0 to 65535. */
  u16(value: unknown, path: JsonPath): number {
    if (value === undefined || value === null) return 0;
    if (typeof value === "number" && Number.isInteger(value) && value >= 0 && value <= 65_535) return value;
    this.wrong(path, `must be 0 to 65535, not ${JSON.stringify(value)}`);
    return 0;
  }

  /** Everything that was wrong, each with its place. */
  issues(): readonly Issue[] {
    if (this.#wrong.length === 0) return [];
    const lines = new LineCounter();
    const document = parseDocument(this.#text, { lineCounter: lines, prettyErrors: false });
    return this.#wrong.map(({ path, code, message }): Issue => {
      const { line, col } = lines.linePos(startOf(document, path));
      return { code, path: formatPath(path), message, file: this.file, line, column: col };
    });
  }
}

/** Where a value stands, or the nearest thing around it that is there. */
function startOf(document: Document, path: JsonPath): number {
  for (let length = path.length; length > 0; length--) {
    const node = document.getIn(path.slice(0, length), true);
    if (isNode(node) && node.range) return node.range[0];
  }
  return 0;
}

/**
 * Where text stops being JSON: after the longest beginning of it that could still become some. V8 gives no place for short
 * texts; what it says of a beginning tells whether only the rest is missing.
 */
function syntaxErrorAt(text: string): number {
  const isBeginning = (length: number): boolean => {
    try {
      JSON.parse(text.slice(0, length));
      return true;
    } catch (error) {
      const message = error instanceof Error ? error.message : "";
      return /end of JSON|Unterminated/.test(message) || message.includes(`at position ${length}`);
    }
  };
  let [good, bad] = [0, text.length + 1];
  while (bad - good > 1) {
    const middle = (good + bad) >>> 1;
    if (isBeginning(middle)) good = middle;
    else bad = middle;
  }
  return good;
}

function formatPath(path: JsonPath): string {
  return path
    .map((part, i) => (typeof part === "number" ? `[${part}]` : i === 0 ? part : `.${part}`))
    .join("");
}
