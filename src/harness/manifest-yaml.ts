/**
 * API objects as the YAML that people write of them: block style, two spaces, text bare where every reader of YAML 1.1
 * and 1.2 takes it for text, else in double quotes. For objects of strings, integers, booleans, lists and maps, at a
 * fraction of what a general printer takes: clusters have hundreds of thousands of them.
 */

/** One document, with its final newline and no separator. */
export function manifestYaml(object: Readonly<Record<string, unknown>>): string {
  return mapLines(object, "");
}

function mapLines(object: object, indent: string): string {
  let text = "";
  for (const [key, value] of Object.entries(object))
    if (value !== undefined) text += `${indent}${scalar(key)}:${valueLines(value, indent)}`;
  return text;
}

/** What stands after a key, to the end of the last line. */
function valueLines(value: unknown, indent: string): string {
  if (typeof value !== "object" || value === null) return ` ${scalar(value)}\n`;
  if (Array.isArray(value)) {
    if (value.length === 0) return " []\n";
    let text = "\n";
    for (const item of value) text += `${indent}  -${itemLines(item, `${indent}    `)}`;
    return text;
  }
  return isEmpty(value) ? " {}\n" : `\n${mapLines(value, `${indent}  `)}`;
}

/** What stands after a dash: a map begins on its line. */
function itemLines(item: unknown, indent: string): string {
  if (typeof item !== "object" || item === null || Array.isArray(item) || isEmpty(item))
    return valueLines(item, indent.slice(2));
  return ` ${mapLines(item, indent).slice(indent.length)}`;
}

const isEmpty = (value: object): boolean => Object.values(value).every((field) => field === undefined);

const bareWord = /^[A-Za-z_](?:[\w./:-]*[\w./-])?$/;
const bareCidr = /^\d+\.\d+\.\d+\.\d+\/\d+$/;
/** Words that YAML 1.1 reads as booleans or nothing. */
const valueWord = /^(?:y|n|yes|no|on|off|true|false|null)$/i;

function scalar(value: unknown): string {
  if (typeof value !== "string") return JSON.stringify(value);
  if ((bareWord.test(value) && !valueWord.test(value)) || bareCidr.test(value)) return value;
  return JSON.stringify(value);
}
