/** What the schema found wrong, as issues with a place; an unknown word comes with the known one nearest to it. */
import type { z } from "zod";
import type { Issue } from "../base/index.ts";
import { type FieldPath, formatPath, type PlacedDocument } from "./document.ts";
import { scenarioJsonSchema } from "./schema.ts";
import { nearestWord } from "./suggest.ts";

/** One of zod's issues as ours: placed, and with a suggestion where a word is unknown. */
export function toIssues(
  issue: z.core.$ZodIssue,
  base: FieldPath,
  document: PlacedDocument,
): readonly Issue[] {
  const path = [...base, ...issue.path.map((part) => (typeof part === "symbol" ? String(part) : part))];
  const at = (): Pick<Issue, "path" | "file" | "line" | "column"> => ({
    path: formatPath(path),
    ...document.place(path),
  });
  switch (issue.code) {
    case "unrecognized_keys": {
      const known = knownFields(path);
      return issue.keys.map((key) => {
        const nearest = nearestWord(key, known);
        const hint = nearest === undefined ? `known here: ${known.join(", ")}` : `did you mean ${nearest}?`;
        const what = path.length === 2 && path[0] === "steps" ? "step" : "field";
        return {
          code: "unknown-name",
          path: formatPath([...path, key]),
          message: `unknown ${what} ${key}; ${hint}`,
          ...document.keyPlace([...path, key]),
        };
      });
    }
    case "invalid_union": {
      const branch = nearestBranch(issue.errors);
      if (branch !== undefined) return branch.flatMap((inner) => toIssues(inner, path, document));
      const wanted = issue.errors.flat().map((inner) => inner.message);
      return [{ code: "invalid", message: [...new Set(wanted)].join("; or: "), ...at() }];
    }
    case "invalid_value": {
      const value = valueAt(document.value, path);
      const nearest = typeof value === "string" ? nearestWord(value, issue.values.map(String)) : undefined;
      const hint = nearest === undefined ? "" : `; did you mean ${nearest}?`;
      const given = value === undefined ? "missing" : `not ${JSON.stringify(value)}`;
      return [
        {
          code: value === undefined ? "required" : "invalid",
          message: `must be ${issue.values.map(String).join(", ")}, ${given}${hint}`,
          ...at(),
        },
      ];
    }
    case "invalid_type":
      if (valueAt(document.value, path) === undefined)
        return [
          {
            code: "required",
            message: `${String(path[path.length - 1] ?? "the scenario")} is missing`,
            ...at(),
          },
        ];
      return [{ code: "invalid", message: issue.message, ...at() }];
    default:
      return [{ code: "invalid", message: issue.message, ...at() }];
  }
}

/** The branch of a union that the value was meant for: one that complains about a part, not about the whole. */
function nearestBranch(
  errors: readonly (readonly z.core.$ZodIssue[])[],
): readonly z.core.$ZodIssue[] | undefined {
  const without = (code: string): typeof errors =>
    errors.filter((issues) => !issues.some((issue) => issue.path.length === 0 && issue.code === code));
  const ofType = without("invalid_type");
  const ofPart = ofType.filter((issues) => without("invalid_value").includes(issues));
  const [first, ...rest] = ofPart.length > 0 ? ofPart : ofType;
  return rest.reduce((a, b) => (a !== undefined && b.length < a.length ? b : a), first);
}

function valueAt(value: unknown, path: FieldPath): unknown {
  let current = value;
  for (const part of path) {
    if (typeof current !== "object" || current === null) return undefined;
    current = (current as Readonly<Record<string | number, unknown>>)[part];
  }
  return current;
}

interface JsonSchemaNode {
  readonly properties?: Readonly<Record<string, JsonSchemaNode>>;
  readonly items?: JsonSchemaNode;
  readonly anyOf?: readonly JsonSchemaNode[];
  readonly additionalProperties?: JsonSchemaNode | boolean;
}

/** Field names that the published schema allows at a path. */
function knownFields(path: FieldPath): readonly string[] {
  let nodes: readonly JsonSchemaNode[] = [scenarioJsonSchema() as JsonSchemaNode];
  const alternatives = (list: readonly JsonSchemaNode[]): readonly JsonSchemaNode[] =>
    list.flatMap((node) =>
      node.anyOf ? [node, ...node.anyOf.flatMap((inner) => [inner, ...(inner.anyOf ?? [])])] : [node],
    );
  for (const part of path)
    nodes = alternatives(nodes).flatMap((node) => {
      const extra = typeof node.additionalProperties === "object" ? node.additionalProperties : undefined;
      const next = typeof part === "number" ? node.items : (node.properties?.[part] ?? extra);
      return next === undefined ? [] : [next];
    });
  return [...new Set(alternatives(nodes).flatMap((node) => Object.keys(node.properties ?? {})))];
}
