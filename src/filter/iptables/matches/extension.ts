/**
 * What a match extension consists of, the same for all of them: `read` (options of iptables-save text to data), `text`
 * (data to iptables-save text), `bind` (data to a test that runs on one node) and `explain` (why the test failed, in
 * words). Kinds that are linked into code words (link.ts) have no `bind`.
 */
import { formatIp, formatWords, type Ip, parseIp } from "../../../addr/index.ts";
import type { Prng } from "../../../base/index.ts";
import type { PacketBatch, PacketView } from "../../../packet/index.ts";
import type { ClassicInstruction, IptablesBackend, NodeFacts } from "../../datapath.ts";
import type { LiveSet, SetNode } from "../../ipset/index.ts";
import type { Conntrack } from "../../netfilter/index.ts";
import { parsePort, parseU32, type Word, type WordReader } from "../../words.ts";
import type { Match, MatchOf, Range } from "../match.ts";
import type { TableName } from "../ruleset.ts";

/** How an option stands in the text. */
export interface OptionShape {
  /** Words that follow it. */
  readonly values: 0 | 1 | 2;
  readonly not?: true;
  /** It is another spelling of this option. */
  readonly as?: string;
}

export interface OptionUse {
  readonly option: Word;
  readonly isNegated: boolean;
  readonly values: readonly Word[];
}

/** What the reader of an extension knows of the rule around it. */
export interface RuleContext {
  readonly family: 4 | 6;
  readonly table: TableName;
  readonly chain: string;
  /** Of a `-p` that is not negated. */
  readonly protocol: number | undefined;
}

/** The options of one `-m`, as they were given. */
export class OptionValues {
  readonly words: WordReader;
  /** The name after `-m`, or the first option of an extension that was loaded unasked. */
  readonly place: Word;
  readonly #uses = new Map<string, OptionUse>();

  constructor(words: WordReader, place: Word) {
    this.words = words;
    this.place = place;
  }

