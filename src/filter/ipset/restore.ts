/**
 * `ipset save` and `ipset restore` text, read into commands or into sets. What the tables cannot hold (time-outs,
 * counters, other types) is refused by the option's name. Law: `restoreIpsets(saveIpsets(x)) = x`, titles apart, for
 * entries in the order of `LiveSet.toRepr`. Governing source: ipset(8).
 */
import { cidrOf, parseCidr, parseIp } from "../../addr/index.ts";
import { InputError, type Issue } from "../../base/index.ts";
import { IpProtocol, protocolNumber } from "../../wire/index.ts";
import { parsePort, parseU32, type Word, WordReader } from "../words.ts";
import { type IpsetCommand, SetCollection, setNameMax } from "./collection.ts";
import type { IpsetEntry, IpsetRepr, IpsetType } from "./repr.ts";
import { icmpNames } from "./save.ts";

const setTypes: readonly IpsetType[] = ["hash:ip", "hash:net", "hash:ip,port", "hash:net,port", "list:set"];

/** A command and where its line begins. */
export interface IpsetLine {
  readonly command: IpsetCommand;
  readonly line: number;
}

type SetShape = Pick<IpsetRepr, "type" | "family">;

/** Sets by name. @throws InputError with every fault's file, line and column. */
export function restoreIpsets(text: string, file: string): Map<string, IpsetRepr> {
  const collection = new SetCollection([]);
  const issues: Issue[] = [];
  for (const { command, line } of parseIpsetCommands(text, file)) {
    const result = collection.apply(command, () => false);
    if (result.ok) continue;
    const message = `${command.name}: ${result.message}`;
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
  known: ReadonlyMap<string, SetShape> = new Map(),
): readonly IpsetLine[] {
  const shapes = new Map(known);
  const lines: IpsetLine[] = [];
  const issues: Issue[] = [];
  text.split("\n").forEach((raw, i) => {
    const line = raw.replace(/\r$/, "");
    if (line.trim() === "" || line.startsWith("#") || line.trim() === "COMMIT") return;
    try {
      const command = parseCommand(new WordReader(line, { file, line: i + 1 }), shapes);
      noteShape(shapes, command);
      lines.push({ command, line: i + 1 });
    } catch (error) {
      if (!(error instanceof InputError)) throw error;
      issues.push(...error.issues);
    }
  });
  if (issues.length > 0) throw new InputError(issues);
  return lines;
}

function noteShape(shapes: Map<string, SetShape>, command: IpsetCommand): void {
  if (command.op === "create") shapes.set(command.name, { type: command.type, family: command.family });
  const shape = shapes.get(command.name);
  if (command.op === "destroy") shapes.delete(command.name);
  if (command.op === "rename" && shape !== undefined) {
    shapes.delete(command.name);
    shapes.set(command.to, shape);
  }
}

function parseCommand(words: WordReader, shapes: ReadonlyMap<string, SetShape>): IpsetCommand {
  const verb = words.next();
  if (verb === undefined) throw words.fail("syntax", verb, "a command was expected");
  switch (verb.text) {
    case "create":
      return parseCreate(words, checkName(words, words.value(verb)), verb);
    case "add":
    case "del":
      return parseChange(words, verb.text, words.value(verb), shapes, verb);
    case "flush":
    case "destroy": {
      const name = words.value(verb).text;
      expectEnd(words);
      return { op: verb.text, name };
    }
    case "swap":
    case "rename": {
      const name = words.value(verb);
      const to = checkName(words, words.value(name));
      expectEnd(words);
      return { op: verb.text, name: name.text, to };
    }
    default:
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

function parseCreate(words: WordReader, name: string, verb: Word): IpsetCommand {
  const typeWord = words.value(verb);
  const type = setTypes.find((candidate) => candidate === typeWord.text);
  if (type === undefined)
    throw words.fail("not-supported", typeWord, `set type is not supported: ${typeWord.text}`);
  const isList = type === "list:set";
  const numbers = isList ? ["size"] : ["hashsize", "maxelem", "bucketsize", "initval"];
  const values = new Map<string, number>();
  let family: 4 | 6 = 4;
  let exist = false;
  for (let option = words.next(); option !== undefined; option = words.next()) {
    if (isExist(option)) {
      exist = true;
    } else if (option.text === "family" && !isList) {
      const word = words.value(option);
      if (word.text !== "inet" && word.text !== "inet6")
        throw words.fail("invalid", word, `family is inet or inet6, not ${word.text}`);
      family = word.text === "inet" ? 4 : 6;
    } else if (numbers.includes(option.text)) {
      const word = words.value(option);
      const value = parseU32(word.text);
      if (value === undefined)
        throw words.fail("invalid", word, `${option.text} takes a number: ${word.text}`);
      values.set(option.text, value);
    } else {
      throw words.fail("not-supported", option, `option ${option.text} of ${type} is not supported`);
    }
  }
  const maxelem = values.get(isList ? "size" : "maxelem");
  const hashsize = values.get("hashsize");
  return {
    op: "create",
    name,
    type,
    family,
    exist,
    ...(maxelem === undefined ? {} : { maxelem }),
    ...(hashsize === undefined ? {} : { hashsize }),
  };
}

function isExist(word: Word): boolean {
  return word.text === "-exist" || word.text === "-!";
}

function parseChange(
  words: WordReader,
  op: "add" | "del",
  name: Word,
  shapes: ReadonlyMap<string, SetShape>,
  verb: Word,
): IpsetCommand {
  const shape = shapes.get(name.text);
  if (shape === undefined) throw words.fail("unknown-name", name, `the set ${name.text} does not exist`);
  let entry = parseElement(words, words.value(verb), shape);
  let exist = false;
  for (let option = words.next(); option !== undefined; option = words.next()) {
    if (isExist(option)) exist = true;
    else if (option.text === "nomatch" && shape.type.startsWith("hash:net"))
      entry = { ...entry, nomatch: true };
    else throw words.fail("not-supported", option, `option ${option.text} of ${shape.type} is not supported`);
  }
  return { op, name: name.text, entry, exist };
}

function parseElement(words: WordReader, word: Word, { type, family }: SetShape): IpsetEntry {
  if (type === "list:set") return { set: checkName(words, word) };
  const comma = word.text.indexOf(",");
  const hasPort = type.endsWith(",port");
  if (comma >= 0 !== hasPort)
    throw words.fail("invalid", word, `an element of ${type} has ${hasPort ? "a" : "no"} port: ${word.text}`);
  const addressText = hasPort ? word.text.slice(0, comma) : word.text;
  const host = parseIp(addressText);
  const net = host === undefined ? parseCidr(addressText) : cidrOf(host, host.family === 4 ? 32 : 128);
  const takesPrefix = type.startsWith("hash:net");
  if (net === undefined || net.family !== family) {
    const wanted = `IPv${family} address${takesPrefix ? " or prefix" : ""}`;
    throw words.fail("not-supported", word, `not one ${wanted}: ${addressText}`);
  }
  if (!takesPrefix && net.prefix !== (family === 4 ? 32 : 128))
    throw words.fail("not-supported", word, `${type} takes one address here, not a prefix: ${addressText}`);
  return hasPort ? { net, ...parsePortPart(words, word, word.text.slice(comma + 1)) } : { net };
}

/** `tcp:80`, `80` (TCP), `icmp:8/0`, `icmp:echo-request`. */
function parsePortPart(
  words: WordReader,
  word: Word,
  text: string,
): { readonly protocol: number; readonly port: number } {
  const colon = text.indexOf(":");
  const protocol = colon < 0 ? IpProtocol.tcp : protocolNumber(text.slice(0, colon));
  const value = colon < 0 ? text : text.slice(colon + 1);
  if (protocol === undefined || protocol === 0)
    throw words.fail("not-supported", word, `protocol is not known: ${text.slice(0, Math.max(0, colon))}`);
  const names = icmpNames[protocol];
  const port = names === undefined ? parsePort(value) : icmpPort(names, value);
  if (port === undefined) throw words.fail("not-supported", word, `not one port: ${value}`);
  return { protocol, port };
}

function icmpPort(names: Readonly<Record<string, number>>, value: string): number | undefined {
  if (Object.hasOwn(names, value)) return names[value];
  const parts = /^([0-9]{1,3})\/([0-9]{1,3})$/.exec(value);
  const [type, code] = [Number(parts?.[1]), Number(parts?.[2])];
  return parts !== null && type < 256 && code < 256 ? type * 256 + code : undefined;
}
