/**
 * iptables-restore text into a rule set: what iptables-save prints, and what agents write by hand (-A, -I, -D, -R, -N, -P, -F,
 * -X, -E, -Z). The whole text is read and every faulty line reported; nothing in it is ignored but comments, and what the
 * data cannot hold is refused by name. Law: `restoreRuleset(saveRuleset(x)) = x`.
 * Governing sources: iptables-save(8), iptables-restore(8) (iptables/iptables-restore.c).
 */
import { InputError, type Issue } from "../../base/index.ts";
import { parseU32, type Word, WordReader } from "../words.ts";
import { emptyTable, TableDraft } from "./apply.ts";
import type { RuleCommand } from "./ops.ts";
import { parseCounters, readRules } from "./restore-rule.ts";
import { builtinChains, type Ruleset, type Table, type TableName } from "./ruleset.ts";

/** XT_EXTENSION_MAXNAMELEN (29) with its closing zero. */
const chainNameMax = 28;

/**
 * Rule set of one address family. `base`: the tables that are there already and are kept, as with `--noflush`; without
 * it each table of the text begins empty. @throws InputError with every fault's file, line and column.
 */
export function restoreRuleset(text: string, file: string, family: 4 | 6 = 4, base?: Ruleset): Ruleset {
  const issues: Issue[] = [];
  const reader = new RulesetReader(family, declaredChains(text), base);
  text.split("\n").forEach((raw, i) => {
    const line = raw.replace(/\r$/, "");
    if (line.trim() === "" || line.startsWith("#")) return;
    try {
      reader.line(new WordReader(line, { file, line: i + 1 }));
    } catch (error) {
      if (!(error instanceof InputError)) throw error;
      issues.push(...error.issues);
    }
  });
  if (reader.openTable !== undefined) {
    const message = `table ${reader.openTable} is not closed by COMMIT`;
    issues.push({ code: "syntax", path: "", message, file, line: text.split("\n").length, column: 1 });
  }
  if (issues.length > 0) throw new InputError(issues);
  return { family, tables: reader.tables };
}

/** Chain names by table: a rule may jump to a chain whose line stands further down. */
function declaredChains(text: string): ReadonlyMap<string, ReadonlySet<string>> {
  const chains = new Map<string, Set<string>>();
  let current = new Set<string>();
  for (const line of text.split("\n")) {
    if (line.startsWith("*")) {
      const name = line.slice(1).trim();
      current = new Set(isTableName(name) ? builtinChains[name] : []);
      chains.set(name, current);
    } else if (line.startsWith(":")) {
      current.add(line.slice(1).trim().split(/\s/)[0] ?? "");
    } else {
      const made = /^(?:-N|--new-chain|(?:-E|--rename-chain)\s+\S+)\s+(\S+)/.exec(line);
      if (made?.[1] !== undefined) current.add(made[1]);
    }
  }
  return chains;
}

function isTableName(name: string): name is TableName {
  return Object.hasOwn(builtinChains, name);
}

class RulesetReader {
  readonly tables: { [T in TableName]?: Table };
  readonly #family: 4 | 6;
  readonly #declared: ReadonlyMap<string, ReadonlySet<string>>;
  readonly #base: Ruleset | undefined;
  #table: TableName | undefined;
  #draft = new TableDraft(emptyTable("filter"));
  #chains = new Set<string>();
  readonly #declaredHere = new Set<string>();
  /** Inside a table whose name was refused: its lines are not reported again. */
  #isSkipping = false;
  readonly #seen = new Set<string>();

  constructor(family: 4 | 6, declared: ReadonlyMap<string, ReadonlySet<string>>, base: Ruleset | undefined) {
    this.#family = family;
    this.#declared = declared;
    this.#base = base;
    this.tables = { ...base?.tables };
  }

  get openTable(): TableName | undefined {
    return this.#table;
  }

