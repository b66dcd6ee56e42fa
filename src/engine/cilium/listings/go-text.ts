/**
 * What Go's encoding/json and text/tabwriter print, byte for byte: Cilium's command line writes its listings through
 * them (`json.MarshalIndent(data, "", "  ")`, `tabwriter.NewWriter(os.Stdout, minwidth, 0, 3, ' ', 0)`).
 */

export type GoValue =
  | string
  | number
  | bigint
  | boolean
  | readonly GoValue[]
  | { readonly [key: string]: GoValue | undefined };

/** Indented JSON with a line break at its end. Keys keep their order, as the fields of a struct do; `undefined` is left out. */
export function goJson(value: GoValue): string {
  return `${pieces(value, "\n")}\n`;
}

function pieces(value: GoValue, lineBreak: string): string {
  if (typeof value === "string") return goString(value);
  if (typeof value !== "object") return String(value);
  const inner = `${lineBreak}  `;
  if (isList(value)) {
    if (value.length === 0) return "[]";
    return `[${value.map((item) => inner + pieces(item, inner)).join()}${lineBreak}]`;
  }
  const members = Object.entries(value).flatMap(([key, item]) =>
    item === undefined ? [] : [`${inner}${goString(key)}: ${pieces(item, inner)}`],
  );
  return members.length === 0 ? "{}" : `{${members.join()}${lineBreak}}`;
}

const isList = (value: object): value is readonly GoValue[] => Array.isArray(value);

/** Go escapes what HTML would take for markup. */
function goString(text: string): string {
  return JSON.stringify(text).replace(
    /[<>&\u2028\u2029]/g,
    (character) => `\\u${character.charCodeAt(0).toString(16).padStart(4, "0")}`,
  );
}

/** A line of a table: cells that a tab ends, then what stands behind the last tab. */
export interface TableLine {
  readonly cells: readonly string[];
  readonly rest?: string;
}

const padding = 3;

/** A column is as wide as its widest cell among neighbouring lines that have it, and wider by three blanks. */
export function goTable(lines: readonly TableLine[], minWidth: number): string {
  const widths = lines.map(({ cells }) => new Array<number>(cells.length).fill(minWidth));
  const columns = lines.reduce((most, { cells }) => Math.max(most, cells.length), 0);
  for (let column = 0; column < columns; column++)
    for (let first = 0, last = 0; first < lines.length; first = last + 1) {
      let width = minWidth;
      for (last = first; last < lines.length; last++) {
        const cell = lines[last]?.cells[column];
        if (cell === undefined) break;
        width = Math.max(width, cell.length + padding);
      }
      for (let line = first; line < last; line++) widths[line]?.splice(column, 1, width);
    }
  return lines
    .map(({ cells, rest = "" }, line) => {
      const padded = cells.map((cell, column) => cell.padEnd(widths[line]?.[column] ?? minWidth));
      return `${padded.join("")}${rest}\n`;
    })
    .join("");
}
