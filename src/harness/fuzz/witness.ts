/**
 * A disagreement as a scenario that anybody can run: the cluster's objects, the connection, and what the side
 * that is taken for right answers. Whether a listener answers is nobody's policy: without any engine the same connection
 * tells it.
 */
import { formatIp } from "../../addr/index.ts";
import { InputError } from "../../base/index.ts";
import { type TableCell, tableCells } from "../cell-table.ts";
import type { CellVerdict } from "../documents.ts";
import { isSource } from "../ends.ts";
import { probeConnection } from "../probe.ts";
import { parseSelection, type Selection } from "../selection.ts";
import { clusterOf, type RawObject } from "./arbitraries.ts";

/** A scenario file as data. */
export interface WitnessScenario {
  /** The two lines that a scenario begins with. */
  readonly comments: readonly [string, string];
  readonly document: object;
}

/** A disagreement, and who is to show it. */
export interface WitnessWords {
  readonly objects: readonly RawObject[];
  readonly cell: TableCell;
  /** What the first side says. */
  readonly expected: CellVerdict;
  /** Those that the scenario runs on: who is right first. */
  readonly selections: readonly Selection[];
  readonly comments: readonly [string, string];
}

const timeout = "3s";

/** The disagreement as a scenario with one step. */
export function witnessScenario(words: WitnessWords): WitnessScenario {
  const { objects, cell, selections, comments } = words;
  // one probe draws one of a Service's backends; a truth table tries them all
  const isDrawn = cell.to.end.kind === "service" || cell.to.end.kind === "node-port";
  return {
    comments,
    document: {
      manifests: objects,
      engines: selections.map(({ label }) => label).filter(hasName),
      steps: [isDrawn ? { expectMatrix: tableOf(words) } : { probe: probeOf(words) }],
    },
  };
}

function probeOf({ objects, cell, expected }: WitnessWords): object {
  const { protocol, port, family } = cell.cell;
  return {
    from: endText(cell.from),
    to: endText(cell.to),
    ...(protocol === "ICMP" ? { type: port } : { port }),
    protocol,
    ...(family === 4 ? {} : { family }),
    timeout,
    expect: expected === "deny" ? "timeout" : openOutcome(objects, cell),
  };
}

function tableOf({ cell, expected }: WitnessWords): object {
  const { protocol, port, family } = cell.cell;
  return {
    from: [endText(cell.from)],
    to: [endText(cell.to)],
    ports: [`${port}/${protocol}`],
    ...(family === 4 ? {} : { family }),
    default: expected,
  };
}

/** What a user brings along, a file cannot name: it is given on the command line. */
export function hasName(label: string): boolean {
  try {
    parseSelection(label);
    return true;
  } catch (error) {
    if (!(error instanceof InputError)) throw error;
    return false;
  }
}

/** The range that an outside end stands for, as one address of it. */
function endText({ id, end }: TableCell["from"] | TableCell["to"]): string {
  return end.kind === "external" ? `ip:${formatIp(end.ip)}` : id;
}

/** What a client sees where no policy stands in its way. */
function openOutcome(objects: readonly RawObject[], { from, to, cell }: TableCell): string {
  const none = parseSelection("none");
  if (none.kind !== "product") return "connected";
  const { state } = clusterOf(objects, none.aks);
  const { ends } = tableCells(state, [none], {});
  const source = ends.filter(isSource).find(({ id }) => id === from.id);
  const target = ends.find(({ id }) => id === to.id);
  if (source === undefined || target === undefined) return "connected";
  const { protocol, port, family } = cell;
  const words = { from: source, to: target, protocol, port, family, timeoutNs: 3e9 };
  const { outcome } = probeConnection(state, none, words, 1, "");
  return outcome === "timeout" ? "connected" : outcome;
}
