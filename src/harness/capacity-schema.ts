/** Schema of the document of `capacity`. */
import { z } from "zod";
import type { CapacityDocument } from "./documents.ts";
import { diagnostic, documented, maybe, natural, stamp, text } from "./schema-words.ts";

const evidence = z.enum(["documented", "inferred"]);

export const capacitySchema: z.ZodType<CapacityDocument> = documented<CapacityDocument>()(
  z.strictObject({
    schema: z.literal("podwire/capacity/v1"),
    ...stamp,
    cluster: z.strictObject({ nodes: natural, pods: natural, namespaces: natural, policies: natural }),
    processors: natural,
    results: z.array(
      z.strictObject({
        engine: text,
        engineVersion: text,
        worstNode: maybe(text),
        breaksFirst: maybe(z.strictObject({ limit: text, atScale: z.number() })),
        limits: z.array(
          z.strictObject({
            id: text,
            what: text,
            where: maybe(z.strictObject({ node: text, store: maybe(text) })),
            used: natural,
            max: natural,
            percent: z.number(),
            unit: z.enum(["entries", "bytes"]),
            usedEvidence: z.enum(["counted", "inferred"]),
            evidence,
            source: text,
            beyond: text,
          }),
        ),
        nodes: z.array(
          z.strictObject({
            node: text,
            os: text,
            kernelBytes: maybe(natural),
            agentBytes: maybe(natural),
            stores: z.array(
              z.strictObject({
                store: text,
                group: text,
                count: natural,
                entries: natural,
                unit: text,
                fullest: z.strictObject({ name: text, entries: natural }),
                bytes: maybe(natural),
                evidence: maybe(evidence),
                source: maybe(text),
              }),
            ),
            agent: z.array(z.strictObject({ what: text, bytes: natural, evidence, source: text })),
          }),
        ),
        diagnostics: z.array(diagnostic),
      }),
    ),
  }),
);
