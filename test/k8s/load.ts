/** Loading for tests: what the loader says of objects and texts. */
import { InputError, type Issue } from "../../src/base/index.ts";
import { type LoadedObjects, loadManifests, loadObjects } from "../../src/k8s/index.ts";

export type RawObject = Readonly<Record<string, unknown>>;

/** An issue without the object's name at its end: `spec.podSelector: Invalid value: ...`, with its code before it. */
export type Said = readonly [code: string, path: string, message: string];

function said({ code, path, message }: Issue): Said {
  return [code, path, message.replace(/ \([A-Z][A-Za-z]+ [^()]*\)$/, "")];
}

function issuesOf(load: () => unknown): readonly Issue[] {
  try {
    load();
    return [];
  } catch (error) {
    if (!(error instanceof InputError)) throw error;
    return error.issues;
  }
}

/** What is wrong with an object, in order; empty when it is accepted. */
export function faults(object: RawObject): readonly Said[] {
  return issuesOf(() => loadObjects("test", [object])).map(said);
}

/** What is wrong with a text, each with its `line:column` before it. */
export function placedFaults(text: string, name = "in.yaml"): readonly string[] {
  return issuesOf(() => loadManifests([{ name, text }])).map(
    (issue) => `${issue.line}:${issue.column} ${said(issue).slice(1).join(": ")}`,
  );
}

export function loadText(text: string, name = "in.yaml"): LoadedObjects {
  return loadManifests([{ name, text }]);
}
