/** Forms that every report has: JSON, and the escaping of CSV, Markdown and XML. */

/** One value, indented by two; ends with a line break. */
export function* jsonPieces(document: object): Iterable<string> {
  yield* pretty(document, "");
  yield "\n";
}

/** Arrays of plain records stay on one line each: readable, and written piece by piece. */
function* pretty(value: unknown, indent: string): Iterable<string> {
  if (value === null || typeof value !== "object") {
    yield JSON.stringify(value) ?? "null";
    return;
  }
  const inner = `${indent}  `;
  const entries: readonly (readonly [string, unknown])[] = Array.isArray(value)
    ? value.map((item) => ["", item] as const)
    : Object.entries(value).filter(([, item]) => item !== undefined);
  const [open, close] = Array.isArray(value) ? ["[", "]"] : ["{", "}"];
  if (entries.length === 0 || isFlat(value)) {
    yield JSON.stringify(value);
    return;
  }
  yield open;
  let separator = "\n";
  for (const [key, item] of entries) {
    yield separator + inner + (Array.isArray(value) ? "" : `${JSON.stringify(key)}: `);
    yield* pretty(item, inner);
    separator = ",\n";
  }
  yield `\n${indent}${close}`;
}

function isFlat(value: object): boolean {
  return Object.values(value).every(
    (item) =>
      item === null ||
      typeof item !== "object" ||
      (Array.isArray(item) && item.every((one) => typeof one !== "object")),
  );
}

/** RFC 4180. */
export function csvLine(cells: readonly (string | number | undefined)[]): string {
  const quoted = cells.map((cell) => {
    const text = cell === undefined ? "" : String(cell);
    return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
  });
  return `${quoted.join(",")}\r\n`;
}

export function markdownRow(cells: readonly string[]): string {
  return `| ${cells.map((cell) => cell.replaceAll("|", "\\|").replaceAll("\n", " ")).join(" | ")} |\n`;
}

export function markdownTable(head: readonly string[], rows: readonly (readonly string[])[]): string {
  return markdownRow(head) + markdownRow(head.map(() => "---")) + rows.map(markdownRow).join("");
}

/** Text and attribute values; characters that XML 1.0 does not allow become U+FFFD. */
export function xml(text: string): string {
  return text
    .replace(/[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\u{10000}-\u{10ffff}]/gu, "\ufffd")
    .replaceAll("&", "&amp;")
    .replaceAll("<", "&lt;")
    .replaceAll(">", "&gt;")
    .replaceAll('"', "&quot;");
}

export function thousands(value: number): string {
  return value.toLocaleString("en-US");
}

/** Virtual or real time in the unit that suits it. */
export function duration(ns: number): string {
  if (ns >= 1e9) return `${(ns / 1e9).toFixed(ns % 1e9 === 0 ? 0 : 2)} s`;
  if (ns >= 1e6) return `${(ns / 1e6).toFixed(2)} ms`;
  return `${(ns / 1e3).toFixed(1)} us`;
}

export interface JunitCase {
  readonly name: string;
  readonly file?: string;
  /** Seconds; virtual time where it is. */
  readonly time?: number;
  /** One line each; a case without is passed. */
  readonly problems: readonly string[];
  /** What there is to read beside the result. */
  readonly output?: string;
}

export interface JunitSuite {
  readonly name: string;
  readonly cases: readonly JunitCase[];
}

/** The form that CI systems read (testsuites, testsuite, testcase, failure), as Jenkins' junit plug-in takes it. */
export function* junit(suites: readonly JunitSuite[]): Iterable<string> {
  const failures = (suite: JunitSuite): number => suite.cases.filter((one) => one.problems.length > 0).length;
  const count = suites.reduce((sum, suite) => sum + suite.cases.length, 0);
  const failed = suites.reduce((sum, suite) => sum + failures(suite), 0);
  yield '<?xml version="1.0" encoding="UTF-8"?>\n';
  yield `<testsuites name="podwire" tests="${count}" failures="${failed}">\n`;
  for (const suite of suites) {
    yield `  <testsuite name="${xml(suite.name)}" tests="${suite.cases.length}" failures="${failures(suite)}">\n`;
    for (const one of suite.cases) yield junitCase(suite, one);
    yield "  </testsuite>\n";
  }
  yield "</testsuites>\n";
}

function junitCase(suite: JunitSuite, { name, file, time, problems, output }: JunitCase): string {
  const place = file === undefined ? "" : ` file="${xml(file)}"`;
  const seconds = time === undefined ? "" : ` time="${time.toFixed(3)}"`;
  const head = `    <testcase name="${xml(name)}" classname="${xml(suite.name)}"${place}${seconds}`;
  const parts: string[] = [];
  const [first] = problems;
  if (first !== undefined)
    parts.push(`      <failure message="${xml(first)}">${xml(problems.join("\n"))}</failure>\n`);
  if (output !== undefined) parts.push(`      <system-out>${xml(output)}</system-out>\n`);
  return parts.length === 0 ? `${head}/>\n` : `${head}>\n${parts.join("")}    </testcase>\n`;
}
