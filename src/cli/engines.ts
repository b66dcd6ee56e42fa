/**
 * Engines as the command line names them: products, and files that stand where an engine may stand
 * (`program:PATH[:section@hook][+unverified]`, `./module.mjs`).
 */
import { existsSync, readdirSync, readFileSync, statSync } from "node:fs";
import { basename, dirname, isAbsolute, join, resolve } from "node:path";
import { pathToFileURL } from "node:url";
import { InputError, usageError } from "../base/index.ts";
import {
  type DumpText,
  type DumpTexts,
  dumpFiles,
  type ExternalEngine,
  engineOf,
  isEngine,
  isListing,
  type NodeFolder,
  type ProgramFiles,
  parseSelections,
  programSelection,
  type Selection,
  selectEngine,
} from "../harness/index.ts";
import type { Scenario } from "../scenario/index.ts";
import { fileIssue } from "./input.ts";

/** Paths are relative to `folder`. @throws InputError for unknown names, and for files that cannot be read or understood. */
export async function loadEngines(text: string, folder = "."): Promise<readonly Selection[]> {
  const external = new Map<string, Selection>();
  for (const name of text.split(",").map((one) => one.trim())) {
    if (name.startsWith("program:")) external.set(name, programSelection(name, programFiles(name, folder)));
    else if (/\.m?js$/.test(name)) external.set(name, await moduleSelection(name, folder));
  }
  return parseSelections(text, external);
}

/** What was asked for, else what the scenario names; its paths are relative to its file. */
export function enginesOfScenario(
  { engines, file }: Pick<Scenario, "engines" | "file">,
  asked: string | undefined,
): Promise<readonly Selection[]> {
  return asked === undefined ? loadEngines(engines.join(","), dirname(file)) : loadEngines(asked);
}

/** @throws InputError when it cannot be read. */
export function readFile(file: string): Buffer {
  try {
    return readFileSync(file);
  } catch (error) {
    throw new InputError([fileIssue(file, error)]);
  }
}

/** A path as it is named, or below a folder that is not the one podwire runs in. */
function below(folder: string, path: string): string {
  return folder === "." || isAbsolute(path) ? path : join(folder, path);
}

function programFiles(label: string, folder: string): ProgramFiles {
  const isUnverified = label.endsWith("+unverified");
  const rest = below(folder, label.slice("program:".length).replace(/\+unverified$/, ""));
  const match = existsSync(rest) ? null : /^(.+?)(?::([^:@]*))?(?:@([^@:]+))?$/.exec(rest);
  const [path = rest, section, hook] = match?.slice(1) ?? [rest];
  try {
    if (statSync(path).isDirectory()) return { nodes: readNodeFolders(path) };
  } catch (error) {
    throw new InputError([fileIssue(path, error)]);
  }
  const bytes = readFile(path);
  if (isDumpText(bytes)) return { nodes: new Map([["", { dump: dumpOfFile(path, bytes) }]]) };
  const named = section === "" ? undefined : section;
  return { bpf: { ...bpfFiles(path, bytes, named), hook, isUnverified } };
}

/** A program's file, and what is to be in its maps: `policy.maps.json` beside `policy.o`. */
export function bpfFiles(
  path: string,
  bytes: Uint8Array,
  section: string | undefined,
): Omit<NonNullable<ProgramFiles["bpf"]>, "hook" | "isUnverified"> {
  const maps = path.replace(/\.[^./]*$/, ".maps.json");
  return {
    file: path,
    bytes,
    section,
    ...(existsSync(maps) ? { maps: { name: maps, text: readFile(maps).toString() } } : {}),
  };
}

function isDumpText(bytes: Buffer): boolean {
  return /^(#[^\n]*\n|\s*\n)*\*(raw|mangle|nat|filter|security)\b/.test(bytes.subarray(0, 4096).toString());
}

function dumpOfFile(path: string, bytes: Buffer): DumpTexts {
  return { iptables: { name: path, text: bytes.toString() } };
}

/** A folder as `podwire compile` writes it: one node's files, or a folder for each node. */
function readNodeFolders(folder: string): ReadonlyMap<string, NodeFolder> {
  const here = nodeFolder(folder);
  if (here !== undefined) return new Map([["", here]]);
  const nodes = readdirSync(folder, { withFileTypes: true }).flatMap((entry): [string, NodeFolder][] => {
    const node = entry.isDirectory() ? nodeFolder(join(folder, entry.name)) : undefined;
    return node === undefined ? [] : [[basename(entry.name), node]];
  });
  if (nodes.length > 0) return new Map(nodes);
  const wanted = `${dumpFiles.iptables}, ${dumpFiles.ip6tables}, ${dumpFiles.ipset}, ${dumpFiles.hns} or listings (bpf/policy.json)`;
  throw new InputError([
    { code: "missing-file", path: "", message: `no ${wanted} in it, nor in folders below it`, file: folder },
  ]);
}

/** `undefined` for a folder that has nothing of a node. */
function nodeFolder(folder: string): NodeFolder | undefined {
  const dump = dumpTexts(folder);
  const listings = [join(folder, "bpf"), folder].map(listingTexts).find(({ size }) => size > 0);
  if (dump === undefined && listings === undefined) return undefined;
  return { ...(dump === undefined ? {} : { dump }), ...(listings === undefined ? {} : { listings }) };
}

function listingTexts(folder: string): ReadonlyMap<string, DumpText> {
  if (!existsSync(folder)) return new Map();
  const names = readdirSync(folder).filter(isListing).sort();
  return new Map(
    names.map((name) => {
      const file = join(folder, name);
      return [name, { name: file, text: readFile(file).toString() }];
    }),
  );
}

function dumpTexts(folder: string): DumpTexts | undefined {
  const one = (name: string): DumpText | undefined => {
    const file = join(folder, name);
    return existsSync(file) ? { name: file, text: readFile(file).toString() } : undefined;
  };
  const hns = one(dumpFiles.hns);
  const texts: DumpTexts = {
    iptables: one(dumpFiles.iptables),
    ip6tables: one(dumpFiles.ip6tables),
    ipset: one(dumpFiles.ipset),
    hns: hns && [hns],
    setTitles: one(dumpFiles.setTitles),
  };
  return (texts.iptables ?? texts.ip6tables ?? texts.ipset ?? texts.hns) ? texts : undefined;
}

/** A module whose export `engine` (or `default`) is an `Engine` of the public API. */
async function moduleSelection(label: string, folder: string): Promise<Selection> {
  const path = below(folder, label);
  if (!existsSync(path))
    throw new InputError([
      { code: "missing-file", path: "", message: "no such file or directory", file: path },
    ]);
  let exports: ExternalEngine;
  try {
    exports = (await import(pathToFileURL(resolve(path)).href)) as ExternalEngine;
  } catch (error) {
    throw new InputError([
      {
        code: "invalid",
        path: "",
        message: `cannot be loaded: ${error instanceof Error ? error.message : String(error)}`,
        file: path,
      },
    ]);
  }
  const engine = engineOf(exports);
  if (!isEngine(engine))
    throw usageError(
      `${path} exports no engine: it needs name, os, version, divergences, features, compile and agent`,
    );
  return selectEngine(label, engine);
}
