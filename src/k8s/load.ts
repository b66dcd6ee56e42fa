/**
 * Manifests of any mix to decoded objects. Every problem of every object is reported at once, with its place; kinds
 * that podwire has no use for are counted, never an error; of two objects of one name the later wins, as with
 * `kubectl apply`.
 */
import { InputError, type Issue, type SourceRef } from "../base/index.ts";
import { decodeNamespace, decodeNode, type NodeInput } from "./decode.ts";
import { decodePod, type PodInput } from "./decode-pod.ts";
import { decodeEndpointSlice, decodeEndpoints, decodeService, type ServiceInput } from "./decode-service.ts";
import { Fields, type Raw } from "./fields.ts";
import { locate } from "./locate.ts";
import { decodeMeta } from "./meta.ts";
import { dnsSubdomainFaults } from "./names.ts";
import { type ManifestInput, parseManifest, type RawObject } from "./parse.ts";
import { decodePolicySpec } from "./policy.ts";
import type { EndpointSlice, Namespace, NetworkPolicy, VendorObject } from "./types.ts";
import { decodeWorkload, type Workload, type WorkloadKind, workloadKinds } from "./workloads.ts";

/**
 * An API kind that an engine brings along. `decode` reports through `fields` and returns what the engine works on, with
 * what it names; `object` is the whole of it, for kinds that keep more than `spec`.
 */
export interface VendorKind {
  readonly apiGroup: string;
  readonly kind: string;
  readonly namespaced: boolean;
  decode(fields: Fields, spec: unknown, object: Raw): Pick<VendorObject, "spec" | "mentions">;
}

/** Decoded objects by kind, each list in input order. */
export interface LoadedObjects {
  readonly namespaces: readonly Namespace[];
  readonly nodes: readonly NodeInput[];
  readonly pods: readonly PodInput[];
  readonly workloads: readonly Workload[];
  readonly services: readonly ServiceInput[];
  readonly endpointSlices: readonly EndpointSlice[];
  readonly policies: readonly NetworkPolicy[];
  readonly vendor: readonly VendorObject[];
  /** Kinds that were ignored, with how many objects of each. */
  readonly ignored: ReadonlyMap<string, number>;
  /** Objects that a later one of the same name replaced. */
  readonly replaced: readonly string[];
}

/** Vendors' kinds to take, and who wants to hear of progress. */
export interface LoadOptions {
  readonly vendorKinds?: readonly VendorKind[];
  /** Called now and then with the number of objects decoded and the number known so far. */
  readonly onProgress?: (done: number, total: number) => void;
}

type Lists = {
  -readonly [K in Exclude<keyof LoadedObjects, "ignored" | "replaced">]: Map<
    string,
    LoadedObjects[K][number]
  >;
};

/** @throws InputError with every problem of every input. */
export function loadManifests(inputs: readonly ManifestInput[], options: LoadOptions = {}): LoadedObjects {
  const issues: Issue[] = [];
  const byName = new Map(inputs.map((input) => [input.name, input]));
  const raws: RawObject[] = [];
  for (const input of inputs) {
    const parsed = parseManifest(input);
    for (const object of parsed.objects) raws.push(object);
    issues.push(...parsed.issues);
  }
  return decodeAll(raws, byName, issues, options);
}

/** Objects that are there as data already; `name` names them in messages. @throws InputError with every problem. */
export function loadObjects(name: string, objects: readonly Raw[], options: LoadOptions = {}): LoadedObjects {
  const raws = objects.map(
    (raw, index): RawObject => ({ raw, source: { file: name, documentIndex: 0, items: [index] } }),
  );
  return decodeAll(raws, new Map(), [], options);
}

function decodeAll(
  raws: readonly RawObject[],
  byName: ReadonlyMap<string, ManifestInput>,
  issues: Issue[],
  options: LoadOptions,
): LoadedObjects {
  const loader = new Loader(options.vendorKinds ?? []);
  raws.forEach(({ raw, source }, i) => {
    const found = loader.add(raw, source);
    const input = byName.get(source.file);
    for (const { code, path, message, at } of found.issues)
      issues.push({
        code,
        path,
        message: found.name ? `${message} (${found.name})` : message,
        ...(input === undefined ? { file: source.file } : locate(input, source, at)),
      });
    if (i % 1000 === 0) options.onProgress?.(i, raws.length);
  });
  options.onProgress?.(raws.length, raws.length);
  if (issues.length > 0) throw new InputError(issues);
  return loader.result();
}

