/**
 * What a person's files stand for as an engine: a node's dump (`iptables.save`, `ip6tables.save`, `ipset.save`), or a BPF
 * program put on the interfaces of pods. Files are read by the caller; here they are understood.
 */
import { InputError, usageError } from "../base/index.ts";
import type { EngineDefinition, ListedNode, NodeTables, TableSource } from "../engine/index.ts";
import { programEngine } from "../engine/program/index.ts";
import { engineDefinitions } from "../engine/registry.ts";
import {
  type Attachment,
  type BpfTables,
  type MapEntry,
  type MapRepr,
  ProgramType,
  tablesOfObject,
  verifyProgram,
} from "../filter/bpf/index.ts";
import { type ClusterState, type ManifestInput, type Node, podInterfacePattern } from "../k8s/index.ts";
import { type BpfFile, checkInstructions, mapShapes, pickProgram, readBpfFile } from "./bpf-file.ts";
import { type DumpTexts, readDump } from "./dump.ts";
import { type ProductSelection, selectEngine } from "./selection.ts";

/** A folder of a node: its dump, its engine's listings, or both. */
export interface NodeFolder {
  readonly dump?: DumpTexts;
  /** By file name; see `isListing`. */
  readonly listings?: ReadonlyMap<string, ManifestInput>;
}

/** A user's files, read, that stand for an engine. */
export interface ProgramFiles {
  /** By node name; the empty name stands for every node, or for the one that its listings are of. */
  readonly nodes?: ReadonlyMap<string, NodeFolder>;
  readonly bpf?: {
    readonly file: string;
    readonly bytes: Uint8Array;
    readonly section: string | undefined;
    /** `tc-ingress`, `tc-egress`, `xdp`, each with `=INTERFACE`; default: what the program's type says, on pods' interfaces. */
    readonly hook: string | undefined;
    /** `{ "MAP": [{ "key": [...], "value": [...] }] }`, bytes as numbers or "0x.." as bpftool prints them. */
    readonly maps?: { readonly name: string; readonly text: string };
    /** Run what the verifier could not prove, under the machine's guards. */
    readonly isUnverified: boolean;
  };
}

/** Is a file of this name one that an engine reads back? */
export function isListing(file: string): boolean {
  return readerOf([file]) !== undefined;
}

function readerOf(files: Iterable<string>): EngineDefinition | undefined {
  const names = [...files];
  return engineDefinitions.find(({ listings }) => names.some((name) => listings?.isListing(name)));
}

/** Files as an engine under the name that the user gave. @throws InputError with the place of whatever is not understood. */
export function programSelection(label: string, { nodes, bpf }: ProgramFiles): ProductSelection {
  if (bpf !== undefined) return selectEngine(label, programEngine(bpfSource(bpf)));
  const folders = nodes ?? new Map<string, NodeFolder>();
  const definition = readerOf([...folders.values()].flatMap(({ listings }) => [...(listings?.keys() ?? [])]));
  const source = folderSource(folders, definition);
  const windows = programEngine(source, "windows");
  const linux = selectEngine(label, programEngine(source));
  const selection = { ...linux, engines: { ...linux.engines, windows } };
  return definition === undefined ? selection : { ...selection, aks: definition.aks };
}

interface ReadFolder {
  readonly dump: NodeTables;
  readonly listed: ListedNode | undefined;
}

/** What is dumped takes the place of what is listed, and that of what the platform has. */
function folderSource(
  folders: ReadonlyMap<string, NodeFolder>,
  definition: EngineDefinition | undefined,
): TableSource {
  const reader = definition?.listings;
  const read = new Map(
    [...folders].map(([name, { dump, listings }]): [string, ReadFolder] => [
      name,
      {
        dump: dump === undefined ? {} : readDump(dump),
        listed: listings === undefined ? undefined : reader?.read(listings),
      },
    ]),
  );
  return {
    filters: reader?.filters ?? "iptables and ipset dump",
    on(state) {
      const nameless = read.get("");
      if (nameless === undefined && ![...read.keys()].some((name) => state.nodes.has(name)))
        throw invalid(
          "",
          `no folder is named after a node of the cluster's (${firstNames(state.nodes)}), but ${firstNames(read)}`,
        );
      if (
        nameless !== undefined &&
        ![...state.nodes.values()].some((node) => isOfSystem(nameless.dump, node))
      )
        throw wrongSystem(folders.get(""), "no node of the cluster's runs it");
      if (nameless?.listed !== undefined) checkIsOfCluster(nameless.listed, state, folders.get(""));
      const onNode = new Map([...read].map(([name, { listed }]) => [name, listed?.on(state)]));
      return (node, base) => {
        const isNameless = !read.has(node.name);
        const folder = read.get(node.name) ?? nameless;
        if (folder === undefined || (isNameless && folder.listed?.isOf(node) === false))
          return { tables: base, diagnostics: [] };
        if (!isOfSystem(folder.dump, node)) {
          if (isNameless) return { tables: base, diagnostics: [] };
          throw wrongSystem(folders.get(node.name), `${node.name} runs ${node.os}`);
        }
        const made = onNode.get(isNameless ? "" : node.name)?.(node, base);
        return {
          tables: { ...(made?.tables ?? base), ...folder.dump },
          diagnostics: made?.diagnostics ?? [],
        };
      };
    },
  };
}

