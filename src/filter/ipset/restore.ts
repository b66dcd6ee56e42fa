/**
 * `ipset save` and `ipset restore` text, read into commands or into sets; the short and old forms (`-N NAME nethash`, `-A`)
 * that agents write too. What the tables cannot hold is refused by the option's name. Law: `restoreIpsets(saveIpsets(x)) = x`, titles apart, for
 * entries in the order of `LiveSet.toRepr`. Governing source: ipset(8).
 */
import { parseCidr, parseIp } from "../../addr/index.ts";
import { InputError, type Issue } from "../../base/index.ts";
import { parsePort, parseU32, type Word, WordReader } from "../words.ts";
import { type IpsetCommand, SetCollection, setNameMax } from "./collection.ts";
import { ElementFault, parseElement } from "./element.ts";
import type { IpsetEntry, IpsetRepr, IpsetType } from "./repr.ts";
import { parseSetType, shapeOf } from "./shape.ts";

/** A command and where its line begins. */
export interface IpsetLine {
  readonly command: IpsetCommand;
  readonly line: number;
}

type SetKind = Pick<
  IpsetRepr,
  "type" | "family" | "netmask" | "timeout" | "counters" | "comment" | "skbinfo"
>;

/** Sets by name. @throws InputError with every fault's file, line and column. */
export function restoreIpsets(text: string, file: string): Map<string, IpsetRepr> {
  const collection = new SetCollection([]);
  const issues: Issue[] = [];
  for (const { command, line } of parseIpsetCommands(text, file)) {
    const result = collection.apply(command, () => false);
    if (result.ok) continue;
    const message = `${command.name ?? command.op}: ${result.message}`;
    issues.push({ code: "refused", path: "", message, file, line, column: 1 });
  }
  if (issues.length > 0) throw new InputError(issues);
  return new Map(collection.toReprs());
}

/**
 * The commands of a restore file, not applied. Elements are read by their set's type, so each set must be created
 * above, in the file or in `known`. @throws InputError with every fault's file, line and column.
 */
export function parseIpsetCommands(
  text: string,
  file: string,
  known: ReadonlyMap<string, SetKind> = new Map(),
): readonly IpsetLine[] {
  const shapes = new Map(known);
  const lines: IpsetLine[] = [];
  const issues: Issue[] = [];
  text.split("\n").forEach((raw, i) => {
    const line = raw.replace(/\r$/, "");
    if (line.trim() === "" || line.startsWith("#") || line.trim() === "COMMIT") return;
    try {
      for (const command of parseCommand(new WordReader(line, { file, line: i + 1 }), shapes)) {
        noteShape(shapes, command);
        lines.push({ command, line: i + 1 });
      }
    } catch (error) {
      if (!(error instanceof InputError)) throw error;
      issues.push(...error.issues);
    }
  });
  if (issues.length > 0) throw new InputError(issues);
  return lines;
}

function noteShape(shapes: Map<string, SetKind>, command: IpsetCommand): void {
  if (command.op === "create") shapes.set(command.name, command);
  if (command.op === "destroy") {
    if (command.name === undefined) shapes.clear();
    else shapes.delete(command.name);
  }
  if (command.op !== "rename") return;
  const shape = shapes.get(command.name);
  shapes.delete(command.name);
  if (shape !== undefined) shapes.set(command.to, shape);
}

/** Verbs in their long, short and old forms (ipset(8)). */
const verbs: Readonly<Record<string, IpsetCommand["op"]>> = {
  create: "create",
  n: "create",
  "-N": "create",
  "--create": "create",
  add: "add",
  "-A": "add",
  "--add": "add",
  del: "del",
  "-D": "del",
  "--del": "del",
  flush: "flush",
  "-F": "flush",
  "--flush": "flush",
  destroy: "destroy",
  x: "destroy",
  "-X": "destroy",
  "--destroy": "destroy",
  swap: "swap",
  "-W": "swap",
  "--swap": "swap",
  rename: "rename",
  e: "rename",
  "-E": "rename",
  "--rename": "rename",
};

