/**
 * Listings of a live node read back: `cilium bpf policy get --all -o json` (or a file for each endpoint, as the command
 * prints one), `cilium bpf ipcache list -o json`, `cilium endpoint list -o json`. Law: what `write` made of a node's
 * maps gives the same entries again. Nothing is guessed: numbers must fit their fields, and who has an address must
 * have a policy map.
 */
import type { Ip } from "../../../addr/index.ts";
import { InputError, type Issue } from "../../../base/index.ts";
import type { MapEntry } from "../../../filter/bpf/index.ts";
import { Fields, locate, type ManifestInput, parseValue } from "../../../k8s/index.ts";
import type { MapGeneration } from "../variant.ts";
import { readEndpoints } from "./read-endpoints.ts";
import { readIpcache } from "./read-ipcache.ts";
import { readPolicies } from "./read-policy.ts";
import { listingFiles } from "./write.ts";

export interface ListedEndpoint {
  readonly id: number;
  readonly identity: number;
  readonly ips: readonly Ip[];
  readonly interface: string;
}

/** What a node's listings say. */
export interface NodeListing {
  /** Name of one of its files, for messages. */
  readonly name: string;
  /** `undefined` where no policy map has an entry. */
  readonly generation: MapGeneration | undefined;
  /** By endpoint id. */
  readonly policies: ReadonlyMap<number, readonly MapEntry[]>;
  readonly ipcache: readonly MapEntry[];
  /** Addresses that the node calls its own. */
  readonly hostIps: readonly Ip[];
  /** Lines of the ipcache name flags. */
  readonly hasFlags: boolean;
  readonly endpoints: readonly ListedEndpoint[];
}

const ofOneEndpoint = /^policy-([1-9][0-9]{0,4})\.json$/;

/** Is a file of this name read? */
export function isListing(file: string): boolean {
  return ofOneEndpoint.test(file) || Object.values<string>(listingFiles).includes(file);
}

/** @throws InputError with file, path, line and column of whatever is wrong, in all files at once. */
export function readListings(files: ReadonlyMap<string, ManifestInput>): NodeListing {
  const issues: Issue[] = [];
  const read = <T>(input: ManifestInput, decode: (fields: Fields, value: unknown) => T): T | undefined => {
    const fields = new Fields();
    try {
      const value = decode(fields, parseValue(input));
      const source = { file: input.name, documentIndex: 0 };
      for (const { code, path, message, at } of fields.issues)
        issues.push({ code, path, message, ...locate(input, source, at) });
      return value;
    } catch (error) {
      if (!(error instanceof InputError)) throw error;
      issues.push(...error.issues);
      return undefined;
    }
  };
  const policies = readPolicies(policyFiles(files), read);
  const one = <T>(file: string, decode: (fields: Fields, value: unknown) => T): T | undefined => {
    const input = files.get(file);
    if (input === undefined) issues.push(missing(file, files));
    return input === undefined ? undefined : read(input, decode);
  };
  if (policies.files === 0) issues.push(missing(listingFiles.policy, files));
  const ipcache = one(listingFiles.ipcache, readIpcache);
  const endpoints = one(listingFiles.endpoints, (fields, value) =>
    readEndpoints(fields, value, policies.isWhole ? policies.byEndpoint : undefined),
  );
  if (issues.length > 0 || ipcache === undefined || endpoints === undefined) throw new InputError(issues);
  const { generation, byEndpoint } = policies;
  return { name: anyName(files), generation, policies: byEndpoint, ...ipcache, endpoints };
}

/** Inputs with the endpoint that they are of; `undefined`: of all. */
function policyFiles(
  files: ReadonlyMap<string, ManifestInput>,
): readonly (readonly [number | undefined, ManifestInput])[] {
  return [...files].flatMap(([file, input]): (readonly [number | undefined, ManifestInput])[] => {
    if (file === listingFiles.policy) return [[undefined, input]];
    const endpoint = ofOneEndpoint.exec(file)?.[1];
    return endpoint === undefined ? [] : [[Number(endpoint), input]];
  });
}

function anyName(files: ReadonlyMap<string, ManifestInput>): string {
  return [...files.values()][0]?.name ?? "";
}

function missing(file: string, files: ReadonlyMap<string, ManifestInput>): Issue {
  return { code: "missing-file", path: "", message: `needs ${file} beside it`, file: anyName(files) };
}
