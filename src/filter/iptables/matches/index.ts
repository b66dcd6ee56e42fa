/** All match extensions: readers by the name after `-m`, behaviour by kind. */
import type { Match } from "../match.ts";
import { addressKinds, addressReaders } from "./address.ts";
import { connectionKinds, connectionReaders } from "./connection.ts";
import type { MatchKind, MatchKinds, MatchReader } from "./extension.ts";
import { headKinds } from "./head.ts";
import { icmpKinds, icmpReaders } from "./icmp.ts";
import { nodeKinds, nodeReaders } from "./node.ts";
import { headerKinds, headerReaders } from "./packet-header.ts";
import { portKinds, portReaders } from "./ports.ts";
import { rateKinds, rateReaders } from "./rate.ts";
import { recentKinds, recentReaders } from "./recent.ts";
import { sctpKinds } from "./sctp-chunks.ts";
import { setKinds, setReaders } from "./set.ts";
import { socketKinds, socketReaders } from "./socket.ts";
import { statisticKinds, statisticReaders } from "./statistic.ts";
import { timeKinds, timeReaders } from "./time.ts";

const kinds: MatchKinds<Match["kind"]> = {
  ...headKinds,
  ...portKinds,
  ...sctpKinds,
  ...icmpKinds,
  ...addressKinds,
  ...headerKinds,
  ...connectionKinds,
  ...setKinds,
  ...rateKinds,
  ...recentKinds,
  ...socketKinds,
  ...statisticKinds,
  ...timeKinds,
  ...nodeKinds,
};

/** What the match's kind does. */
export function kindOf(match: Match): MatchKind<Match> {
  return kinds[match.kind] as MatchKind<Match>; // the table pairs each kind with its own behaviour
}

const readers: Readonly<Record<string, MatchReader>> = {
  ...portReaders,
  ...icmpReaders,
  ...addressReaders,
  ...headerReaders,
  ...connectionReaders,
  ...setReaders,
  ...rateReaders,
  ...recentReaders,
  ...socketReaders,
  ...statisticReaders,
  ...timeReaders,
  ...nodeReaders,
};

/** By the name after `-m`. */
export function matchReader(name: string): MatchReader | undefined {
  const own = name === "icmpv6" ? "icmp6" : name;
  return Object.hasOwn(readers, own) ? readers[own] : undefined;
}

/** Extension that a rule of this protocol loads unasked for an option of it. */
export function impliedReader(
  protocol: number,
  option: string,
): { readonly name: string; readonly reader: MatchReader } | undefined {
  for (const [name, reader] of Object.entries(readers))
    if (
      reader.isImplied &&
      reader.protocols?.includes(protocol) === true &&
      Object.hasOwn(reader.options, option)
    )
      return { name, reader };
  return undefined;
}

/** Names of the extensions that have an option, for messages. */
export function readersWith(option: string): readonly string[] {
  return Object.entries(readers).flatMap(([name, reader]) =>
    Object.hasOwn(reader.options, option) ? [name] : [],
  );
}

export {
  Answer,
  type MatchNode,
  type OptionShape,
  OptionValues,
  type PacketContext,
  type RowTest,
  type RuleContext,
} from "./extension.ts";
export { isPlainSet } from "./set.ts";
