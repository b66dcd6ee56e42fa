/** `podwire replay`: the packets of a capture judged by engines on manifests, or by a node's dumped tables. */
import { existsSync } from "node:fs";
import { type Command, Option } from "commander";
import { usageError } from "../../base/index.ts";
import {
  type CapturedPacket,
  type CaptureInterface,
  chooseCaptureReader,
  pcapngHeader,
  pcapngInterface,
  pcapngPacket,
  readComments,
} from "../../capture/index.ts";
import {
  type AttachableProgram,
  attachableProgram,
  createOriginPlacer,
  DumpTarget,
  emulate,
  NetworkTarget,
  type OriginPlacer,
  type ReplayCounts,
  Replayer,
  type ReplayFlowDocument,
  type ReplayPacketDocument,
  readDump,
} from "../../harness/index.ts";
import { createReplayWriter, type ReplayWriter, replayFormats } from "../../report/index.ts";
import { openCapture } from "../captures.ts";
import { loadClusters } from "../clusters.ts";
import { noter, wantsColor } from "../emit.ts";
import { bpfFiles, readFile } from "../engines.ts";
import { ExitCode } from "../failure.ts";
import { readInputs } from "../input.ts";
import { addClusterOptions, addCommonOptions, type ClusterFlags, type CommonOptions } from "../options.ts";
import { type OpenOutput, openOutput, parseOutputs } from "../output.ts";
import { createProgress } from "../progress.ts";
import { version } from "../version.ts";

interface ReplayOptions extends CommonOptions, ClusterFlags {
  readonly engine?: string;
  readonly iptables?: string;
  readonly ip6tables?: string;
  readonly ipset?: string;
  readonly bpf?: string;
  readonly at?: string;
  readonly hook?: string;
  readonly inInterface?: string;
  readonly outInterface?: string;
  readonly write?: string;
  readonly packets?: boolean;
}

/** One engine, or one dump, and what it says. */
interface Judge {
  readonly engine: string;
  readonly engineVersion: string;
  readonly replayer: Replayer;
}

export function addReplayCommand(program: Command, finish: (code: ExitCode) => void): void {
  const replay = program
    .command("replay")
    .summary("a capture's packets judged by an engine or by dumped tables")
    .description(
      "Judges every packet of a pcap or pcapng capture by engines on manifests, or by the iptables-save and ipset-save text of a node: a verdict and the deciding rule for each, a summary for each flow.",
    )
    .argument("<capture>", "pcap or pcapng file")
    .argument("[manifests...]", "files, directories, or - for standard input")
    .option("-e, --engine <engine,...>", "engines, or all; name[@version][+switch[=value]]...")
    .option("--iptables <file>", "instead of an engine: iptables-save text of a node")
    .option("--ip6tables <file>", "likewise, for IPv6")
    .option("--ipset <file>", "ipset-save text that belongs to it")
    .option("--bpf <object[:section]>", "instead of an engine: a BPF program on the interfaces")
    .option("--at <node[:interface]>", "where the capture was taken: packets enter there")
    .addOption(
      new Option(
        "--hook <hook>",
        "with --iptables: judge at this hook alone, such as FORWARD; with --bpf: where the program is, tc-ingress, tc-egress or xdp",
      ),
    )
    .option("--in-interface <name>", "with --iptables or --bpf: where packets come in (default eth0)")
    .option("--out-interface <name>", "likewise: where they go on (default eth0)")
    .option("--write <file.pcapng>", "the capture again, each packet with its verdict as a comment")
    .option("--packets", "list every packet in the text, not flows alone");
  addClusterOptions(addCommonOptions(replay)).action(
    async (capture: string, manifests: string[], options: ReplayOptions) => {
      finish(await runReplay(capture, manifests, options));
    },
  );
}