  line(words: WordReader): void {
    const first = words.peek();
    if (first?.text.startsWith("*")) this.#openTable(words);
    else if (first?.text === "COMMIT") this.#commit(words);
    else if (this.#isSkipping) return;
    else if (this.#table === undefined)
      throw words.fail("syntax", first, "a table (*filter, say) was expected");
    else if (first?.text.startsWith(":")) this.#declare(words);
    else this.#command(words, this.#table);
  }

  #openTable(words: WordReader): void {
    const word = words.next();
    const name = word?.text.slice(1) ?? "";
    const unclosed = this.#table;
    this.#table = undefined;
    this.#isSkipping = true; // until the name is found good
    if (unclosed !== undefined) throw words.fail("syntax", word, `table ${unclosed} is not closed by COMMIT`);
    if (!isTableName(name)) throw words.fail("not-supported", word, `no such table: ${name}`);
    if (this.#seen.has(name)) throw words.fail("duplicate", word, `table ${name} stands twice`);
    this.#seen.add(name);
    this.#isSkipping = false;
    this.#table = name;
    const before = this.#base?.tables[name] ?? emptyTable(name);
    this.#draft = new TableDraft(before);
    this.#chains = new Set(before.chains.map((chain) => chain.name));
    this.#declaredHere.clear();
    expectEnd(words);
  }

  #commit(words: WordReader): void {
    const word = words.next();
    const name = this.#table;
    if (name === undefined) {
      if (!this.#isSkipping) throw words.fail("syntax", word, "COMMIT without a table");
      this.#isSkipping = false;
      return;
    }
    this.tables[name] = this.#draft.table();
    this.#table = undefined;
    expectEnd(words);
  }

  /** `:NAME POLICY [packets:bytes]` */
  #declare(words: WordReader): void {
    const word = words.next();
    const name = word?.text.slice(1) ?? "";
    checkChainName(words, word, name);
    const policy = words.next();
    if (policy === undefined) throw words.fail("syntax", undefined, `chain ${name} needs a policy, or -`);
    const isBuiltin = this.#table !== undefined && builtinChains[this.#table].includes(name);
    if (this.#declaredHere.has(name) && !isBuiltin)
      throw words.fail("duplicate", word, `chain ${name} stands twice`);
    this.#declaredHere.add(name);
    if (!isBuiltin) this.#apply(words, word, { op: "chain", chain: name });
    if (policy.text !== "-") {
      if (!isBuiltin || (policy.text !== "ACCEPT" && policy.text !== "DROP")) {
        const what = isBuiltin ? "policy" : "user chains have no policy; this one";
        throw words.fail("invalid", policy, `${what} is ${policy.text}`);
      }
      this.#apply(words, policy, { op: "policy", chain: name, policy: policy.text });
    }
    const counters = words.next();
    if (counters !== undefined && counters.text !== "-") {
      const [packets, bytes] = parseCounters(words, counters);
      if (packets > 0 || bytes > 0)
        // [0:0] is also what stands for none
        this.#apply(words, counters, { op: "counters", chain: name, counters: [packets, bytes] });
    }
    expectEnd(words);
  }

  #command(words: WordReader, table: TableName): void {
    const counters = readCounters(words);
    const command = words.next();
    switch (command?.text) {
      case "-A":
      case "--append":
        this.#rules(words, table, words.value(command), counters, "append", 0);
        return;
      case "-I":
      case "--insert": {
        const chain = words.value(command);
        this.#rules(words, table, chain, counters, "insert", readNumber(words) ?? 1);
        return;
      }
      case "-R":
      case "--replace": {
        const chain = words.value(command);
        const number = readNumber(words);
        if (number === undefined) throw words.fail("syntax", words.peek(), "-R needs a rule number");
        this.#rules(words, table, chain, counters, "replace", number);
        return;
      }
      case "-D":
      case "--delete": {
        const chain = words.value(command);
        const number = readNumber(words);
        if (number === undefined) this.#rules(words, table, chain, counters, "delete", 0);
        else this.#simple(words, chain, { op: "delete-number", chain: chain.text, number });
        return;
      }
      default:
        this.#chainCommand(words, command);
    }
  }

  /** Commands that take no rule. */
  #chainCommand(words: WordReader, command: Word | undefined): void {
    switch (command?.text) {
      case "-N":
      case "--new-chain": {
        const chain = words.value(command);
        checkChainName(words, chain, chain.text);
        this.#simple(words, chain, { op: "new-chain", chain: chain.text });
        return;
      }
      case "-P":
      case "--policy": {
        const chain = words.value(command);
        const policy = words.value(chain);
        if (policy.text !== "ACCEPT" && policy.text !== "DROP")
          throw words.fail("invalid", policy, `a policy is ACCEPT or DROP, not ${policy.text}`);
        if (this.#table !== undefined && !builtinChains[this.#table].includes(chain.text))
          throw words.fail("invalid", chain, `only built-in chains have a policy: ${chain.text}`);
        this.#simple(words, chain, { op: "policy", chain: chain.text, policy: policy.text });
        return;
      }
      case "-F":
      case "--flush":
        this.#each(words, (chain) => ({ op: "flush", chain }));
        return;
      case "-X":
      case "--delete-chain":
        this.#each(words, (chain) => ({ op: "delete-chain", chain }), true);
        return;
      case "-Z":
      case "--zero":
        this.#each(words, (chain) => ({ op: "counters", chain, counters: [0, 0] }));
        return;
      case "-E":
      case "--rename-chain": {
        const chain = words.value(command);
        const to = words.value(chain);
        checkChainName(words, to, to.text);
        this.#simple(words, chain, { op: "rename-chain", chain: chain.text, to: to.text });
        return;
      }
      default:
        throw words.fail("not-supported", command, `no such command: ${command?.text ?? ""}`);
    }
  }

  #rules(
    words: WordReader,
    table: TableName,
    chain: Word,
    counters: readonly [number, number] | undefined,
    op: "append" | "insert" | "replace" | "delete",
    number: number,
  ): void {
    const declared = this.#declared.get(table);
    const isChain = (name: string): boolean => this.#chains.has(name) || declared?.has(name) === true;
    if (!isChain(chain.text)) throw words.fail("unknown-name", chain, `no such chain: ${chain.text}`);
    const scope = { family: this.#family, table, isChain };
    const rules = readRules(words, scope, chain.text, counters);
    if (op === "replace" && rules.length > 1)
      throw words.fail("invalid", chain, "a rule is replaced by one rule, not by a list");
    rules.forEach((rule, i) => {
      if (op === "insert" || op === "replace")
        this.#apply(words, chain, { op, chain: chain.text, number: number + i, rule });
      else this.#apply(words, chain, { op, chain: chain.text, rule });
    });
  }

  #simple(words: WordReader, place: Word, command: RuleCommand): void {
    expectEnd(words);
    this.#apply(words, place, command);
  }

