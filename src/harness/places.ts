/** Origins with their line: found by reading the manifest again, only when someone asks. */
import type { Origin } from "../base/index.ts";
import { locate, type ManifestInput } from "../k8s/index.ts";
import { manifestFile } from "../scenario/index.ts";
import type { TraceOriginDocument } from "./documents.ts";

/** Finds file and line of an origin. */
export type OriginPlacer = (origin: Origin) => TraceOriginDocument;

/** Remembers answers: a trace asks for the same few origins again and again. */
export function createOriginPlacer(inputs: readonly ManifestInput[]): OriginPlacer {
  const byName = new Map(inputs.map((input) => [input.name, input]));
  const known = new Map<string, TraceOriginDocument>();
  return (origin) => {
    const { source, path, name, kind, role, direction } = origin;
    const key = `${source?.file}\0${source?.documentIndex}\0${source?.items?.join(".")}\0${path}\0${kind}\0${name}\0${role}\0${direction}`;
    let document = known.get(key);
    if (document === undefined) {
      const input = source === undefined ? undefined : byName.get(source.file);
      const place = input === undefined || source === undefined ? {} : locate(input, source, path);
      document = {
        ...(place.file === undefined ? {} : { file: manifestFile(place.file) }),
        ...(place.line === undefined ? {} : { line: place.line }),
        policy: kind === "NetworkPolicy" ? name : `${name} (${kind})`,
        ...(path === "" ? {} : { path }),
        role,
        ...(direction === undefined ? {} : { direction }),
      };
      known.set(key, document);
    }
    return document;
  };
}
