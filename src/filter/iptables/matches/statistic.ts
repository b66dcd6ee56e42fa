/**
 * `-m statistic`: by chance, or every nth packet. Random numbers come from the datapath's generator: a chance with two
 * outcomes, so that an explorer of outcomes can try both.
 * Source: kernel net/netfilter/xt_statistic.c.
 */
import { parseU32 } from "../../words.ts";
import type { Match, MatchOf } from "../match.ts";
import {
  Answer,
  bang,
  type MatchKinds,
  type MatchNode,
  type MatchReader,
  type OptionValues,
  type RowTest,
} from "./extension.ts";

/** The kernel keeps probabilities in units of 2^-31. */
const probabilityUnits = 0x8000_0000;

function readStatistic(options: OptionValues): readonly Match[] {
  const mode = options.word("--mode");
  if (mode?.text === "random") {
    const probability = options.read(
      "--probability",
      (text) => {
        const value = /^[0-9]*\.?[0-9]+$/.test(text) ? Number(text) : Number.NaN;
        return value >= 0 && value <= 1 ? Math.round(value * probabilityUnits) / probabilityUnits : undefined;
      },
      "a probability from 0 to 1",
    );
    if (probability === undefined) throw options.incomplete("--mode random needs --probability");
    return [{ kind: "statistic", mode: "random", probability, ...options.not("--probability") }];
  }
  if (mode?.text !== "nth") throw options.incomplete("-m statistic needs --mode random or --mode nth");
  const every = options.read("--every", (text) => parseU32(text) || undefined, "a number from 1");
  const packet = options.read("--packet", parseU32, "a number");
  if (every === undefined || packet === undefined)
    throw options.incomplete("--mode nth needs --every and --packet");
  if (packet >= every)
    throw options.words.fail("invalid", options.word("--packet"), "--packet must be below --every");
  return [{ kind: "statistic", mode: "nth", every, packet, ...options.not("--every") }];
}

export const statisticReaders: Readonly<Record<string, MatchReader>> = {
  statistic: {
    options: {
      "--mode": { values: 1 },
      "--probability": { values: 1, not: true },
      "--every": { values: 1, not: true },
      "--packet": { values: 1 },
    },
    read: readStatistic,
  },
};

export const statisticKinds: MatchKinds<"statistic"> = {
  statistic: {
    text: (match) =>
      match.mode === "random"
        ? `-m statistic --mode random ${bang(match)}--probability ${match.probability.toFixed(11)}`
        : `-m statistic --mode nth ${bang(match)}--every ${match.every} --packet ${match.packet}`,
    explain: (match) =>
      match.mode === "random"
        ? `the random draw for probability ${match.probability.toFixed(2)}${match.not ? " (negated)" : ""} passed it over`
        : `it is not the turn of this packet, one in ${match.every}${match.not ? " (negated)" : ""}`,
    bind: bindStatistic,
  },
};

function bindStatistic(match: MatchOf<"statistic">, node: MatchNode): RowTest {
  const wanted = match.not !== true;
  if (match.mode === "random") {
    const threshold = Math.round(match.probability * probabilityUnits);
    const { random } = node;
    return () => (random.chance(threshold, 0x8000_0000) === wanted ? Answer.yes : Answer.no);
  }
  // The counter runs from 0 to every - 1 and hits on 0; it starts so that packet number `packet` is the first hit.
  const { every } = match;
  const counter = node.memory(() => ({ value: every - 1 - match.packet }));
  return () => {
    counter.value = counter.value === every - 1 ? 0 : counter.value + 1;
    return (counter.value === 0) === wanted ? Answer.yes : Answer.no;
  };
}
