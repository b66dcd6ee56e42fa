/** Why a match did not hold, in words with the packet's own values. Describes; decides nothing. */
import { DecodeStatus, type PacketBatch, view } from "../../packet/index.ts";
import type { NodeInterface } from "../datapath.ts";
import type { Match } from "./match.ts";
import { kindOf } from "./matches/index.ts";

const needsHeader: ReadonlySet<Match["kind"]> = new Set<Match["kind"]>([
  "sport",
  "dport",
  "multiport",
  "transport",
  "tcp-flags",
  "tcp-option",
  "tcp-mss",
  "sctp-chunks",
  "icmp-type",
]);

/** One clause, such as `source 10.224.0.12 is not in set podlabel-app:client`. */
export function explainMatch(
  match: Match,
  batch: PacketBatch,
  row: number,
  interfaces: readonly NodeInterface[],
  setTitle: (name: string) => string | undefined,
): string {
  if (needsHeader.has(match.kind) && batch.status[row] !== DecodeStatus.ok)
    return batch.status[row] === DecodeStatus.laterFragment
      ? "a later fragment carries no transport header"
      : "the transport header is cut short";
  return kindOf(match).explain(match, {
    batch,
    row,
    packet: view(batch, row),
    interfaceName: (index) =>
      interfaces.find((candidate) => candidate.index === index)?.name ?? "no interface",
    setTitle,
  });
}
