/** Why a match did not hold, in words with the packet's own values. Describes; decides nothing. */
import { formatCidr } from "../../addr/index.ts";
import { CtState, DecodeStatus, type PacketBatch, view } from "../../packet/index.ts";
import { protocolName } from "../../wire/index.ts";
import type { NodeInterface } from "../datapath.ts";
import { CtStateBit, type Match } from "./ruleset.ts";

const ctNames: Readonly<Record<number, string>> = {
  [CtState.none]: "not tracked yet",
  [CtState.new]: "NEW",
  [CtState.established]: "ESTABLISHED",
  [CtState.related]: "RELATED",
  [CtState.invalid]: "INVALID",
  [CtState.untracked]: "UNTRACKED",
};

/** One clause, such as `source 10.224.0.12 is not in set podlabel-app:client`. */
export function explainMatch(
  match: Match,
  batch: PacketBatch,
  row: number,
  interfaces: readonly NodeInterface[],
  setTitle: (name: string) => string | undefined,
): string {
  const packet = view(batch, row);
  const is = "not" in match && match.not ? "is" : "is not";
  const interfaceName = (index: number): string =>
    interfaces.find((candidate) => candidate.index === index)?.name ?? "no interface";
  switch (match.kind) {
    case "protocol":
      return `protocol ${packet.protocol} ${is} ${protocolName(match.protocol)}`;
    case "source":
      return `source ${packet.src} ${is} in ${formatCidr(match.net)}`;
    case "destination":
      return `destination ${packet.dst} ${is} in ${formatCidr(match.net)}`;
    case "in-interface":
      return `incoming interface ${interfaceName(batch.state.iif[row]!)} ${is} ${match.name}`;
    case "out-interface":
      return `outgoing interface ${interfaceName(batch.state.oif[row]!)} ${is} ${match.name}`;
    case "sport":
      return portClause("source port", packet.sport, match, batch, row);
    case "dport":
      return portClause("destination port", packet.dport, match, batch, row);
    case "multiport": {
      const ranges = match.ranges.map(([min, max]) => (min === max ? `${min}` : `${min}:${max}`)).join(",");
      return `ports ${packet.sport} > ${packet.dport}: ${match.field} ${is} ${ranges}`;
    }
    case "transport":
      return `protocol ${packet.protocol} is not ${match.protocol}, or its header is cut`;
    case "tcp-flags":
      return `TCP flags [${packet.flags}] do not fit`;
    case "icmp-type":
      return `ICMP type ${packet.dport >>> 8} ${is} ${match.type}`;
    case "set": {
      const name = setTitle(match.set);
      const where = match.flags.map((flag, i) => dimensionText(flag, i, packet)).join(", ");
      return `${where} ${is} in set ${name === undefined ? match.set : `${name} (${match.set})`}`;
    }
    case "mark":
      return `mark 0x${packet.mark.toString(16)} ${is} 0x${match.value.toString(16)}/0x${match.mask.toString(16)}`;
    case "ctstate": {
      const wanted = Object.entries(CtStateBit).flatMap(([name, bit]) => (match.states & bit ? [name] : []));
      return `connection state ${ctNames[batch.state.ctState[row]!] ?? "?"} ${is} ${wanted.join(",")}`;
    }
    case "addrtype":
      return `address type of ${match.dst ? packet.dst : packet.src} does not fit ${match.dst?.type ?? match.src?.type}`;
    case "statistic":
      return "the random draw passed it over";
    case "owner":
      return "a forwarded packet has no owner";
    case "comment":
      return "";
  }
}

function dimensionText(flag: "src" | "dst", index: number, packet: ReturnType<typeof view>): string {
  const isSrc = flag === "src";
  if (index === 0) return isSrc ? `source ${packet.src}` : `destination ${packet.dst}`;
  return `${packet.protocol} port ${isSrc ? packet.sport : packet.dport}`;
}

function portClause(
  name: string,
  port: number,
  match: { readonly min: number; readonly max: number; readonly not?: boolean },
  batch: PacketBatch,
  row: number,
): string {
  if (batch.status[row] !== DecodeStatus.ok) return "the packet has no readable ports";
  const wanted = match.min === match.max ? `${match.min}` : `${match.min}:${match.max}`;
  return `${name} ${port} ${match.not ? "is" : "is not"} ${wanted}`;
}