/** One line; an element that is a range is several commands. */
function parseCommand(words: WordReader, shapes: ReadonlyMap<string, SetKind>): readonly IpsetCommand[] {
  let exist = false;
  let verb = words.next();
  if (verb !== undefined && isExist(verb)) {
    exist = true;
    verb = words.next();
  }
  if (verb === undefined) throw words.fail("syntax", verb, "a command was expected");
  const op = Object.hasOwn(verbs, verb.text) ? verbs[verb.text] : undefined;
  switch (op) {
    case "create":
      return [parseCreate(words, checkName(words, words.value(verb)), verb, exist)];
    case "add":
    case "del":
      return parseChange(words, op, words.value(verb), shapes, verb, exist);
    case "flush":
    case "destroy": {
      const name = words.next()?.text;
      expectEnd(words);
      return [{ op, name }];
    }
    case "swap":
    case "rename": {
      const name = words.value(verb);
      const to = checkName(words, words.value(name));
      expectEnd(words);
      return [{ op, name: name.text, to }];
    }
    case undefined:
      throw words.fail("not-supported", verb, `command is not supported: ${verb.text}`);
  }
}

function checkName(words: WordReader, word: Word): string {
  if (word.text === "" || word.text.length > setNameMax)
    throw words.fail("too-large", word, `a set name has 1 to ${setNameMax} characters: ${word.text}`);
  return word.text;
}

function expectEnd(words: WordReader): void {
  const word = words.next();
  if (word !== undefined) throw words.fail("not-supported", word, `option is not supported: ${word.text}`);
}

type Draft = { -readonly [K in keyof IpsetRepr]?: IpsetRepr[K] };

const flagOptions = ["counters", "comment", "skbinfo", "forceadd"] as const;

function parseCreate(words: WordReader, name: string, verb: Word, existFirst: boolean): IpsetCommand {
  const draft: Draft = {};
  let exist = existFirst;
  let typeWord = words.value(verb);
  if (isExist(typeWord)) {
    exist = true;
    typeWord = words.value(verb);
  }
  const type = parseSetType(typeWord.text);
  if (type === undefined)
    throw words.fail("not-supported", typeWord, `set type is not supported: ${typeWord.text}`);
  let family: 4 | 6 = 4;
  for (let option = words.next(); option !== undefined; option = words.next()) {
    const text = option.text.replace(/^--/, "");
    if (isExist(option)) exist = true;
    else if (text === "family" && type.startsWith("hash:")) {
      const word = words.value(option);
      if (!/^(inet6?|ipv[46])$/.test(word.text))
        throw words.fail("invalid", word, `family is inet or inet6, not ${word.text}`);
      family = word.text.endsWith("6") ? 6 : 4;
    } else readCreateOption(words, option, text, type, draft);
  }
  if (draft.netmask !== undefined && draft.netmask > (family === 4 ? 32 : 128))
    throw words.fail("invalid", verb, `netmask ${draft.netmask} is longer than an address`);
  const { maxelem, hashsize, ...options } = draft;
  return {
    op: "create",
    name,
    type,
    family,
    exist,
    ...options,
    ...(maxelem === undefined ? {} : { maxelem }),
    ...(hashsize === undefined ? {} : { hashsize }),
  };
}

function readCreateOption(
  words: WordReader,
  option: Word,
  text: string,
  type: IpsetType,
  draft: Draft,
): void {
  const number = (): number => {
    const word = words.value(option);
    const value = parseU32(word.text);
    if (value === undefined) throw words.fail("invalid", word, `${text} takes a number: ${word.text}`);
    return value;
  };
  const flag = flagOptions.find((candidate) => candidate === text);
  const [isHash, isBitmap] = [type.startsWith("hash:"), type.startsWith("bitmap:")];
  if (flag !== undefined && (flag !== "forceadd" || isHash)) draft[flag] = true;
  else if (text === "timeout") draft.timeout = number();
  else if (text === "size" && type === "list:set") draft.maxelem = number();
  else if (text === "maxelem" && isHash) draft.maxelem = number();
  else if (text === "hashsize" && isHash) draft.hashsize = number();
  else if ((text === "bucketsize" || text === "initval") && isHash) number();
  else if (text === "netmask" && (type === "hash:ip" || type === "bitmap:ip")) draft.netmask = number();
  else if (text === "range" && isBitmap) draft.range = readRange(words, words.value(option), type);
  else throw words.fail("not-supported", option, `option ${option.text} of ${type} is not supported`);
}