  /** One chain, or all of the table (of its user chains). */
  #each(words: WordReader, make: (chain: string) => RuleCommand, isUserOnly = false): void {
    const word = words.next();
    expectEnd(words);
    const builtins = this.#table === undefined ? [] : builtinChains[this.#table];
    const all = [...this.#chains].filter((chain) => !isUserOnly || !builtins.includes(chain));
    for (const chain of word === undefined ? all : [word.text]) this.#apply(words, word, make(chain));
  }

  #apply(words: WordReader, place: Word | undefined, command: RuleCommand): void {
    const problem = this.#draft.apply(command);
    if (problem !== undefined) throw words.fail("refused", place, problem[1]);
    if (command.op === "chain" || command.op === "new-chain") this.#chains.add(command.chain);
    if (command.op === "delete-chain" || command.op === "rename-chain") this.#chains.delete(command.chain);
    if (command.op === "rename-chain") this.#chains.add(command.to);
  }
}

function checkChainName(words: WordReader, word: Word | undefined, name: string): void {
  if (name === "" || name.length > chainNameMax || name.startsWith("-") || name.startsWith("!"))
    throw words.fail("invalid", word, `a chain name has 1 to ${chainNameMax} characters: ${name}`);
}

/** `[packets:bytes]` at the front of the line. */
function readCounters(words: WordReader): readonly [number, number] | undefined {
  const word = words.peek();
  if (word === undefined || !word.text.startsWith("[")) return undefined;
  words.next();
  return parseCounters(words, word);
}

function readNumber(words: WordReader): number | undefined {
  const word = words.peek();
  if (word === undefined || !/^[0-9]+$/.test(word.text)) return undefined;
  words.next();
  return parseU32(word.text);
}

function expectEnd(words: WordReader): void {
  const word = words.next();
  if (word !== undefined) throw words.fail("syntax", word, `unexpected: ${word.text}`);
}
