/**
 * Truth tables of scenarios: a default with overrides, or a text grid; both become overrides of single patterns.
 * Cells of a pod with itself are never compared (upstream leaves the diagonal out as well).
 */
import { InputError, type Issue, type Place } from "../base/index.ts";
import { type Expectation, sameForAll } from "./expectation.ts";
import { formatPort, type ScenarioPort } from "./port.ts";
import type { ExpectedVerdict, MatrixExpectation, MatrixOverride } from "./scenario.ts";

export interface ExpectedCell {
  /** `namespace/name` */
  readonly from: string;
  readonly to: string;
  readonly port: ScenarioPort;
  readonly verdict: Expectation<ExpectedVerdict>;
}

/**
 * Every compared cell, ordered by source, destination and port as given.
 * @param podNames pods of the cluster at that moment that are not on the host's network; names the expectation's
 * `pods` if it has none.
 * @throws InputError when the expectation names a pod that does not exist or an override matches no cell.
 */
export function expandExpectedMatrix(
  expectation: MatrixExpectation,
  podNames: readonly string[],
): readonly ExpectedCell[] {
  const issues: Issue[] = [];
  const known = new Set(podNames);
  const pods = expectation.pods.length > 0 ? expectation.pods : podNames;
  for (const name of pods)
    if (!known.has(name))
      issues.push({
        code: "unknown-name",
        path: "expectMatrix.pods",
        message: `there is no pod ${name}`,
        ...expectation.place,
      });
  const cells: ExpectedCell[] = [];
  const used = new Set<MatrixOverride>();
  for (const from of pods)
    for (const to of pods) {
      if (from === to) continue;
      for (const port of expectation.ports) {
        let verdict = expectation.default;
        for (const override of expectation.overrides) {
          if (!overrides(override, from, to, port)) continue;
          used.add(override);
          verdict = override.verdict;
        }
        cells.push({ from, to, port, verdict });
      }
    }
  for (const override of expectation.overrides)
    if (!used.has(override))
      issues.push({
        code: "invalid",
        path: "expectMatrix.overrides",
        message: `no cell matches from ${override.from.join(", ")} to ${override.to.join(", ")}`,
        ...override.place,
      });
  if (issues.length > 0) throw new InputError(issues);
  return cells;
}

function overrides(override: MatrixOverride, from: string, to: string, port: ScenarioPort): boolean {
  return (
    override.from.some((pattern) => matchesPattern(pattern, from)) &&
    override.to.some((pattern) => matchesPattern(pattern, to)) &&
    (override.ports.length === 0 || override.ports.some((own) => samePort(own, port)))
  );
}

/** `*`, `namespace/*` or `namespace/name`. */
function matchesPattern(pattern: string, name: string): boolean {
  if (pattern === "*") return true;
  return pattern.endsWith("/*") ? name.startsWith(pattern.slice(0, -1)) : pattern === name;
}

export function samePort(a: ScenarioPort, b: ScenarioPort): boolean {
  return a.protocol === b.protocol && a.port === b.port;
}

const letters: Readonly<Record<string, ExpectedVerdict>> = { ".": "allow", X: "deny", "?": "undefined" };

export interface ReadTable {
  readonly pods: readonly string[];
  readonly overrides: readonly MatrixOverride[];
}

/** Reads a grid; a word may stand in its corner and anything on its diagonal. @returns what is wrong as a text, or the table. */
export function readTable(text: string, ports: readonly ScenarioPort[], place: Place): ReadTable | string {
  const rows = text
    .split("\n")
    .map((line) => line.trim())
    .filter((line) => line !== "" && !line.startsWith("#"))
    .map((line) => line.split(/\s+/));
  const [firstLine, ...body] = rows;
  if (firstLine === undefined || body.length === 0) return "the table needs a header line and rows";
  const header = firstLine[0]?.includes("/") ? firstLine : firstLine.slice(1); // a word in the corner
  const overridesOfTable: MatrixOverride[] = [];
  for (const [from = "", ...cells] of body) {
    if (!header.includes(from)) return `row ${from} has no column`;
    if (cells.length !== header.length)
      return `row ${from} has ${cells.length} cells, the header ${header.length}`;
    for (const [column, cell] of cells.entries()) {
      const to = header[column] ?? "";
      if (to === from) continue;
      if (cell.length !== ports.length)
        return `cell ${from} -> ${to} has ${cell.length} letters for ${ports.length} ports (${ports.map(formatPort).join(", ")})`;
      for (const [index, port] of ports.entries()) {
        const verdict = letters[cell[index] ?? ""];
        if (verdict === undefined)
          return `unknown letter ${cell[index]} in cell ${from} -> ${to}; write . for allow, X for deny, ? for undefined`;
        overridesOfTable.push({ from: [from], to: [to], ports: [port], verdict: sameForAll(verdict), place });
      }
    }
  }
  const rowNames = body.map(([from = ""]) => from);
  const missing = header.find((name) => !rowNames.includes(name));
  if (missing !== undefined) return `column ${missing} has no row`;
  if (new Set(rowNames).size !== rowNames.length) return "a row stands twice";
  return { pods: header, overrides: overridesOfTable };
}
