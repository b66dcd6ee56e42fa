/**
 * iptables-save text back into a rule set. The whole text is read and every faulty line reported; nothing in it is
 * ignored but comments, and what the Repr cannot hold is refused by name. Law: `restoreRuleset(saveRuleset(x)) = x`.
 * Governing sources: iptables-save(8), iptables-restore(8) (iptables/iptables-restore.c).
 */
import { InputError, type Issue } from "../../base/index.ts";
import { WordReader } from "../words.ts";
import { parseCounters, readRule } from "./restore-rule.ts";
import { builtinChains, type Chain, type Rule, type Ruleset, type Table, type TableName } from "./ruleset.ts";

/** XT_EXTENSION_MAXNAMELEN (29) with its closing zero. */
const chainNameMax = 28;

/** Rule set of one address family. @throws InputError with every fault's file, line and column. */
export function restoreRuleset(text: string, file: string, family: 4 | 6 = 4): Ruleset {
  const issues: Issue[] = [];
  const reader = new RulesetReader(family, declaredChains(text));
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
    }
  }
  return chains;
}

function isTableName(name: string): name is TableName {
  return Object.hasOwn(builtinChains, name);
}

interface OpenChain {
  readonly name: string;
  policy?: "ACCEPT" | "DROP";
  readonly rules: Rule[];
  counters?: readonly [number, number];
}

class RulesetReader {
  readonly tables: { [T in TableName]?: Table } = {};
  readonly #family: 4 | 6;
  readonly #declared: ReadonlyMap<string, ReadonlySet<string>>;
  #table: TableName | undefined;
  /** Inside a table whose name was refused: its lines are not reported again. */
  #isSkipping = false;
  #chains = new Map<string, OpenChain>();
  readonly #seen = new Set<string>();

  constructor(family: 4 | 6, declared: ReadonlyMap<string, ReadonlySet<string>>) {
    this.#family = family;
    this.#declared = declared;
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
    else this.#append(words, this.#table);
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
    this.#chains = new Map(
      builtinChains[name].map((chain) => [chain, { name: chain, policy: "ACCEPT", rules: [] }]),
    );
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
    const chains: Chain[] = [...this.#chains.values()];
    this.tables[name] = { name, chains };
    this.#table = undefined;
    expectEnd(words);
  }

  /** `:NAME POLICY [packets:bytes]` */
  #declare(words: WordReader): void {
    const word = words.next();
    const name = word?.text.slice(1) ?? "";
    if (name === "" || name.length > chainNameMax)
      throw words.fail("invalid", word, `a chain name has 1 to ${chainNameMax} characters: ${name}`);
    const policy = words.next();
    if (policy === undefined) throw words.fail("syntax", undefined, `chain ${name} needs a policy, or -`);
    const present = this.#chains.get(name);
    const isBuiltin = present?.policy !== undefined;
    if (present !== undefined && !isBuiltin)
      throw words.fail("duplicate", word, `chain ${name} stands twice`);
    const chain: OpenChain = present ?? { name, rules: [] };
    if (isBuiltin && (policy.text === "ACCEPT" || policy.text === "DROP")) chain.policy = policy.text;
    else if (policy.text !== "-")
      throw words.fail(
        "invalid",
        policy,
        `${isBuiltin ? "policy" : "user chains have no policy; this one"} is ${policy.text}`,
      );
    const counters = words.next();
    if (counters !== undefined) {
      const [packets, bytes] = parseCounters(words, counters);
      if (packets > 0 || bytes > 0) chain.counters = [packets, bytes]; // [0:0] is also what stands for none
    }
    this.#chains.set(name, chain);
    expectEnd(words);
  }

  #append(words: WordReader, table: TableName): void {
    const declared = this.#declared.get(table);
    const { chain, rule } = readRule(words, {
      family: this.#family,
      table,
      isChain: (name) => declared?.has(name) === true,
    });
    const open = this.#chains.get(chain);
    if (open === undefined) throw words.fail("invalid", undefined, `chain ${chain} is declared further down`);
    open.rules.push(rule);
  }
}

function expectEnd(words: WordReader): void {
  const word = words.next();
  if (word !== undefined) throw words.fail("syntax", word, `unexpected: ${word.text}`);
}