function readRange(words: WordReader, word: Word, type: IpsetType): readonly [number, number] {
  const [low = "", high = low, ...rest] = word.text.split("-");
  const value = (text: string): number | undefined =>
    type === "bitmap:port" ? parsePort(text) : parseIp(text)?.words[0];
  const net = type === "bitmap:ip" && word.text.includes("/") ? parseCidr(word.text) : undefined;
  if (net?.family === 4) {
    const first = net.words[0] ?? 0;
    return [first, first + 2 ** (32 - net.prefix) - 1];
  }
  const [from, to] = [value(low), value(high)];
  if (from === undefined || to === undefined || from > to || rest.length > 0)
    throw words.fail("invalid", word, `not a range of ${type}: ${word.text}`);
  return [from, to];
}

function isExist(word: Word): boolean {
  return word.text === "-exist" || word.text === "--exist" || word.text === "-!";
}

function parseChange(
  words: WordReader,
  op: "add" | "del",
  name: Word,
  shapes: ReadonlyMap<string, SetKind>,
  verb: Word,
  existFirst: boolean,
): readonly IpsetCommand[] {
  const shape = shapes.get(name.text);
  if (shape === undefined) throw words.fail("unknown-name", name, `the set ${name.text} does not exist`);
  const word = words.value(verb);
  const keys = shape.type === "list:set" ? [{ set: checkName(words, word) }] : parseElement(word.text, shape);
  if (keys instanceof ElementFault) throw words.fail("invalid", word, keys.message);
  let exist = existFirst;
  const carried: { -readonly [K in keyof IpsetEntry]: IpsetEntry[K] } = {};
  for (let option = words.next(); option !== undefined; option = words.next()) {
    if (isExist(option)) exist = true;
    else if (option.text === "nomatch" && shapeOf(shape.type).hasNet) carried.nomatch = true;
    else readCarried(words, option, shape, carried);
  }
  return keys.map((key) => ({ op, name: name.text, entry: { ...key, ...carried }, exist }));
}

/** Options of an element that its set has room for. */
function readCarried(
  words: WordReader,
  option: Word,
  shape: SetKind,
  carried: { -readonly [K in keyof IpsetEntry]: IpsetEntry[K] },
): void {
  const read = <T>(parse: (text: string) => T | undefined, what: string): T => {
    const word = words.value(option);
    const value = parse(word.text);
    if (value === undefined) throw words.fail("invalid", word, `${option.text} takes ${what}: ${word.text}`);
    return value;
  };
  const count = (text: string): number | undefined => (/^[0-9]{1,15}$/.test(text) ? Number(text) : undefined);
  if (option.text === "timeout" && shape.timeout !== undefined) carried.timeout = read(parseU32, "seconds");
  else if (option.text === "packets" && shape.counters) carried.packets = read(count, "a number");
  else if (option.text === "bytes" && shape.counters) carried.bytes = read(count, "a number");
  else if (option.text === "comment" && shape.comment) carried.comment = words.value(option).text;
  else if (option.text === "skbmark" && shape.skbinfo)
    carried.skbmark = read(parseMark, "a mark or mark/mask");
  else if (option.text === "skbprio" && shape.skbinfo) carried.skbprio = read(parsePriority, "MAJOR:MINOR");
  else if (option.text === "skbqueue" && shape.skbinfo) carried.skbqueue = read(parsePort, "a queue number");
  else
    throw words.fail(
      "not-supported",
      option,
      `option ${option.text} of an element of ${shape.type} is not supported, or its set was made without it`,
    );
}

function parseMark(text: string): readonly [number, number] | undefined {
  const [valueText = "", maskText = "0xffffffff"] = text.split("/");
  const [value, mask] = [parseU32(valueText), parseU32(maskText)];
  return value === undefined || mask === undefined ? undefined : [value, mask];
}

function parsePriority(text: string): readonly [number, number] | undefined {
  const parts = /^([0-9a-fA-F]{1,4}):([0-9a-fA-F]{1,4})$/.exec(text);
  if (parts === null) return undefined;
  return [Number.parseInt(parts[1] ?? "", 16), Number.parseInt(parts[2] ?? "", 16)];
}