/** On a node of the other system nothing would ask the tables. */
function isOfSystem({ iptables, hns }: NodeTables, { os }: Node): boolean {
  return (os === "windows" ? iptables : hns) === undefined;
}

function wrongSystem(folder: NodeFolder | undefined, why: string): InputError {
  const { iptables, ip6tables, ipset, hns } = folder?.dump ?? {};
  const text = hns?.[0] ?? iptables ?? ip6tables ?? ipset;
  return invalid(text?.name ?? "", `${hns === undefined ? "iptables" : "HNS"} of another system: ${why}`);
}

function firstNames(named: ReadonlyMap<string, unknown>): string {
  return [...named.keys()].slice(0, 5).join(", ");
}

function checkIsOfCluster(listed: ListedNode, { nodes }: ClusterState, folder: NodeFolder | undefined): void {
  if ([...nodes.values()].some((node) => listed.isOf(node))) return;
  const [file] = folder?.listings?.values() ?? [];
  throw invalid(
    file?.name ?? "",
    `its node is none of the cluster's (${firstNames(nodes)}): none has an address that it calls its own`,
  );
}

/** A program on the interfaces that a pattern (or its hook) names. */
export interface AttachableProgram {
  readonly filters: string;
  on(interfaces: string): BpfTables;
}

function bpfSource(options: NonNullable<ProgramFiles["bpf"]>): TableSource {
  const { filters, on } = attachableProgram(options);
  return {
    filters,
    on(state) {
      const bpf = on(podInterfacePattern(state));
      return (_node, base) => ({ tables: { ...base, bpf }, diagnostics: [] });
    },
  };
}

/** @throws InputError with the place of whatever is not understood, or not verified. */
export function attachableProgram(options: NonNullable<ProgramFiles["bpf"]>): AttachableProgram {
  const { file, section, isUnverified } = options;
  const content = readBpfFile(options.bytes, file);
  const program = pickProgram(content, section, file);
  checkInstructions(program.instructions, program.name);
  const { kind, direction, device } = attachPoint(options.hook, program.type);
  const type = program.type ?? typeAt(kind);
  if (!isUnverified) demandVerified(content, program.name, program.instructions, type, file);
  const origin = {
    kind: "program",
    name: file,
    path: program.name,
    role: "base",
    direction: directionOf(direction),
  } as const;
  const tables = filled(tablesOf(content, file), options.maps);
  const place = tables.programs.findIndex(({ name }) => name === program.name);
  const programs =
    place >= 0 ? tables.programs : [{ name: program.name, type, instructions: program.instructions }];
  const linked = programs.map((one) => ({
    ...one,
    instructions: Object.freeze(one.instructions), // nodes share what is made of a frozen list
    origin,
    ...(one.name === program.name && !isUnverified ? ({ isVerified: true } as const) : {}),
  }));
  return {
    filters: `BPF program at ${kind} ${direction}`,
    on: (interfaces) => ({
      maps: tables.maps,
      programs: linked,
      attachments: [
        {
          kind,
          direction,
          interface: device ?? interfaces,
          program: Math.max(0, place),
        } satisfies Attachment,
      ],
    }),
  };
}

/** What comes from a pod is its egress. */
function directionOf(direction: "ingress" | "egress"): "ingress" | "egress" {
  return direction === "ingress" ? "egress" : "ingress";
}

