/**
 * What a step expects: one value for every engine, or a value per engine with a default. Keys are names as in the
 * engine list, from the most to the least particular: `azure-npm@2026-08+place-first`, `azure-npm@2026-08`,
 * `azure-npm`. `undefined` means that the API leaves the answer open: the oracle must say so, engines are not compared.
 */

export interface Expectation<T> {
  readonly default: T;
  readonly perEngine: ReadonlyMap<string, T>;
}

/** The value for an engine. `label` as the user wrote it; `product` where the label is a suffixed name of it. */
export function expectedValue<T>(expectation: Expectation<T>, label: string, product?: string): T {
  for (const key of expectationKeys(label, product)) {
    const value = expectation.perEngine.get(key);
    if (value !== undefined) return value;
  }
  return expectation.default;
}

/** Keys under which an engine's value may stand, the most particular first. */
export function expectationKeys(label: string, product?: string): readonly string[] {
  const keys = [label];
  const plus = label.indexOf("+");
  const versioned = plus < 0 ? label : label.slice(0, plus);
  const at = versioned.indexOf("@");
  const name = at < 0 ? versioned : versioned.slice(0, at);
  keys.push(versioned);
  if (product !== undefined && at >= 0) keys.push(`${product}${versioned.slice(at)}`);
  keys.push(name);
  if (product !== undefined) keys.push(product);
  return [...new Set(keys)];
}

/** One value for all. */
export function sameForAll<T>(value: T): Expectation<T> {
  return { default: value, perEngine: new Map() };
}

/** From what stands in the file: a value, or `{ default, engine: value... }`. */
export function readExpectation<T extends string>(raw: T | Readonly<Record<string, T>>): Expectation<T> {
  if (typeof raw === "string") return sameForAll(raw);
  const { default: fallback, ...rest } = raw;
  return { default: fallback as T, perEngine: new Map(Object.entries(rest) as [string, T][]) };
}
