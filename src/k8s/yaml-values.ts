/**
 * Plain scalars of YAML as kubectl reads them: YAML 1.1 as in the go-yaml v2 that sigs.k8s.io/yaml carries. `no` and
 * `on` are booleans, `010` is eight, dates are text, `<<` merges. One difference is on purpose: kubectl takes a bare
 * `y` and `n` for booleans too; here they are text, since namespaces and pods of these names are common in tests of
 * policies and nobody means a boolean by them.
 * Governing source: sigs.k8s.io/yaml goyaml.v2/resolve.go.
 */
import { FAILSAFE_SCHEMA, type Schema, Type } from "js-yaml";

const nulls = new Set<unknown>([null, "", "~", "null", "Null", "NULL"]);
const nothing = new Type("tag:yaml.org,2002:null", {
  kind: "scalar",
  resolve: (text: unknown) => nulls.has(text),
  construct: () => null,
});

/** The parser itself carries out what keys of this type ask for. */
const merge = new Type("tag:yaml.org,2002:merge", {
  kind: "scalar",
  resolve: (text: unknown) => text === "<<" || text === null,
});

const truths = new Set(["true", "True", "TRUE", "yes", "Yes", "YES", "on", "On", "ON"]);
const untruths = new Set(["false", "False", "FALSE", "no", "No", "NO", "off", "Off", "OFF"]);

const bool = new Type("tag:yaml.org,2002:bool", {
  kind: "scalar",
  resolve: (text: unknown) => typeof text === "string" && (truths.has(text) || untruths.has(text)),
  construct: (text: string) => truths.has(text),
});

/** Sign, then Go's base prefixes: `0x`, `0o`, `0b`, a bare `0` for octal; underscores anywhere. */
const integer = /^([-+]?)(?:0[xX]([0-9a-fA-F]+)|0[oO]?([0-7]+)|0[bB]([01]+)|([1-9][0-9]*|0))$/;
const startsAsNumber = /^[-+]?[0-9]/;

const int = new Type("tag:yaml.org,2002:int", {
  kind: "scalar",
  resolve: (text: unknown) =>
    typeof text === "string" && startsAsNumber.test(text) && integer.test(text.replaceAll("_", "")),
  construct: (text: string) => {
    const [, sign, hex, octal, binary, decimal] = integer.exec(text.replaceAll("_", "")) ?? [];
    const digits: readonly (readonly [string | undefined, number])[] = [
      [hex, 16],
      [octal, 8],
      [binary, 2],
      [decimal, 10],
    ];
    const [word = "", base = 10] = digits.find(([found]) => found !== undefined) ?? [];
    const value = Number.parseInt(word, base);
    return sign === "-" ? -value : value;
  },
});

const decimalFraction = /^[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?$/;
const specialFloats: ReadonlyMap<string, number> = new Map([
  ...[".nan", ".NaN", ".NAN"].map((text) => [text, Number.NaN] as const),
  ...[".inf", ".Inf", ".INF", "+.inf", "+.Inf", "+.INF"].map((text) => [text, Infinity] as const),
  ...["-.inf", "-.Inf", "-.INF"].map((text) => [text, -Infinity] as const),
]);

const float = new Type("tag:yaml.org,2002:float", {
  kind: "scalar",
  resolve: (text: unknown) =>
    typeof text === "string" && (specialFloats.has(text) || decimalFraction.test(text.replaceAll("_", ""))),
  construct: (text: string) => specialFloats.get(text) ?? Number(text.replaceAll("_", "")),
});

export const kubectlSchema: Schema = FAILSAFE_SCHEMA.extend({
  implicit: [nothing, bool, int, float, merge],
});
