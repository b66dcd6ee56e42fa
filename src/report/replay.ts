/**
 * Replays in every form, piece by piece while they run: packets as they come; flows when they are over, which is in the
 * midst of the packets, so that what belongs behind them says so; counts at the end.
 */
import type {
  ReplayCounts,
  ReplayFlowDocument,
  ReplayPacketDocument,
  ReplayRuleDocument,
  ReplaySummaryDocument,
} from "../harness/index.ts";
import { csvLine, type JunitCase, junit, markdownRow, thousands } from "./format.ts";
import { type ReportOptions, styleOf } from "./style.ts";
import { originText } from "./trace.ts";

export interface ReplayHead {
  readonly schema: "podwire/replay/v1";
  readonly version: string;
  readonly seed: number;
}

/** Where a text stands: at once, or behind all packets, those of `first` before those of `last`. */
export type ReplayPlace = "now" | "first" | "last";

export interface PlacedText {
  readonly place: ReplayPlace;
  readonly text: string;
}

/** One form of the document. Calls: head, packets and flows as they come, end. */
export interface ReplayWriter {
  /** False: packets are not shown, and nobody needs to describe them. */
  readonly wantsPackets: boolean;
  head(head: ReplayHead): string;
  packet(packet: ReplayPacketDocument): string;
  /** One flow as every engine saw it. */
  flow(views: readonly ReplayFlowDocument[]): PlacedText;
  /** `first` and `last` are the texts that were to stand here. */
  end(first: Iterable<string>, last: Iterable<string>, summary: ReplaySummaryDocument): Iterable<string>;
}

/** The forms that `replay` answers in. */
export const replayFormats = ["text", "json", "jsonl", "junit", "md", "csv"] as const;

export interface ReplayReportOptions extends ReportOptions {
  /** Text and CSV list packets, too. */
  readonly packets: boolean;
}

/** Writes a replay's documents as they come. */
export function createReplayWriter(
  format: (typeof replayFormats)[number],
  options: ReplayReportOptions,
): ReplayWriter {
  switch (format) {
    case "json":
      return jsonWriter();
    case "jsonl":
      return jsonlWriter();
    case "text":
      return textWriter(options);
    case "csv":
      return options.packets ? packetCsvWriter() : flowCsvWriter();
    case "md":
      return markdownWriter();
    case "junit":
      return junitWriter();
  }
}

/** Do the engines disagree about the flow? */
export function isDisputed([first, ...others]: readonly ReplayFlowDocument[]): boolean {
  return others.some((one) => one.verdict !== first?.verdict || one.delivered !== first.delivered);
}

function jsonWriter(): ReplayWriter {
  let isFirst = true;
  let separator = "\n";
  return {
    wantsPackets: true,
    head: (head) => `${JSON.stringify(head).slice(0, -1)},\n"packets": [`,
    packet(packet) {
      const before = isFirst ? "\n" : ",\n";
      isFirst = false;
      return before + JSON.stringify(packet);
    },
    flow(views) {
      let text = "";
      for (const flow of views) {
        text += separator + JSON.stringify(flow);
        separator = ",\n";
      }
      return { place: "last", text };
    },
    *end(_, flows, summary) {
      yield '\n],\n"flows": [';
      yield* flows;
      yield `\n],\n${JSON.stringify(summary).slice(1)}\n`;
    },
  };
}

/** A packet a line, a flow a line as soon as it is over, then the summary with what the whole document has. */
function jsonlWriter(): ReplayWriter {
  let opening: ReplayHead | undefined;
  return {
    wantsPackets: true,
    head(head) {
      opening = head;
      return "";
    },
    packet: (packet) => `${JSON.stringify({ packet })}\n`,
    flow: (views) => ({
      place: "now",
      text: views.map((flow) => `${JSON.stringify({ flow })}\n`).join(""),
    }),
    *end(_, __, summary) {
      yield `${JSON.stringify({ ...opening, ...summary })}\n`;
    },
  };
}

