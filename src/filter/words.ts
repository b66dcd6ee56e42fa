/**
 * Words of one line of a netfilter tool's text, each with its column, and a reader that turns every complaint into an
 * `InputError` with file, line and column. Quoting is that of iptables-restore (iptables/xshared.c, add_param_to_argv):
 * double quotes hold blanks, a backslash inside them takes the next character as it is.
 */
import { InputError, type IssueCode } from "../base/index.ts";

export interface Word {
  readonly text: string;
  /** From 1. */
  readonly column: number;
  /** Some part of it stood in quotes: never an option or a `!`. */
  readonly isQuoted: boolean;
}

export interface LinePlace {
  readonly file: string;
  /** From 1. */
  readonly line: number;
}

export class WordReader {
  readonly #words: readonly Word[];
  readonly #place: LinePlace;
  readonly #end: number;
  #next = 0;

  /** @throws InputError when a quote is left open. */
  constructor(line: string, place: LinePlace) {
    this.#place = place;
    this.#end = line.length + 1;
    this.#words = this.#split(line);
  }

  peek(): Word | undefined {
    return this.#words[this.#next];
  }

  next(): Word | undefined {
    return this.#words[this.#next++];
  }

  /** The word after `option`. @throws InputError when the line ends before it. */
  value(option: Word): Word {
    const word = this.next();
    if (word === undefined) throw this.fail("syntax", undefined, `${option.text} needs a value`);
    return word;
  }

  /** An error at `word`, or at the end of the line. */
  fail(code: IssueCode, word: Word | undefined, message: string): InputError {
    return new InputError([{ code, path: "", message, ...this.#place, column: word?.column ?? this.#end }]);
  }

  #split(line: string): readonly Word[] {
    const words: Word[] = [];
    let text = "";
    let column = 0; // 0: between words
    let isQuoted = false;
    let quoteAt = 0; // 0: outside quotes
    const close = (): void => {
      if (column !== 0) words.push({ text, column, isQuoted });
      text = "";
      column = 0;
      isQuoted = false;
    };
    for (let i = 0; i < line.length; i++) {
      const c = line[i] as string;
      if (quoteAt !== 0 && c === "\\" && i + 1 < line.length) {
        text += line[++i];
      } else if (c === '"') {
        if (column === 0) column = i + 1;
        isQuoted = true;
        quoteAt = quoteAt === 0 ? i + 1 : 0;
      } else if (quoteAt === 0 && (c === " " || c === "\t")) {
        close();
      } else {
        if (column === 0) column = i + 1;
        text += c;
      }
    }
    if (quoteAt !== 0) {
      const issue = { code: "syntax", path: "", message: "quote is not closed" } as const;
      throw new InputError([{ ...issue, ...this.#place, column: quoteAt }]);
    }
    close();
    return words;
  }
}

/** Unsigned decimal or `0x` number of at most 32 bits; `undefined` for anything else. */
export function parseU32(text: string): number | undefined {
  if (!/^(0[xX][0-9a-fA-F]{1,8}|[0-9]{1,10})$/.test(text)) return undefined;
  const value = Number(text);
  return value <= 0xffffffff ? value : undefined;
}

/** Decimal 0..65535; `undefined` for anything else (service names too). */
export function parsePort(text: string): number | undefined {
  return /^[0-9]{1,5}$/.test(text) && Number(text) <= 65535 ? Number(text) : undefined;
}
