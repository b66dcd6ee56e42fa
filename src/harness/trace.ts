/** The packet's way: every hook of every node, each rule that matched, the nearest miss, and the line behind them. */
import { createPrng } from "../base/index.ts";
import { createOracle, defaultReadings } from "../oracle/index.ts";
import { type Judgement, judgeConnection, type PacketFate } from "../sim/index.ts";
import { printPacket } from "../wire/index.ts";
import { type ConnectionWords, connectionAttempt, connectionBetween } from "./attempt.ts";
import type { EmulatedCluster } from "./compose.ts";
import type {
  TraceDocument,
  TraceEntryDocument,
  TraceOriginDocument,
  TracePacketDocument,
} from "./documents.ts";
import type { SourceEnd, TableEnd } from "./ends.ts";
import type { OriginPlacer } from "./places.ts";
import { type RecordedHook, TraceRecorder } from "./recorder.ts";

/** Source port of traced connections; any one does. */
const sourcePort = 40_000;

/** Judges one connection with the evaluator observed, and puts origins to their lines. */
export function traceConnection(
  cluster: EmulatedCluster,
  from: SourceEnd,
  to: TableEnd,
  connection: ConnectionWords,
  place: OriginPlacer,
  stamp: Pick<TraceDocument, "version" | "seed">,
): TraceDocument {
  const cell = connectionBetween(from, to, connection);
  const attempt = connectionAttempt(cluster.network, cell, sourcePort, createPrng(stamp.seed ?? 0));
  const packets: TracePacketDocument[] = [];
  let judgement: Judgement | undefined;
  if (attempt !== undefined) {
    const recorders: {
      readonly direction: "request" | "reply";
      readonly bytes: Uint8Array;
      readonly recorder: TraceRecorder;
    }[] = [];
    judgement = judgeConnection(cluster.network, attempt, (direction, bytes) => {
      const recorder = new TraceRecorder();
      recorders.push({ direction, bytes, recorder });
      return recorder;
    });
    for (const { direction, bytes, recorder } of recorders) {
      const fate = direction === "request" ? judgement.request : judgement.reply;
      if (fate !== undefined) packets.push(packetDocument(direction, bytes, fate, recorder.hooks, place));
    }
  }
  const deciding = packets.flatMap((packet) => packet.entries).find((entry) => entry.decided);
  const because =
    deciding === undefined || judgement?.isAllowed ? [] : reasonsOf(packets, deciding, by(judgement));
  const direction = by(judgement);
  const oracle = createOracle(cluster.state, defaultReadings);
  return {
    schema: "podwire/trace/v1",
    ...stamp,
    engine: cluster.selection.label,
    engineVersion: cluster.selection.version,
    from: from.id,
    to: to.id,
    protocol: connection.protocol,
    port: connection.port,
    verdict: judgement?.isAllowed ? "allow" : "deny",
    ...(direction === undefined ? {} : { by: direction }),
    packets,
    oracle: { verdict: oracle.judge(cell).verdict, explanation: oracleLines(oracle.explain(cell), place) },
    ...(deciding === undefined || judgement?.isAllowed ? {} : { decidedBy: deciding }),
    ...(because.length === 0 ? {} : { deniedBecause: because }),
  };
}

function by(judgement: Judgement | undefined): "egress" | "ingress" | undefined {
  const stopped = judgement?.request.disposition === "delivered" ? judgement.reply : judgement?.request;
  if (stopped?.disposition === "denied-egress") return "egress";
  return stopped?.disposition === "denied-ingress" ? "ingress" : undefined;
}

/** The policies behind a drop: what denied on the way to it in the same hook, by default or by a rule. */
function reasonsOf(
  packets: readonly TracePacketDocument[],
  deciding: TraceEntryDocument,
  direction: "egress" | "ingress" | undefined,
): readonly TraceOriginDocument[] {
  const same = packets
    .flatMap((packet) => packet.entries)
    .filter((entry) => entry.node === deciding.node && entry.hook === deciding.hook);
  const named = same
    .flatMap(({ origin, furtherOrigins = [] }) => (origin === undefined ? [] : [origin, ...furtherOrigins]))
    .filter(({ role }) => role === "default-deny" || role === "deny")
    .filter((origin) => direction === undefined || origin.direction === direction)
    .filter(({ file }) => file !== undefined);
  if (named.length > 0) return named;
  return deciding.origin === undefined ? [] : [deciding.origin];
}

function packetDocument(
  direction: "request" | "reply",
  bytes: Uint8Array,
  fate: PacketFate,
  hooks: readonly RecordedHook[],
  place: OriginPlacer,
): TracePacketDocument {
  return {
    line: printPacket(bytes),
    direction,
    disposition: fate.disposition,
    ...(fate.node === undefined ? {} : { at: fate.node }),
    hooks: hooks.map(({ node, hook, verdict }) => ({ node, hook, verdict })),
    entries: hooks.flatMap((hook) => hookEntries(hook, place)),
  };
}

function hookEntries(hook: RecordedHook, place: OriginPlacer): readonly TraceEntryDocument[] {
  return hook.rules.map(({ depth, matched, why, description }, i): TraceEntryDocument => {
    const { table, chain, number, text, origin, furtherOrigins } = description;
    return {
      node: hook.node,
      hook: hook.hook,
      table,
      chain,
      depth,
      rule: number,
      text,
      matched,
      ...(why === undefined ? {} : { why }),
      ...(origin === undefined ? {} : { origin: place(origin) }),
      ...(furtherOrigins === undefined ? {} : { furtherOrigins: furtherOrigins.map(place) }),
      ...(i === hook.decidedBy && isEnd(hook) ? { decided: true as const } : {}),
    };
  });
}

/** Whether the packet goes no further: it may go on otherwise than by the hooks behind. */
function isEnd({ verdict }: RecordedHook): boolean {
  return verdict !== "accept" && verdict !== "redirect";
}

function oracleLines(
  explanation: readonly { readonly text: string; readonly origin?: Parameters<OriginPlacer>[0] }[],
  place: OriginPlacer,
): readonly string[] {
  return explanation.map(({ text, origin }) => {
    if (origin === undefined) return text;
    const { file, line } = place(origin);
    return file === undefined ? text : `${text} (${file}${line === undefined ? "" : `:${line}`})`;
  });
}
