/** `podwire replay`: the packets of a capture judged by engines on manifests, or by a node's dumped tables. */
import { type Command, Option } from "commander";
import { assert, InputError, usageError } from "../../base/index.ts";
import {
  type CapturedPacket,
  type CaptureInterface,
  chooseCaptureReader,
  pcapngHeader,
  pcapngInterface,
  pcapngPacket,
  readComments,
  readOptions,
} from "../../capture/index.ts";
import {
  type PacketJudgement,
  type ReplayCounts,
  Replayer,
  type ReplayFlowDocument,
  type ReplayPacketDocument,
  type ReplaySummaryDocument,
} from "../../harness/index.ts";
import {
  createReplayWriter,
  type ReplayPlace,
  type ReplayWriter,
  replayFormats,
  replayRuleText,
} from "../../report/index.ts";
import { openCapture } from "../captures.ts";
import { noter, wantsColor } from "../emit.ts";
import { ExitCode } from "../failure.ts";
import { addClusterOptions, addCommonOptions } from "../options.ts";
import { type OpenOutput, type OutputTarget, openOutput, parseOutputs } from "../output.ts";
import { createProgress } from "../progress.ts";
import { createJudges, type Judge, type JudgeOptions } from "../replay-judges.ts";
import { Spool } from "../spool.ts";
import { version } from "../version.ts";

interface ReplayOptions extends JudgeOptions {
  readonly write?: string;
  readonly packets?: boolean;
}

export function addReplayCommand(program: Command, finish: (code: ExitCode) => void): void {
  const replay = program
    .command("replay")
    .summary("a capture's packets judged by an engine or by dumped tables")
    .description(
      "Judges every packet of a pcap or pcapng capture by engines on manifests, or by a node's iptables-save and ipset-save text or its dump of HNS: a verdict and the deciding rule for each, a summary for each flow.",
    )
    .argument("<capture>", "pcap or pcapng file, or - for standard input")
    .argument("[manifests...]", "files, directories, or - for standard input")
    .option("-e, --engine <engine,...>", "engines, or all; name[@version][+switch[=value]]...")
    .option("--iptables <file>", "instead of an engine: iptables-save text of a node")
    .option("--ip6tables <file>", "likewise, for IPv6")
    .option("--ipset <file>", "ipset-save text that belongs to it")
    .option(
      "--hns <file>",
      "instead of an engine: a Windows node's HNS as JSON (hns.json, or what Get-HnsEndpoint and Get-HnsNetwork print); repeatable",
      gathered,
    )
    .option("--bpf <object[:section]>", "instead of an engine: a BPF program on the interfaces")
    .option(
      "--at <node[:interface]>",
      "where the capture was taken: packets enter there; with --hns an endpoint's name, id or address stands for its interface",
    )
    .addOption(
      new Option(
        "--hook <hook>",
        "with --iptables: judge at this hook alone, such as FORWARD; with --hns: In or Out of the endpoint; with --bpf: where the program is, tc-ingress, tc-egress or xdp",
      ),
    )
    .option(
      "--in-interface <name>",
      "with --iptables, --hns or --bpf: where packets come in (default: as routes say, else eth0)",
    )
    .option("--out-interface <name>", "likewise: where they go on")
    .option("--local <address,...>", "likewise: addresses of the node itself; repeatable", gathered)
    .option("--addresses <file>", "likewise: the node's interfaces, as `ip -j addr` prints them")
    .option("--routes <file>", "likewise: its routes, as `ip -j route` prints them; repeatable", gathered)
    .option("--node-json <file>", "likewise: all of this, as `podwire compile` writes it")
    .option("--write <file.pcapng>", "the capture again, each packet with its verdict as a comment")
    .option("--packets", "list every packet in the text, not flows alone");
  addClusterOptions(addCommonOptions(replay)).action(
    async (capture: string, manifests: string[], options: ReplayOptions) => {
      finish(await runReplay(capture, manifests, options));
    },
  );
}

function gathered(value: string, previous: readonly string[] | undefined): readonly string[] {
  return [...(previous ?? []), value];
}