/** First the flows that engines disagree about, each with every engine's reasons; then the others; then the counts. */
function textWriter({ color, packets }: ReplayReportOptions): ReplayWriter {
  const style = styleOf(color);
  const paint = (verdict: string): string =>
    verdict === "allow" || verdict === "accept" ? style.good(verdict) : style.bad(verdict);
  const reasons = function* ({ denied }: ReplayFlowDocument): Iterable<string> {
    if (denied === undefined) return;
    const { packet, disposition, rule, because } = denied;
    yield `  packet ${packet} ${disposition}${rule === null ? "" : ` by ${replayRuleText(rule)}`}\n`;
    for (const origin of because) yield `    ${originText(origin)}\n`;
  };
  const passed = ({ delivered, packets: all }: ReplayFlowDocument): string =>
    `${delivered} of ${all} packets passed`;
  let disputed = 0;
  return {
    wantsPackets: packets,
    head: () => "",
    packet: ({ index, time, line, verdict, disposition, rule, engine, copyOf }) =>
      `${index}  ${time}  ${engine === undefined ? "" : `${engine}  `}${paint(verdict)} ${disposition}${copyOf === undefined ? "" : ` (copy of ${copyOf})`}  ${line}${rule === null ? "" : style.dim(`  by ${replayRuleText(rule)}`)}\n`,
    flow(views) {
      const [flow] = views;
      if (flow === undefined) return { place: "last", text: "" };
      if (!isDisputed(views)) {
        const lines = [
          `${paint(flow.verdict)}  ${endsText(flow)}  ${passed(flow)}\n`,
          ...(views.length === 1
            ? reasons(flow)
            : views.flatMap((one) =>
                [...reasons(one)].map((line) => line.replace(/^ {2}(?! )/, `  ${one.engine}: `)),
              )),
        ];
        return { place: "last", text: lines.join("") };
      }
      disputed++;
      const lines = [`${style.bad("differs")}  ${endsText(flow)}\n`];
      for (const one of views)
        lines.push(
          `  ${one.engine}: ${paint(one.verdict)}, ${passed(one)}\n`,
          ...[...reasons(one)].map((line) => `  ${line}`),
        );
      return { place: "first", text: lines.join("") };
    },
    *end(first, last, summary) {
      yield* first;
      yield* last;
      if (summary.engines.length > 1) yield `${thousands(disputed)} flows differ between the engines\n`;
      yield summaryText(summary);
    },
  };
}

/** A line for each engine. */
function summaryText({ counts, engines, interrupted, fault }: ReplaySummaryDocument): string {
  const end =
    fault === undefined
      ? interrupted
        ? "; interrupted"
        : ""
      : `; the capture is damaged at byte ${fault.offset}`;
  return engines.map((one) => `${one.engine}: ${countsText(one.counts ?? counts)}${end}\n`).join("");
}

function countsText(counts: ReplayCounts): string {
  const others: readonly (readonly [number, string])[] = [
    [counts.copies, "copies of packets judged before"],
    [counts.held, "fragments that were held"],
    [counts.notIp, "not IP"],
    [counts.unknownAddress, "between unknown addresses"],
    [counts.notUnicast, "to many receivers"],
    [counts.noTables, "of a family without tables"],
  ];
  return [
    `${thousands(counts.packets)} packets in ${thousands(counts.flows)} flows; `,
    `${thousands(counts.delivered)} delivered, ${thousands(counts.denied)} denied, ${thousands(counts.failed)} failed`,
    ...others.flatMap(([count, what]) => (count > 0 ? [`; ${thousands(count)} ${what}`] : [])),
  ].join("");
}

