/**
 * `-m sctp --chunk-types any|all|only TYPE[:FLAGS],...`: which chunks an SCTP packet must carry. A flag letter in capitals
 * must be set, in small letters must be clear. Source: kernel net/netfilter/xt_sctp.c (match_packet), RFC 9260.
 */
import { packetEnd } from "../../../packet/index.ts";
import { readU16 } from "../../../wire/index.ts";
import { transportStart, transportWith } from "../headers.ts";
import type { Match, MatchOf, SctpChunkTest } from "../match.ts";
import {
  Answer,
  bang,
  type MatchKinds,
  type MatchNode,
  type OptionValues,
  type RowTest,
} from "./extension.ts";

/** Letters of the flags that libxt_sctp knows, bit 7 first; `-` where a bit has no name. */
const chunkNames: readonly (readonly [type: number, name: string, flags?: string])[] = [
  [0, "DATA", "----IUBE"],
  [1, "INIT"],
  [2, "INIT_ACK"],
  [3, "SACK"],
  [4, "HEARTBEAT"],
  [5, "HEARTBEAT_ACK"],
  [6, "ABORT", "-------T"],
  [7, "SHUTDOWN"],
  [8, "SHUTDOWN_ACK"],
  [9, "ERROR"],
  [10, "COOKIE_ECHO"],
  [11, "COOKIE_ACK"],
  [12, "ECN_ECNE"],
  [13, "ECN_CWR"],
  [14, "SHUTDOWN_COMPLETE", "-------T"],
  [64, "I_DATA", "----IUBE"],
  [130, "RE_CONFIG"],
  [132, "PAD"],
  [193, "ASCONF"],
  [128, "ASCONF_ACK"],
  [192, "FORWARD_TSN"],
  [194, "I_FORWARD_TSN"],
];
const chunkTypes = 256;
const modes = ["any", "all", "only"] as const;
const commonHeaderSize = 12;

export function readSctpChunks(options: OptionValues): readonly Match[] {
  const use = options.get("--chunk-types");
  if (use === undefined) return [];
  const { words } = options;
  const [modeWord, listWord] = use.values;
  const mode = modes.find((candidate) => candidate === modeWord?.text.toLowerCase());
  if (mode === undefined)
    throw words.fail(
      "invalid",
      modeWord,
      `--chunk-types begins with one of ${modes.join(", ")}, not ${modeWord?.text}`,
    );
  const chunks = parseChunks(listWord?.text ?? "");
  if (chunks === undefined)
    throw words.fail("invalid", listWord, `not a list of SCTP chunk types: ${listWord?.text}`);
  return [{ kind: "sctp-chunks", mode, chunks, ...options.not("--chunk-types") }];
}

function parseChunks(text: string): readonly SctpChunkTest[] | undefined {
  const chunks = new Map<number, SctpChunkTest>();
  for (const part of text.split(",")) {
    const [name = "", letters] = part.split(":");
    if (name.toUpperCase() === "ALL" || name.toUpperCase() === "NONE") {
      if (letters !== undefined) return undefined;
      chunks.clear();
      if (name.toUpperCase() === "ALL")
        for (let type = 0; type < chunkTypes; type++) chunks.set(type, { type, mask: 0, flags: 0 });
      continue;
    }
    const known = chunkNames.find((candidate) => candidate[1] === name.toUpperCase());
    if (known === undefined) return undefined;
    const bits = parseFlagLetters(known[2] ?? "", letters ?? "");
    if (bits === undefined) return undefined;
    chunks.set(known[0], { type: known[0], ...bits });
  }
  return [...chunks.values()].sort((a, b) => a.type - b.type);
}

function parseFlagLetters(known: string, letters: string): { mask: number; flags: number } | undefined {
  let [mask, flags] = [0, 0];
  for (const letter of letters) {
    const at = known.indexOf(letter.toUpperCase());
    if (at < 0 || letter === "-") return undefined;
    const bit = 1 << (7 - at);
    mask |= bit;
    if (letter === letter.toUpperCase()) flags |= bit;
  }
  return { mask, flags };
}

function chunkText({ type, mask, flags }: SctpChunkTest): string {
  const known = chunkNames.find((candidate) => candidate[0] === type);
  const letters = [...(known?.[2] ?? "")].flatMap((letter, i) => {
    const bit = 1 << (7 - i);
    if (!(mask & bit)) return [];
    return flags & bit ? letter : letter.toLowerCase();
  });
  return `${known?.[1] ?? type}${letters.length === 0 ? "" : `:${letters.join("")}`}`;
}

function listText(chunks: readonly SctpChunkTest[]): string {
  if (chunks.length === chunkTypes) return "ALL";
  return chunks.length === 0 ? "NONE" : chunks.map(chunkText).join(",");
}

export const sctpKinds: MatchKinds<"sctp-chunks"> = {
  "sctp-chunks": {
    text: (match) => `${bang(match)}--chunk-types ${match.mode} ${listText(match.chunks)}`,
    explain: (match) =>
      `the chunks of the packet ${match.not ? "do" : "do not"} hold ${match.mode} of ${listText(match.chunks)}`,
    bind: bindSctpChunks,
  },
};

function bindSctpChunks({ mode, chunks, not }: MatchOf<"sctp-chunks">, { backend }: MatchNode): RowTest {
  const byType = new Map(chunks.map((chunk) => [chunk.type, chunk]));
  const hit = not ? Answer.no : Answer.yes;
  const miss = not ? Answer.yes : Answer.no;
  // xt_sctp negates the answer about a packet that it cannot read; only iptables-legacy looks at the rest of the rule then
  const unreadable = not && backend === "legacy" ? Answer.yesAndDrop : Answer.drop;
  const seen = new Uint8Array(chunkTypes);
  return (batch, row) => {
    let at = transportWith(batch, row, commonHeaderSize);
    if (at < 0) return transportStart(batch, row) < 0 ? Answer.no : Answer.drop;
    const { bytes } = batch;
    const end = packetEnd(batch, row);
    let left = byType.size;
    if (mode === "all") seen.fill(0);
    at += commonHeaderSize;
    do {
      const length = at + 4 <= end ? readU16(bytes, at + 2) : 0;
      if (length === 0) return unreadable;
      const type = bytes[at]!;
      const test = byType.get(type);
      const agrees = test !== undefined && (bytes[at + 1]! & test.mask) === test.flags;
      if (mode === "any" && agrees) return hit;
      if (mode === "only" && !agrees) return miss;
      if (mode === "all" && agrees && seen[type] === 0) {
        seen[type] = 1;
        left--;
      }
      at += (length + 3) & ~3;
    } while (at < end);
    if (mode === "all") return left === 0 ? hit : miss;
    return mode === "only" ? hit : miss;
  };
}