  add(name: string, use: OptionUse): void {
    if (this.#uses.has(name))
      throw this.words.fail("duplicate", use.option, `${use.option.text} is given twice`);
    this.#uses.set(name, use);
  }

  get(name: string): OptionUse | undefined {
    return this.#uses.get(name);
  }

  has(name: string): boolean {
    return this.#uses.has(name);
  }

  get names(): readonly string[] {
    return [...this.#uses.keys()];
  }

  /** Spread into data: `{ not: true }` for a negated option. */
  not(name: string): { readonly not?: true } {
    return this.#uses.get(name)?.isNegated ? { not: true } : {};
  }

  /** First word after the option. */
  word(name: string): Word | undefined {
    return this.#uses.get(name)?.values[0];
  }

  /** Reads the option's word; `undefined` when the option is absent. */
  read<T>(name: string, parse: (text: string) => T | undefined, what: string): T | undefined {
    const word = this.word(name);
    if (word === undefined) return undefined;
    const value = parse(word.text);
    if (value === undefined)
      throw this.words.fail("invalid", word, `${name} takes ${what}, not ${word.text}`);
    return value;
  }

  /** An error at the `-m` itself. */
  incomplete(message: string): Error {
    return this.words.fail("required", this.place, message);
  }
}

export interface MatchReader {
  readonly options: Readonly<Record<string, OptionShape>>;
  /** Protocols that the kernel demands of `-p` beside this extension. */
  readonly protocols?: readonly number[];
  /** Loaded unasked when a rule with its protocol has one of its options. */
  readonly isImplied?: true;
  /** Only in these tables, families. */
  readonly tables?: readonly TableName[];
  readonly families?: readonly (4 | 6)[];
  /** The matches that the options amount to; at least one. */
  read(options: OptionValues, rule: RuleContext): readonly Match[];
}

/**
 * What a test of a match answers. `drop`: the packet cannot be judged and is dropped whatever the rule says (hotdrop).
 * `yesAndDrop`: likewise, but the rule is gone through first.
 */
export const Answer = { no: 0, yes: 1, drop: 2, yesAndDrop: 3 } as const;

/** Tests a decoded row; answers an `Answer`. Negation is already applied. */
export type RowTest = (batch: PacketBatch, row: number) => number;

/** What tests may ask of the node that they run on. */
export interface MatchNode extends SetNode {
  readonly facts: NodeFacts;
  readonly backend: IptablesBackend;
  readonly epochS: number;
  readonly random: Prng;
  readonly conntrack: Conntrack;
  set(name: string): LiveSet | undefined;
  /** A classic BPF program as a function that answers what the program returns. */
  compileProgram(program: readonly ClassicInstruction[]): (batch: PacketBatch, row: number) => number;
  /** What this match of this rule remembers: made once a node, kept when rules are linked again. */
  memory<T extends object>(make: () => T): T;
  /** What rules share under a name, likewise. */
  shared<T extends object>(name: string, make: () => T): T;
}

/** What `explain` may say about a packet. */
export interface PacketContext {
  readonly batch: PacketBatch;
  readonly row: number;
  readonly packet: PacketView;
  interfaceName(index: number): string;
  setTitle(name: string): string | undefined;
}

export interface MatchKind<M extends Match> {
  text(match: M, family: 4 | 6): string;
  bind?(match: M, node: MatchNode): RowTest;
  explain(match: M, context: PacketContext): string;
}

export type MatchKinds<K extends Match["kind"]> = { readonly [P in K]: MatchKind<MatchOf<P>> };

export const bang = (negatable: { readonly not?: boolean } | undefined): string =>
  negatable?.not ? "! " : "";
export const isOrNot = (negatable: { readonly not?: boolean }): string => (negatable.not ? "is" : "is not");
export const hex = (value: number): string => `0x${(value >>> 0).toString(16)}`;

/** `a`, or `a:b`. */
export function colonRange([min, max]: Range): string {
  return min === max ? `${min}` : `${min}:${max}`;
}

/** `a`, `a:b`, `a:`, `:b`, of numbers up to `most`. */
export function parseRange(text: string, most = 0xffff): Range | undefined {
  const colon = text.indexOf(":");
  if (text === ":") return undefined;
  const [low, high] =
    colon < 0 ? [text, text] : [text.slice(0, colon) || "0", text.slice(colon + 1) || String(most)];
  const [min, max] = [parseU32(low), parseU32(high)];
  if (min === undefined || max === undefined || min > max || max > most) return undefined;
  return [min, max];
}

/** Well-known services that rules name (the common part of /etc/services). */
const services: Readonly<Record<string, number>> = {
  "ftp-data": 20,
  ftp: 21,
  ssh: 22,
  telnet: 23,
  smtp: 25,
  domain: 53,
  bootps: 67,
  bootpc: 68,
  tftp: 69,
  http: 80,
  kerberos: 88,
  pop3: 110,
  sunrpc: 111,
  ntp: 123,
  imap2: 143,
  snmp: 161,
  "snmp-trap": 162,
  bgp: 179,
  ldap: 389,
  https: 443,
  syslog: 514,
  ldaps: 636,
  domains: 853,
  nfs: 2049,
  mysql: 3306,
  postgresql: 5432,
  "http-alt": 8080,
};

export function parsePortName(text: string): number | undefined {
  return parsePort(text) ?? (Object.hasOwn(services, text) ? services[text] : undefined);
}

/** `a`, `a:b`, `a:`, `:b`; ports by number or well-known name. */
export function parsePortRange(text: string): Range | undefined {
  const colon = text.indexOf(":");
  if (text === ":") return undefined;
  const [low, high] =
    colon < 0 ? [text, text] : [text.slice(0, colon) || "0", text.slice(colon + 1) || "65535"];
  const [min, max] = [parsePortName(low), parsePortName(high)];
  return min === undefined || max === undefined || min > max ? undefined : [min, max];
}

/** `value` or `value/mask` of 32 bits. */
export function parseMark(text: string): readonly [value: number, mask: number] | undefined {
  const [valueText, maskText, ...rest] = text.split("/");
  const value = parseU32(valueText ?? "");
  const mask = maskText === undefined ? 0xffffffff : parseU32(maskText);
  return value === undefined || mask === undefined || rest.length > 0 ? undefined : [value, mask];
}

export function parseIpOf(family: 4 | 6, text: string): Ip | undefined {
  const ip = parseIp(text);
  return ip?.family === family ? ip : undefined;
}

export const ipText = (ip: Ip): string => formatIp(ip);

/** The row's source or destination in words for people. */
export function rowAddressText({ batch, row }: PacketContext, side: "src" | "dst"): string {
  const column = side === "src" ? batch.src : batch.dst;
  const family = batch.family[row] === 6 ? 6 : 4;
  return formatWords(family, [...column.subarray(row * 4, row * 4 + (family === 6 ? 4 : 1))]);
}