async function runReplay(
  name: string,
  manifests: readonly string[],
  options: ReplayOptions,
): Promise<ExitCode> {
  const targets = parseOutputs(options.output, replayFormats);
  if (name === "-" && manifests.includes("-"))
    throw usageError("the capture and the manifests cannot both come from standard input");
  const judges = await createJudges(manifests, options);
  const source = await openCapture(name);
  const progress = createProgress("bytes", options);
  progress.onInterrupt(() => source.close());
  const outputs = new ReplayOutputs();
  let fault: InputError | undefined;
  try {
    outputs.open(targets, options);
    const replay = new Replay(judges, outputs);
    try {
      const reader = chooseCaptureReader(source.head, source.sizeBytes, source.name, {
        interface: (_, description) => outputs.annotated?.interface(description),
        packet: (packet) => replay.packet(packet),
      });
      for await (const chunk of source.chunks()) {
        reader.push(chunk);
        if (source.isLive) outputs.flush();
        if (!(await progress.update(source.readBytes(), source.sizeBytes))) break;
      }
      if (!progress.isInterrupted()) reader.end();
    } catch (error) {
      if (!(error instanceof InputError)) throw error;
      fault = error; // what was read before it is reported all the same
    }
    progress.stop();
    if (fault !== undefined && replay.counts().packets === 0) throw fault; // nothing to report
    replay.finish({ isInterrupted: progress.isInterrupted(), fault });
    noteUnjudged(replay.counts(), noter(options));
  } catch (error) {
    outputs.abandon();
    throw error;
  } finally {
    progress.stop();
    source.close();
  }
  if (fault !== undefined) throw fault;
  return progress.isInterrupted() ? ExitCode.interrupted : ExitCode.ok;
}

function noteUnjudged({ noTables }: ReplayCounts, note: (message: string) => void): void {
  if (noTables === 0) return;
  note(
    `${noTables} packets are of a family that there are no tables of (--iptables for IPv4, --ip6tables for IPv6): not judged`,
  );
}

/** Documents and the annotated capture: all of them get their names, or none is left behind. */
class ReplayOutputs {
  readonly sinks: DocumentSink[] = [];
  annotated: AnnotatedCapture | undefined;

  open(targets: readonly OutputTarget[], options: ReplayOptions): void {
    for (const target of targets) this.sinks.push(new DocumentSink(target, options));
    if (options.write !== undefined) this.annotated = new AnnotatedCapture(options.write);
    for (const sink of this.sinks) sink.head({ schema: "podwire/replay/v1", version, seed: options.seed });
  }

  end(summary: ReplaySummaryDocument): void {
    for (const sink of this.sinks) sink.end(summary);
    this.annotated?.close();
  }

  flush(): void {
    for (const sink of this.sinks) sink.flush();
  }

  abandon(): void {
    for (const sink of this.sinks) sink.abandon();
    this.annotated?.abandon();
  }
}

/** One document on its way: what stands behind the packets waits in spools. */
class DocumentSink {
  readonly #writer: ReplayWriter;
  readonly #output: OpenOutput;
  readonly #waiting: Readonly<Record<Exclude<ReplayPlace, "now">, Spool>> = {
    first: new Spool(),
    last: new Spool(),
  };

  constructor(target: OutputTarget, options: ReplayOptions) {
    const color = target.file === undefined && wantsColor(options);
    const format = replayFormats.find((one) => one === target.format) ?? "text";
    this.#writer = createReplayWriter(format, { color, packets: options.packets === true });
    this.#output = openOutput(target);
  }

  get wantsPackets(): boolean {
    return this.#writer.wantsPackets;
  }

  head(head: Parameters<ReplayWriter["head"]>[0]): void {
    this.#output.write(this.#writer.head(head));
  }

  packet(packet: ReplayPacketDocument): void {
    this.#output.write(this.#writer.packet(packet));
  }

  flow(views: readonly ReplayFlowDocument[]): void {
    const { place, text } = this.#writer.flow(views);
    if (place === "now") this.#output.write(text);
    else this.#waiting[place].write(text);
  }

  flush(): void {
    this.#output.flush();
  }

  end(summary: ReplaySummaryDocument): void {
    const { first, last } = this.#waiting;
    for (const piece of this.#writer.end(first.pieces(), last.pieces(), summary)) this.#output.write(piece);
    this.#output.close();
    first.close();
    last.close();
  }

  abandon(): void {
    this.#output.abandon();
    this.#waiting.first.close();
    this.#waiting.last.close();
  }
}