class Loader {
  readonly #lists: Lists = {
    namespaces: new Map(),
    nodes: new Map(),
    pods: new Map(),
    workloads: new Map(),
    services: new Map(),
    endpointSlices: new Map(),
    policies: new Map(),
    vendor: new Map(),
  };
  readonly #ignored = new Map<string, number>();
  readonly #replaced: string[] = [];
  readonly #vendorKinds: readonly VendorKind[];

  constructor(vendorKinds: readonly VendorKind[]) {
    this.#vendorKinds = vendorKinds;
  }

  add(raw: Raw, source: SourceRef): { readonly issues: Fields["issues"]; readonly name: string } {
    const fields = new Fields();
    const kind = fields.text(raw["kind"], "kind");
    const apiVersion = fields.text(raw["apiVersion"], "apiVersion") ?? "";
    if (kind === undefined) {
      if (fields.issues.length === 0) fields.required("kind");
      return { issues: fields.issues, name: "" };
    }
    const name = this.#decode(fields, kind, apiVersion, raw, source);
    return { issues: fields.issues, name: name === "" ? "" : `${kind} ${name}` };
  }

  #decode(fields: Fields, kind: string, apiVersion: string, raw: Raw, source: SourceRef): string {
    const vendor = this.#vendorKinds.find(
      (item) => item.kind === kind && apiVersion.startsWith(`${item.apiGroup}/`),
    );
    if (vendor !== undefined) return this.#addVendor(fields, vendor, apiVersion, raw, source);
    const core = apiVersion === "v1" || apiVersion === "";
    switch (kind) {
      case "Namespace":
        if (core) return this.#put("namespaces", decodeNamespace(fields, raw, source));
        break;
      case "Node":
        if (core) return this.#put("nodes", decodeNode(fields, raw, source));
        break;
      case "Pod":
        if (core) return this.#put("pods", decodePod(fields, raw, source));
        break;
      case "Service":
        if (core) return this.#put("services", decodeService(fields, raw, source));
        break;
      case "EndpointSlice":
        return this.#put("endpointSlices", decodeEndpointSlice(fields, raw, source));
      case "Endpoints":
        for (const slice of decodeEndpoints(fields, raw, source)) this.#put("endpointSlices", slice);
        return "";
      case "NetworkPolicy":
        if (
          apiVersion === "" ||
          apiVersion.startsWith("networking.k8s.io/") ||
          apiVersion.startsWith("extensions/")
        )
          return this.#put("policies", {
            kind: "NetworkPolicy",
            ...decodeMeta(fields, raw, source, dnsSubdomainFaults),
            ...decodePolicySpec(fields, raw["spec"]),
          });
        break;
      default: {
        const workload = workloadKinds.find((item): item is WorkloadKind => item === kind);
        if (workload !== undefined)
          return this.#put("workloads", decodeWorkload(fields, workload, raw, source));
      }
    }
    const label = core ? kind : `${kind}.${apiVersion.split("/")[0]}`;
    this.#ignored.set(label, (this.#ignored.get(label) ?? 0) + 1);
    return "";
  }

  #addVendor(fields: Fields, vendor: VendorKind, apiVersion: string, raw: Raw, source: SourceRef): string {
    const scope = vendor.namespaced ? "namespaced" : "cluster";
    const meta = decodeMeta(fields, raw, source, dnsSubdomainFaults, scope);
    const namespace = vendor.namespaced ? meta.namespace : undefined;
    return this.#put("vendor", {
      ...meta,
      namespace,
      kind: vendor.kind,
      apiVersion,
      ...vendor.decode(fields, raw["spec"], raw),
    });
  }

  #put<K extends keyof Lists>(list: K, object: LoadedObjects[K][number]): string {
    const { kind, name } = object;
    const namespace = "namespace" in object && object.namespace !== undefined ? `${object.namespace}/` : "";
    const id = `${kind} ${namespace}${name}`;
    const map = this.#lists[list] as Map<string, LoadedObjects[K][number]>;
    if (map.has(id)) this.#replaced.push(id);
    map.set(id, object);
    return `${namespace}${name}`;
  }

  result(): LoadedObjects {
    const lists = Object.fromEntries(
      Object.entries(this.#lists).map(([list, map]) => [list, [...map.values()]]),
    );
    return { ...(lists as unknown as LoadedObjects), ignored: this.#ignored, replaced: this.#replaced };
  }
}

export const noObjects: LoadedObjects = {
  namespaces: [],
  nodes: [],
  pods: [],
  workloads: [],
  services: [],
  endpointSlices: [],
  policies: [],
  vendor: [],
  ignored: new Map(),
  replaced: [],
};
