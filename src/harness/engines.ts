/** What engines there are, as a document. */
import { engineDefinitions } from "../engine/registry.ts";
import type { EnginesDocument } from "./documents.ts";

/** Features, switches and divergences of every engine, as a document. */
export function describeEngines(version: string): EnginesDocument {
  const engines = engineDefinitions.map((definition) => {
    const { name, product, os, versions, defaultVersion, switches } = definition;
    const { features, divergences } = definition.create(defaultVersion, {});
    return {
      name,
      product,
      os,
      versions,
      defaultVersion,
      switches,
      ...features,
      divergences: divergences.map(({ id, cause, source, versions: concerned }) => ({
        id,
        cause,
        source,
        versions: concerned,
      })),
    };
  });
  return { schema: "podwire/engines/v1", version, engines };
}