async function runReplay(
  name: string,
  manifests: readonly string[],
  options: ReplayOptions,
): Promise<ExitCode> {
  const outputs = parseOutputs(options.output, replayFormats);
  const judges = await createJudges(manifests, options);
  const source = openCapture(name);
  const writers = outputs.map((target): { readonly writer: ReplayWriter; readonly output: OpenOutput } => {
    const color = target.file === undefined && wantsColor(options);
    const format = replayFormats.find((one) => one === target.format) ?? "text";
    return {
      writer: createReplayWriter(format, { color, packets: options.packets === true }),
      output: openOutput(target),
    };
  });
  const annotated = options.write === undefined ? undefined : new AnnotatedCapture(options.write);
  const progress = createProgress("bytes", options);
  const isSeveral = judges.length > 1;
  let fault: unknown;
  try {
    for (const { writer, output } of writers)
      output.write(writer.head({ schema: "podwire/replay/v1", version, seed: options.seed }));
    const reader = chooseCaptureReader(source.head, source.sizeBytes, name, {
      interface: (_, description) => annotated?.interface(description),
      packet(packet) {
        const documents = judges.map(({ engine, replayer }) => {
          const document = replayer.replay(packet);
          return isSeveral ? { engine, ...document } : document;
        });
        for (const document of documents)
          for (const { writer, output } of writers) output.write(writer.packet(document));
        annotated?.packet(packet, documents);
      },
    });
    try {
      for (const chunk of source.chunks()) {
        reader.push(chunk);
        if (!(await progress.update(source.readBytes(), source.sizeBytes))) break;
      }
      if (!progress.isInterrupted()) reader.end();
    } catch (error) {
      fault = error; // what was read before a fault is reported all the same
    }
    progress.stop();
    const engines = judges.map(({ engine, engineVersion }) => ({ engine, engineVersion }));
    const summary = {
      engines,
      counts: sumCounts(judges.map(({ replayer }) => replayer.counts)),
      ...(progress.isInterrupted() ? { interrupted: true as const } : {}),
    };
    for (const { writer, output } of writers) {
      for (const piece of writer.end(flowsOf(judges), summary)) output.write(piece);
      output.close();
    }
    annotated?.close();
  } catch (error) {
    for (const { output } of writers) output.abandon();
    annotated?.abandon();
    throw error;
  } finally {
    progress.stop();
    source.close();
  }
  if (fault !== undefined) throw fault;
  return progress.isInterrupted() ? ExitCode.interrupted : ExitCode.ok;
}

async function createJudges(manifests: readonly string[], options: ReplayOptions): Promise<readonly Judge[]> {
  const hasDump = options.iptables !== undefined || options.ip6tables !== undefined;
  const ways = [options.engine !== undefined, hasDump, options.bpf !== undefined];
  if (ways.filter((isGiven) => isGiven).length !== 1)
    throw usageError("replay needs --engine with manifests, or --iptables with a node's dump, or --bpf");
  if (options.ipset !== undefined && !hasDump) throw usageError("--ipset goes with --iptables");
  if (options.engine === undefined) return [nodeJudge(manifests, options)];
  if (manifests.length === 0) throw usageError("replay with --engine needs manifests");
  if (options.hook !== undefined || options.inInterface !== undefined || options.outInterface !== undefined)
    throw usageError(
      "--hook, --in-interface and --out-interface go with --iptables; use --at node:interface",
    );
  const { inputs, clusters } = await loadClusters(manifests, options.engine ?? "", options, noter(options));
  const place: OriginPlacer = createOriginPlacer(inputs);
  return clusters.map(({ selection, state }) => {
    if (selection.kind === "oracle")
      throw usageError("replay needs engines with tables; the oracle has none");
    const { network } = emulate(state, selection, { seed: options.seed });
    const target = new NetworkTarget(
      network,
      () => state,
      options.at === undefined ? undefined : placeOf(options.at),
    );
    return {
      engine: selection.label,
      engineVersion: selection.version,
      replayer: new Replayer(target, place),
    };
  });
}

