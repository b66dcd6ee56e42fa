/** Who judges a replay: engines on manifests, or the tables of one node. */
import { existsSync } from "node:fs";
import { usageError } from "../base/index.ts";
import {
  type AttachableProgram,
  attachableProgram,
  createOriginPlacer,
  DumpTarget,
  type DumpText,
  emulate,
  NetworkTarget,
  type OriginPlacer,
  type ReplayTarget,
  readDump,
  readDumpedNode,
} from "../harness/index.ts";
import { loadClusters } from "./clusters.ts";
import { noter } from "./emit.ts";
import { bpfFiles, readFile } from "./engines.ts";
import { readInputs } from "./input.ts";
import type { ClusterFlags, CommonOptions } from "./options.ts";

export interface JudgeOptions extends CommonOptions, ClusterFlags {
  readonly engine?: string;
  readonly iptables?: string;
  readonly ip6tables?: string;
  readonly ipset?: string;
  readonly hns?: readonly string[];
  readonly bpf?: string;
  readonly at?: string;
  readonly hook?: string;
  readonly inInterface?: string;
  readonly outInterface?: string;
  readonly local?: readonly string[];
  readonly addresses?: string;
  readonly routes?: readonly string[];
  readonly nodeJson?: string;
}

/** One engine, or one dump. */
export interface Judge {
  readonly engine: string;
  readonly engineVersion: string;
  readonly target: ReplayTarget;
  readonly place: OriginPlacer;
}

/** @throws InputError where options do not go together. */
export async function createJudges(
  manifests: readonly string[],
  options: JudgeOptions,
): Promise<readonly Judge[]> {
  const hasDump = options.iptables !== undefined || options.ip6tables !== undefined;
  const ways = [options.engine !== undefined, hasDump, options.bpf !== undefined, options.hns !== undefined];
  if (ways.filter((isGiven) => isGiven).length !== 1)
    throw usageError(
      "replay needs --engine with manifests, or --iptables or --hns with a node's dump, or --bpf",
    );
  if (options.ipset !== undefined && !hasDump) throw usageError("--ipset goes with --iptables");
  if (options.engine === undefined) return [nodeJudge(manifests, options)];
  if (manifests.length === 0) throw usageError("replay with --engine needs manifests");
  if (options.hook !== undefined || options.inInterface !== undefined || options.outInterface !== undefined)
    throw usageError(
      "--hook, --in-interface and --out-interface go with --iptables, --hns or --bpf; use --at node:interface",
    );
  const knows = [options.local, options.addresses, options.routes, options.nodeJson];
  if (knows.some((one) => one !== undefined))
    throw usageError("--local, --addresses, --routes and --node-json go with --iptables, --hns or --bpf");
  const { inputs, clusters } = await loadClusters(manifests, options.engine, options, noter(options));
  const place = createOriginPlacer(inputs);
  return clusters.map(({ selection, state }) => {
    if (selection.kind === "oracle")
      throw usageError("replay needs engines with tables; the oracle has none");
    const { network } = emulate(state, selection, { seed: options.seed });
    const at = options.at === undefined ? undefined : placeOf(options.at);
    const target = new NetworkTarget(network, () => state, at);
    return { engine: selection.label, engineVersion: selection.version, target, place };
  });
}

function placeOf(text: string): { readonly node: string; readonly interface: string | undefined } {
  const colon = text.indexOf(":");
  if (colon === 0 || colon === text.length - 1)
    throw usageError(`--at takes node or node:interface, not ${text}`);
  return colon < 0
    ? { node: text, interface: undefined }
    : { node: text.slice(0, colon), interface: text.slice(colon + 1) };
}

/** One node's tables, and what is known of the node. */
function nodeJudge(manifests: readonly string[], options: JudgeOptions): Judge {
  const { bpf, hns } = options;
  const word = bpf !== undefined ? "--bpf" : hns !== undefined ? "--hns" : "--iptables";
  const hasBoth = bpf !== undefined || hns !== undefined;
  if (manifests.length > 0) throw usageError(`${word} takes no manifests: the tables say everything`);
  const at = options.at === undefined ? undefined : placeOf(options.at);
  const families = [
    ...(options.iptables !== undefined || hasBoth ? ([4] as const) : []),
    ...(options.ip6tables !== undefined || hasBoth ? ([6] as const) : []),
  ];
  const place = {
    node: at?.node ?? "node",
    inInterface: options.inInterface ?? at?.interface,
    outInterface: options.outInterface,
    hook: bpf === undefined ? options.hook : undefined,
    families,
  };
  const tables = bpf === undefined ? dumpOf(options) : { bpf: programOn(bpf, options.hook) };
  const facts = readDumpedNode({
    local: (options.local ?? []).flatMap((words) => words.split(",")),
    addresses: textOf(options.addresses),
    routes: (options.routes ?? []).flatMap((file) => textOf(file) ?? []),
    node: textOf(options.nodeJson),
  });
  return {
    engine: bpf !== undefined ? `bpf:${bpf}` : hns !== undefined ? "hns" : "iptables",
    engineVersion: bpf === undefined ? "dump" : "program",
    target: new DumpTarget(tables, place, facts, options.seed),
    place: createOriginPlacer([]),
  };
}

function textOf(file: string | undefined): DumpText | undefined {
  return file === undefined ? undefined : readInputs([file], [])[0];
}

function dumpOf(options: JudgeOptions): ReturnType<typeof readDump> {
  return readDump({
    iptables: textOf(options.iptables),
    ip6tables: textOf(options.ip6tables),
    ipset: textOf(options.ipset),
    hns: options.hns?.flatMap((file) => textOf(file) ?? []),
  });
}

/** On every interface that packets cross. */
function programOn(word: string, hook: string | undefined): ReturnType<AttachableProgram["on"]> {
  const [, file = word, section] = existsSync(word) ? [] : (/^(.+):([^:]+)$/.exec(word) ?? []);
  const files = bpfFiles(file, readFile(file), section);
  return attachableProgram({ ...files, hook, isUnverified: false }).on("+");
}