/** How the reading of a capture came to its end. */
interface ReplayEnd {
  readonly isInterrupted: boolean;
  readonly fault: InputError | undefined;
}

/** Every packet to every judge, and what they find to every sink. */
class Replay {
  readonly #judges: readonly (Judge & { readonly replayer: Replayer })[];
  readonly #outputs: ReplayOutputs;
  readonly #isShown: boolean;
  /** Flows that not every engine is done with, by what engines have in common of them. */
  readonly #pending = new Map<string, ReplayFlowDocument[]>();

  constructor(judges: readonly Judge[], outputs: ReplayOutputs) {
    this.#outputs = outputs;
    this.#isShown = outputs.sinks.some(({ wantsPackets }) => wantsPackets);
    const isSeveral = judges.length > 1;
    this.#judges = judges.map((judge) => ({
      ...judge,
      replayer: new Replayer(judge.target, judge.place, {
        onFlow: (flow) => this.#flow(isSeveral ? { engine: judge.engine, ...flow } : flow),
      }),
    }));
  }

  packet(packet: CapturedPacket): void {
    const { sinks, annotated } = this.#outputs;
    const comments: string[] = [];
    for (const { engine, replayer } of this.#judges) {
      const judgement = replayer.judge(packet);
      const isOne = this.#judges.length === 1;
      if (this.#isShown) {
        const described = replayer.describe(judgement);
        const document = isOne ? described : { engine, ...described };
        for (const sink of sinks) if (sink.wantsPackets) sink.packet(document);
      }
      if (annotated !== undefined) comments.push(`${isOne ? "" : `${engine}: `}${commentOf(judgement)}`);
    }
    annotated?.packet(packet, comments);
  }

  #flow(flow: ReplayFlowDocument): void {
    const key = `${flow.protocol} ${flow.client} ${flow.server} ${flow.firstPacket}`;
    const views = this.#pending.get(key) ?? [];
    views.push(flow);
    if (views.length < this.#judges.length) {
      this.#pending.set(key, views);
      return;
    }
    this.#pending.delete(key);
    for (const sink of this.#outputs.sinks) sink.flow(views);
  }

  finish({ isInterrupted, fault }: ReplayEnd): void {
    for (const { replayer } of this.#judges) replayer.finish();
    for (const views of this.#pending.values()) for (const sink of this.#outputs.sinks) sink.flow(views);
    const isSeveral = this.#judges.length > 1;
    const [issue] = fault?.issues ?? [];
    this.#outputs.end({
      engines: this.#judges.map(({ engine, engineVersion, replayer: { counts } }) => ({
        engine,
        engineVersion,
        ...(isSeveral ? { counts } : {}),
      })),
      counts: this.counts(),
      ...(isInterrupted ? { interrupted: true as const } : {}),
      ...(issue === undefined ? {} : { fault: { offset: issue.offset ?? 0, message: issue.message } }),
    });
  }

  /** Of every engine together. */
  counts(): ReplayCounts {
    return sumCounts(this.#judges.map(({ replayer }) => replayer.counts));
  }
}

function commentOf({ verdict, disposition, rule }: PacketJudgement): string {
  const by = rule === null ? "" : ` by ${replayRuleText(rule)}`;
  return `${verdict} (${disposition})${by}`;
}

function sumCounts(all: readonly Readonly<ReplayCounts>[]): ReplayCounts {
  const [first, ...rest] = all;
  assert(first !== undefined, "there is a judge");
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

  packet(packet: CapturedPacket, comments: readonly string[]): void {
    const { interfaceIndex, seconds, nanoseconds, originalLength, bytes, start, end } = packet;
    this.#output.write(
      pcapngPacket({
        interfaceIndex,
        seconds,
        nanoseconds,
        originalLength,
        bytes: bytes.subarray(start, end),
        comments: [...readComments(packet), ...comments],
        options: readOptions(packet),
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