function placeOf(text: string): { readonly node: string; readonly interface: string | undefined } {
  const colon = text.indexOf(":");
  return colon < 0
    ? { node: text, interface: undefined }
    : { node: text.slice(0, colon), interface: text.slice(colon + 1) };
}

/** One node's tables, and nothing else. */
function nodeJudge(manifests: readonly string[], options: ReplayOptions): Judge {
  const { bpf } = options;
  const word = bpf === undefined ? "--iptables" : "--bpf";
  if (manifests.length > 0) throw usageError(`${word} takes no manifests: the tables say everything`);
  const at = options.at === undefined ? undefined : placeOf(options.at);
  const place = {
    node: at?.node ?? "node",
    inInterface: options.inInterface ?? at?.interface ?? "eth0",
    outInterface: options.outInterface ?? "eth0",
    hook: bpf === undefined ? options.hook : undefined,
  };
  const tables = bpf === undefined ? dumpOf(options) : { bpf: programOn(bpf, options.hook) };
  return {
    engine: bpf === undefined ? "iptables" : `bpf:${bpf}`,
    engineVersion: bpf === undefined ? "dump" : "program",
    replayer: new Replayer(new DumpTarget(tables, place, options.seed), createOriginPlacer([])),
  };
}

function dumpOf(options: ReplayOptions): ReturnType<typeof readDump> {
  const text = (file: string | undefined): { readonly name: string; readonly text: string } | undefined =>
    file === undefined ? undefined : readInputs([file], [])[0];
  return readDump({
    iptables: text(options.iptables),
    ip6tables: text(options.ip6tables),
    ipset: text(options.ipset),
  });
}

/** On every interface that packets cross. */
function programOn(word: string, hook: string | undefined): ReturnType<AttachableProgram["on"]> {
  const [, file = word, section] = existsSync(word) ? [] : (/^(.+):([^:]+)$/.exec(word) ?? []);
  const files = bpfFiles(file, readFile(file), section);
  return attachableProgram({ ...files, hook, isUnverified: false }).on("+");
}

function* flowsOf(judges: readonly Judge[]): Iterable<ReplayFlowDocument> {
  for (const { engine, replayer } of judges)
    for (const flow of replayer.flows()) yield judges.length > 1 ? { engine, ...flow } : flow;
}

function sumCounts(all: readonly Readonly<ReplayCounts>[]): ReplayCounts {
  const [first, ...rest] = all;
  if (first === undefined) throw usageError("no engine named");
  const sum = { ...first };
  for (const counts of rest)
    for (const key of Object.keys(sum) as (keyof ReplayCounts)[]) sum[key] += counts[key];
  return sum;
}

/** The capture once more, with what was found out about each packet. */
class AnnotatedCapture {
  readonly #output: OpenOutput;

  constructor(file: string) {
    this.#output = openOutput({ file });
    this.#output.write(pcapngHeader([]));
  }

  interface(description: CaptureInterface): void {
    this.#output.write(pcapngInterface(description));
  }

  packet(packet: CapturedPacket, documents: readonly ReplayPacketDocument[]): void {
    const { interfaceIndex, seconds, nanoseconds, originalLength, bytes, start, end } = packet;
    const comments = documents.map(({ engine, verdict, disposition, rule }) => {
      const by =
        rule === null
          ? ""
          : ` by ${rule.node} ${rule.hook} ${rule.table}/${rule.chain} rule ${rule.number}: ${rule.text}`;
      return `${engine === undefined ? "" : `${engine}: `}${verdict} (${disposition})${by}`;
    });
    this.#output.write(
      pcapngPacket({
        interfaceIndex,
        seconds,
        nanoseconds,
        originalLength,
        bytes: bytes.subarray(start, end),
        comments: [...readComments(packet), ...comments],
      }),
    );
  }

  close(): void {
    this.#output.close();
  }

  abandon(): void {
    this.#output.abandon();
  }
}