function packetCsvWriter(): ReplayWriter {
  return {
    wantsPackets: true,
    head: () =>
      csvLine(["index", "time", "engine", "line", "verdict", "disposition", "rule", "flow", "copyOf"]),
    packet: ({ index, time, engine, line, verdict, disposition, rule, flow, copyOf }) =>
      csvLine([
        index,
        time,
        engine,
        line,
        verdict,
        disposition,
        rule === null ? undefined : replayRuleText(rule),
        flow,
        copyOf,
      ]),
    flow: () => ({ place: "now", text: "" }),
    end: () => [],
  };
}

const flowColumns = [
  "engine",
  "protocol",
  "client",
  "server",
  "from",
  "to",
  "verdict",
  "packets",
  "delivered",
];

function flowCells(flow: ReplayFlowDocument): readonly (string | number | undefined)[] {
  const { engine, protocol, client, server, from, to, verdict, packets, delivered, denied } = flow;
  const rule = denied?.rule;
  return [
    engine,
    protocol,
    client,
    server,
    from,
    to,
    verdict,
    packets,
    delivered,
    denied?.disposition,
    rule ? replayRuleText(rule) : undefined,
  ];
}

function flowCsvWriter(): ReplayWriter {
  return {
    wantsPackets: false,
    head: () => csvLine([...flowColumns, "denied", "rule"]),
    packet: () => "",
    flow: (views) => ({ place: "now", text: views.map((flow) => csvLine(flowCells(flow))).join("") }),
    end: () => [],
  };
}

function markdownWriter(): ReplayWriter {
  const columns = [...flowColumns, "denied", "rule"];
  return {
    wantsPackets: false,
    head: () => markdownRow(columns) + markdownRow(columns.map(() => "---")),
    packet: () => "",
    flow: (views) => ({
      place: isDisputed(views) ? "first" : "last",
      text: views.map((flow) => markdownRow(flowCells(flow).map((cell) => String(cell ?? "")))).join(""),
    }),
    *end(first, last, summary) {
      yield* first;
      yield* last;
      yield `\n${summaryText(summary)}`;
    },
  };
}

/** A case a flow: it fails where engines disagree, or, with one engine, where packets did not pass. */
function junitWriter(): ReplayWriter {
  const cases: JunitCase[] = [];
  return {
    wantsPackets: false,
    head: () => "",
    packet: () => "",
    flow(views) {
      const [flow] = views;
      if (flow === undefined) return { place: "now", text: "" };
      const isFailed = views.length === 1 ? flow.verdict !== "allow" : isDisputed(views);
      const problems = isFailed ? views.map(problemText) : [];
      cases.push({ name: endsText(flow), problems });
      return { place: "now", text: "" };
    },
    *end(_, __, { engines }) {
      yield* junit([{ name: engines.map(({ engine }) => engine).join(" and "), cases }]);
    },
  };
}

function problemText({ engine, verdict, delivered, packets, denied }: ReplayFlowDocument): string {
  const by = denied?.rule ? ` by ${replayRuleText(denied.rule)}` : "";
  const who = engine === undefined ? "" : `${engine}: `;
  return `${who}${verdict}, ${delivered} of ${packets} packets passed${denied === undefined ? "" : `, ${denied.disposition}`}${by}`;
}

function endsText({ protocol, client, server, from, to }: ReplayFlowDocument): string {
  return `${protocol} ${from === undefined ? "" : `${from} `}${client} > ${to === undefined ? "" : `${to} `}${server}`;
}

/** A deciding rule in one line, with the map's answer behind it. */
export function replayRuleText(rule: ReplayRuleDocument): string {
  const { node, hook, table, chain, number, text, lookup, report } = rule;
  const asked = lookup === undefined ? "" : `; ${lookup.node} ${lookup.map} ${lookup.text}`;
  const told = report === undefined ? "" : `; ${report}`;
  // a program's text says all of its place
  const place = text.startsWith(`${table}: ${chain} `) ? "" : ` ${table}/${chain} rule ${number}`;
  return `${node} ${hook}${place}: ${text}${asked}${told}`;
}
