/** Replays as text and JSON, piece by piece while they run: packets as they come, flows and counts at the end. */
import type {
  ReplayFlowDocument,
  ReplayPacketDocument,
  ReplayRuleDocument,
  ReplaySummaryDocument,
} from "../harness/index.ts";
import { thousands } from "./format.ts";
import { type ReportOptions, styleOf } from "./style.ts";
import { originText } from "./trace.ts";

export interface ReplayHead {
  readonly schema: "podwire/replay/v1";
  readonly version: string;
  readonly seed: number;
}

/** One form of the document. Pieces are written in the order of the calls: head, packets, end. */
export interface ReplayWriter {
  head(head: ReplayHead): string;
  packet(packet: ReplayPacketDocument): string;
  end(flows: Iterable<ReplayFlowDocument>, summary: ReplaySummaryDocument): Iterable<string>;
}

/** The forms that `replay` answers in. */
export const replayFormats = ["text", "json", "jsonl"] as const;

/** Writes a replay's documents as they come. */
export function createReplayWriter(
  format: (typeof replayFormats)[number],
  options: ReportOptions & { readonly packets: boolean },
): ReplayWriter {
  switch (format) {
    case "json":
      return jsonWriter();
    case "jsonl":
      return jsonlWriter();
    case "text":
      return textWriter(options);
  }
}

function jsonWriter(): ReplayWriter {
  let isFirst = true;
  return {
    head: (head) => `${JSON.stringify(head).slice(0, -1)},\n"packets": [`,
    packet(packet) {
      const separator = isFirst ? "\n" : ",\n";
      isFirst = false;
      return separator + JSON.stringify(packet);
    },
    *end(flows, summary) {
      yield '\n],\n"flows": [';
      let separator = "\n";
      for (const flow of flows) {
        yield separator + JSON.stringify(flow);
        separator = ",\n";
      }
      yield `\n],\n${JSON.stringify(summary).slice(1)}\n`;
    },
  };
}

/** A packet a line, then a flow a line, then the summary with what the whole document has. */
function jsonlWriter(): ReplayWriter {
  let opening: ReplayHead | undefined;
  return {
    head(head) {
      opening = head;
      return "";
    },
    packet: (packet) => `${JSON.stringify({ packet })}\n`,
    *end(flows, summary) {
      for (const flow of flows) yield `${JSON.stringify({ flow })}\n`;
      yield `${JSON.stringify({ ...opening, ...summary })}\n`;
    },
  };
}

function textWriter({ color, packets }: ReportOptions & { readonly packets: boolean }): ReplayWriter {
  const style = styleOf(color);
  const paint = (verdict: string): string =>
    verdict === "allow" || verdict === "accept" ? style.good(verdict) : style.bad(verdict);
  return {
    head: () => "",
    packet: ({ index, time, line, verdict, disposition, rule, engine, copyOf }) =>
      packets
        ? `${index}  ${time}  ${engine === undefined ? "" : `${engine}  `}${paint(verdict)} ${disposition}${copyOf === undefined ? "" : ` (copy of ${copyOf})`}  ${line}${rule === null ? "" : style.dim(`  by ${ruleText(rule)}`)}\n`
        : "",
    *end(flows, { counts, engines, interrupted }) {
      for (const flow of flows) {
        const { protocol, client, server, from, to, verdict, delivered, denied } = flow;
        const ends = `${from === undefined ? "" : `${from} `}${client} > ${to === undefined ? "" : `${to} `}${server}`;
        const who = flow.engine === undefined ? "" : `${flow.engine}  `;
        yield `${who}${paint(verdict)}  ${protocol} ${ends}  ${delivered} of ${flow.packets} packets passed\n`;
        if (denied === undefined) continue;
        const { packet, disposition, rule, because } = denied;
        yield `  packet ${packet} ${disposition}${rule === null ? "" : ` by ${ruleText(rule)}`}\n`;
        for (const origin of because) yield `    ${originText(origin)}\n`;
      }
      const others: readonly (readonly [number, string])[] = [
        [counts.copies, "copies of packets judged before"],
        [counts.notIp, "not IP"],
        [counts.unknownAddress, "between unknown addresses"],
        [counts.notUnicast, "to many receivers"],
      ];
      yield `${engines.map((one) => one.engine).join(", ")}: ${thousands(counts.packets)} packets in ${thousands(counts.flows)} flows; `;
      yield `${thousands(counts.delivered)} delivered, ${thousands(counts.denied)} denied, ${thousands(counts.failed)} failed`;
      for (const [count, what] of others) if (count > 0) yield `; ${thousands(count)} ${what}`;
      yield interrupted ? "; interrupted\n" : "\n";
    },
  };
}

function ruleText({ node, hook, table, chain, number, text }: ReplayRuleDocument): string {
  return `${node} ${hook} ${table}/${chain} rule ${number}: ${text}`;
}
