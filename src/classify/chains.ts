/**
 * Decision chains with a number each, equal ones made one: nodes and ways that state the same in different objects are worked
 * out once.
 */
import type {
  AddressMap,
  AddressTest,
  DecisionAction,
  DecisionChain,
  DecisionRule,
  MarkTest,
  ServiceRange,
} from "../base/index.ts";

export type End = "source" | "destination";

export type Action =
  | Exclude<DecisionAction, { readonly kind: "jump" | "goto" | "choose" }>
  | { readonly kind: "jump" | "goto"; readonly chain: Chain }
  | {
      readonly kind: "choose";
      readonly end: End;
      readonly map: AddressMap;
      readonly chains: ReadonlyMap<number, Chain>;
    };

export interface Rule {
  readonly family: 4 | 6 | undefined;
  readonly tests: { readonly source: readonly AddressTest[]; readonly destination: readonly AddressTest[] };
  readonly services: readonly ServiceRange[] | undefined;
  readonly marks: readonly MarkTest[];
  readonly action: Action;
}

export interface Chain {
  readonly id: number;
  readonly rules: readonly Rule[];
  readonly atEnd: DecisionChain["atEnd"];
  readonly of: End | undefined;
  /** Equal for chains that differ at most in what `choose` chooses between. */
  readonly shape: string;
  /** Whether one of its own rules chooses. */
  readonly chooses: boolean;
}

export class ChainTable {
  readonly #known = new Map<DecisionChain, Chain>();
  readonly #byContent = new Map<string, Chain>();
  readonly #mapIds = new Map<AddressMap, number>();
  readonly #serviceIds = new Map<readonly ServiceRange[], string>();

  /** Maps that tests name; not those that chains are chosen by alone. */
  readonly testMaps: Set<AddressMap> = new Set();

  /** Of all rules. */
  services(): Iterable<ServiceRange> {
    return [...this.#serviceIds.keys()].flat();
  }

  chain(from: DecisionChain): Chain {
    const known = this.#known.get(from);
    if (known !== undefined) return known;
    const rules = from.rules.map((rule) => this.#rule(rule));
    const chosen = rules.find(({ action }) => action.kind === "choose")?.action;
    const of = chosen?.kind === "choose" ? chosen.end : from.of;
    const head = `${from.atEnd} ${of ?? ""}`;
    const content = `${head}\n${rules.map((rule) => this.#textOf(rule, true)).join("\n")}`;
    let chain = this.#byContent.get(content);
    if (chain === undefined) {
      const shape =
        chosen === undefined
          ? `${this.#byContent.size}`
          : `${head}\n${rules.map((rule) => this.#textOf(rule, false)).join("\n")}`;
      const id = this.#byContent.size;
      chain = { id, rules, atEnd: from.atEnd, of, shape, chooses: chosen !== undefined };
      this.#byContent.set(content, chain);
    }
    this.#known.set(from, chain);
    return chain;
  }

  #rule({ family, source = [], destination = [], services, marks = [], action }: DecisionRule): Rule {
    for (const { map } of source) this.testMaps.add(map);
    for (const { map } of destination) this.testMaps.add(map);
    return { family, tests: { source, destination }, services, marks, action: this.#action(action) };
  }

  #action(action: DecisionAction): Action {
    switch (action.kind) {
      case "jump":
      case "goto":
        return { kind: action.kind, chain: this.chain(action.chain) };
      case "choose": {
        const chains = new Map([...action.chains].map(([value, chain]) => [value, this.chain(chain)]));
        return { ...action, chains };
      }
      default:
        return action;
    }
  }

  #textOf({ family, tests, services, marks, action }: Rule, isWhole: boolean): string {
    const asked = (list: readonly AddressTest[]): string =>
      list.map(({ map, value, not }) => `${not ? "!" : ""}${this.#mapId(map)}=${value}`).join("&");
    const marked = marks.map(({ mask, value, not }) => `${not ? "!" : ""}${mask}/${value}`).join("&");
    return `${family ?? ""} ${asked(tests.source)} ${asked(tests.destination)} ${this.#servicesId(services)} ${marked} ${this.#actionText(action, isWhole)}`;
  }

  #actionText(action: Action, isWhole: boolean): string {
    switch (action.kind) {
      case "jump":
      case "goto":
        return `${action.kind} ${action.chain.id}`;
      case "mark":
        return `mark ${action.keep} ${action.flip}`;
      case "choose": {
        if (!isWhole) return `choose ${action.end}`;
        const chains = [...action.chains].map(([value, { id }]) => `${value}:${id}`).join(",");
        return `choose ${action.end} ${this.#mapId(action.map)} ${chains}`;
      }
      default:
        return action.kind;
    }
  }

  #mapId(map: AddressMap): number {
    let id = this.#mapIds.get(map);
    if (id === undefined) {
      id = this.#mapIds.size;
      this.#mapIds.set(map, id);
    }
    return id;
  }

  #servicesId(services: readonly ServiceRange[] | undefined): string {
    if (services === undefined) return "*";
    let text = this.#serviceIds.get(services);
    if (text === undefined) {
      text = services.map(({ protocol, first, last }) => `${protocol}:${first}-${last}`).join(",");
      this.#serviceIds.set(services, text);
    }
    return text;
  }
}
