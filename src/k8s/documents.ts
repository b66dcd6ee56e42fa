/**
 * The documents of an input as texts of their own, cut before anything is parsed: a mistake in one hides nothing in
 * the others, and the place of a field is found by reading its document again and no other. YAML allows `---` and
 * `...` at the start of a line only as markers between documents (YAML 1.2.2 section 9.1.2), so that the cut is exact.
 */

export interface DocumentText {
  readonly text: string;
  readonly isJson: boolean;
  /** Lines of the input before the text. */
  readonly linesBefore: number;
  /** Characters of that line before the text. */
  readonly columnsBefore: number;
}

/** Documents without content (blank, comments, directives) are left out. */
export function splitDocuments(input: string): readonly DocumentText[] {
  const text = input.startsWith("\uFEFF") ? input.slice(1) : input;
  return /^\s*[{[]/.test(text) ? (splitJson(text) ?? splitYaml(text)) : splitYaml(text);
}

function splitYaml(text: string): readonly DocumentText[] {
  const documents: DocumentText[] = [];
  let start = 0;
  let line = 0;
  let startLine = 0;
  let counted = 0;
  const cut = (end: number): void => {
    const part = text.slice(start, end);
    if (!/^(?:---)?[ \t]*(?:(?:[%#].*)?(?:\r?\n|$)[ \t]*)*$/.test(part))
      documents.push({ text: part, isJson: false, linesBefore: startLine, columnsBefore: 0 });
  };
  for (const { 0: marker, index } of text.matchAll(/^(?:---|\.\.\.)(?=[ \t\r\n]|$)/gm)) {
    cut(index);
    line += countBreaks(text, counted, index);
    counted = index;
    start = marker === "---" ? index : index + marker.length;
    startLine = line;
  }
  cut(text.length);
  return documents;
}

/** One JSON value after another, as kubectl reads a stream; `undefined` if the text is something else. */
function splitJson(text: string): readonly DocumentText[] | undefined {
  const documents: DocumentText[] = [];
  let counted = 0;
  let line = 0;
  let at = skipBlanks(text, 0);
  while (at < text.length) {
    const end = skipJsonValue(text, at);
    if (end === undefined || (text[at] !== "{" && text[at] !== "[")) return undefined;
    line += countBreaks(text, counted, at);
    counted = at;
    const columnsBefore = at - (text.lastIndexOf("\n", at - 1) + 1);
    documents.push({ text: text.slice(at, end), isJson: true, linesBefore: line, columnsBefore });
    at = skipBlanks(text, end);
  }
  return documents;
}

function countBreaks(text: string, from: number, to: number): number {
  let count = 0;
  for (let at = text.indexOf("\n", from); at >= 0 && at < to; at = text.indexOf("\n", at + 1)) count++;
  return count;
}

/** The first position from `at` on that is no blank of JSON. */
export function skipBlanks(text: string, at: number): number {
  let position = at;
  while (position < text.length && " \t\r\n".includes(text[position] ?? "")) position++;
  return position;
}

/** The end of the string that begins at `at`; `undefined` if it has none. */
export function skipJsonString(text: string, at: number): number | undefined {
  let end = text.indexOf('"', at + 1);
  while (end >= 0) {
    let escapes = 0;
    while (text[end - 1 - escapes] === "\\") escapes++;
    if (escapes % 2 === 0) return end + 1;
    end = text.indexOf('"', end + 1);
  }
  return undefined;
}

/** The end of the value that begins at `at`, judged by brackets and strings alone; `undefined` if it has none. */
export function skipJsonValue(text: string, at: number): number | undefined {
  let depth = 0;
  const token = /["{}[\],:]/g;
  token.lastIndex = at;
  for (let match = token.exec(text); match !== null; match = token.exec(text)) {
    const { index } = match;
    switch (match[0]) {
      case '"': {
        const end = skipJsonString(text, index);
        if (end === undefined) return undefined;
        if (depth === 0) return end;
        token.lastIndex = end;
        break;
      }
      case "{":
      case "[":
        depth++;
        break;
      case "}":
      case "]":
        if (depth === 0) return index; // a number or word ends where its container does
        if (--depth === 0) return index + 1;
        break;
      default:
        if (depth === 0) return index;
    }
  }
  return depth === 0 ? text.length : undefined;
}
