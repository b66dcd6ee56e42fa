/** `metadata` of an object, with the API server's checks (k8s.io/apimachinery pkg/api/validation/objectmeta.go). */
import type { SourceRef } from "../base/index.ts";
import type { Fields, Raw } from "./fields.ts";
import { generatedName } from "./generated-names.ts";
import { dnsLabelFaults, type Faults } from "./names.ts";
import type { Labels } from "./types.ts";

export interface Meta {
  readonly name: string;
  readonly namespace: string;
  readonly labels: Labels;
  readonly annotations: Labels;
  readonly source: SourceRef | undefined;
}

export type NameCheck = (name: string) => Faults;

/** `namespace` is `default` where the input names none (and meaningless for cluster-wide kinds). */
export function decodeMeta(
  fields: Fields,
  raw: Raw,
  source: SourceRef | undefined,
  check: NameCheck,
  scope: "namespaced" | "cluster" = "namespaced",
): Meta {
  const meta = fields.object(raw["metadata"], "metadata") ?? {};
  const base = fields.text(meta["generateName"], "metadata.generateName") ?? "";
  if (base !== "") fields.check("metadata.generateName", base, check(base.replace(/(?<=.)-$/, "a")));
  const given = fields.text(meta["name"], "metadata.name") ?? "";
  if (given !== "") fields.check("metadata.name", given, check(given));
  else if (base === "") fields.required("metadata.name", "name or generateName is required");
  const namespace = fields.text(meta["namespace"], "metadata.namespace") ?? "";
  if (scope === "cluster") {
    if (namespace !== "") fields.forbidden("metadata.namespace", "not allowed on this type");
  } else if (namespace !== "") {
    fields.check("metadata.namespace", namespace, dnsLabelFaults(namespace));
  }
  const key = `${source?.file} ${source?.documentIndex} ${source?.items?.join(" ")}`;
  return {
    name: given === "" && base !== "" ? generatedName(base, key) : given,
    namespace: namespace || "default",
    labels: fields.labels(meta["labels"], "metadata.labels"),
    annotations: fields.annotations(meta["annotations"], "metadata.annotations"),
    source,
  };
}