function typeAt(kind: Attachment["kind"]): ProgramType {
  return kind === "xdp" ? ProgramType.xdp : ProgramType.schedCls;
}

function attachPoint(
  hook: string | undefined,
  type: ProgramType | undefined,
): Pick<Attachment, "kind" | "direction"> & { readonly device: string | undefined } {
  const [name, device] = (hook ?? (type === ProgramType.xdp ? "xdp" : "tc-ingress")).split("=");
  const tcKind = type === ProgramType.socketFilter || type === ProgramType.cgroupSkb ? "match" : "tc";
  switch (name) {
    case "xdp":
      if (type !== undefined && type !== ProgramType.xdp) throw usageError("only XDP programs attach to xdp");
      return { kind: "xdp", direction: "ingress", device };
    case "tc-ingress":
    case "tc-egress":
      if (type === ProgramType.xdp) throw usageError(`an XDP program does not attach to ${name}`);
      return { kind: tcKind, direction: name === "tc-ingress" ? "ingress" : "egress", device };
    default:
      throw usageError(
        `no hook ${name}; there is tc-ingress, tc-egress and xdp, each with =INTERFACE if wanted`,
      );
  }
}

function demandVerified(
  content: BpfFile,
  name: string,
  instructions: Parameters<typeof verifyProgram>[0],
  type: ProgramType,
  file: string,
): void {
  const { refusal } = verifyProgram(instructions, { type, maps: mapShapes(content) });
  if (refusal === undefined) return;
  const { pc, text, message, registers } = refusal;
  throw new InputError([
    {
      code: "refused",
      path: `${name}[${pc}]`,
      message: `${message}: ${text}${registers === "" ? "" : ` (${registers})`}; add +unverified to run it under guards all the same`,
      file,
    },
  ]);
}

function tablesOf({ form, maps, programs }: BpfFile, file: string): BpfTables {
  if (form !== "object") return { maps: [], programs: [], attachments: [] };
  return tablesOfObject({ file, programs, maps, license: "" });
}

/** Maps with what a person wants in them. */
function filled(
  tables: BpfTables,
  given: { readonly name: string; readonly text: string } | undefined,
): BpfTables {
  if (given === undefined) return tables;
  const contents = readMapContents(given.name, given.text);
  for (const name of contents.keys())
    if (!tables.maps.some((map) => map.name === name))
      throw invalid(
        given.name,
        `there is no map ${name}; there is ${tables.maps.map((map) => map.name).join(", ")}`,
      );
  const maps = tables.maps.map((map): MapRepr => {
    const entries = contents.get(map.name);
    if (entries === undefined) return map;
    for (const { key, value } of entries)
      if (key.length !== map.keySize || value.length !== map.valueSize)
        throw invalid(
          given.name,
          `map ${map.name} has keys of ${map.keySize} and values of ${map.valueSize} bytes, not ${key.length} and ${value.length}`,
        );
    return { ...map, entries };
  });
  return { ...tables, maps };
}

function readMapContents(file: string, text: string): ReadonlyMap<string, readonly MapEntry[]> {
  let document: unknown;
  try {
    document = JSON.parse(text);
  } catch (error) {
    throw invalid(file, `no JSON: ${error instanceof Error ? error.message : String(error)}`);
  }
  if (typeof document !== "object" || document === null)
    throw invalid(file, "an object of maps was expected");
  return new Map(
    Object.entries(document).map(([map, entries]) => {
      if (!Array.isArray(entries)) throw invalid(file, `${map}: a list of entries was expected`);
      return [
        map,
        entries.map((entry: unknown, i): MapEntry => {
          const { key, value } = (entry ?? {}) as { readonly key?: unknown; readonly value?: unknown };
          return {
            key: byteList(file, `${map}[${i}].key`, key),
            value: byteList(file, `${map}[${i}].value`, value),
          };
        }),
      ];
    }),
  );
}

function byteList(file: string, path: string, value: unknown): Uint8Array {
  const bytes = Array.isArray(value) ? value.map(Number) : [];
  if (!Array.isArray(value) || bytes.some((byte) => !Number.isInteger(byte) || byte < 0 || byte > 255))
    throw new InputError([{ code: "invalid", path, message: "a list of bytes was expected", file }]);
  return Uint8Array.from(bytes);
}

function invalid(file: string, message: string): InputError {
  return new InputError([{ code: "invalid", path: "", message, file }]);
}
