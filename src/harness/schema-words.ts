/** What the schemas of several documents are made of. */
import { z } from "zod";
import type { DiagnosticDocument } from "./documents.ts";

type Mutable<T> = T extends object ? { -readonly [K in keyof T]: Mutable<T[K]> } : T;

/** Compiles only if schema and document type say the same, in both directions. */
export function documented<D>(): <S extends z.ZodType<D>>(
  schema: [Mutable<D>] extends [z.output<S>] ? S : never,
) => S {
  return (schema) => schema;
}

export const text: z.ZodString = z.string();
export const whole: z.ZodInt = z.int();
export const natural: z.ZodInt = z.int().nonnegative();
export const texts: z.ZodArray<z.ZodString> = z.array(text);

export function maybe<T extends z.ZodType>(schema: T): z.ZodExactOptional<T> {
  return z.exactOptional(schema);
}

export const stamp: { readonly version: z.ZodString } = { version: text };
export const seeded: { readonly version: z.ZodString; readonly seed: z.ZodInt } = {
  version: text,
  seed: whole,
};

export const diagnostic: z.ZodType<DiagnosticDocument> = z.strictObject({
  engine: maybe(text),
  code: text,
  severity: z.enum(["info", "warning", "error"]),
  policy: maybe(text),
  message: text,
  file: maybe(text),
  line: maybe(natural),
});
