/** Reports of `run`: which expectations held. */
import type { RunDocument, RunResultDocument } from "../harness/index.ts";
import { csvLine, duration, junit, markdownTable, thousands } from "./format.ts";
import { type ReportOptions, styleOf } from "./style.ts";

export function* runText(document: RunDocument, options: ReportOptions): Iterable<string> {
  for (const result of document.results) yield* runResultText(result, options);
  const style = styleOf(options.color);
  const total = `${document.passed} passed, ${document.failed} failed`;
  yield `${document.failed > 0 ? style.bad(total) : style.good(total)}\n`;
}

/** One run for people: a line, and what did not hold. */
export function* runResultText(result: RunResultDocument, options: ReportOptions): Iterable<string> {
  const style = styleOf(options.color);
  const word = result.ok ? style.good("ok    ") : style.bad("FAILED");
  // the oracle sends nothing and takes no time
  const cost =
    result.packets === 0 ? "" : `, ${duration(result.virtualNs)}, ${thousands(result.packets)} packets`;
  yield `${word} ${result.scenario} ${style.dim(`on ${result.engine}${cost}`)}\n`;
  for (const step of result.steps) {
    if (step.ok) continue;
    yield `       step ${step.step} ${step.action} (${result.file}${step.line === undefined ? "" : `:${step.line}`})\n`;
    for (const problem of step.problems) yield `         ${problem}\n`;
  }
}

export function* runJunit(document: RunDocument): Iterable<string> {
  const engines = [...new Set(document.results.map((result) => result.engine))];
  yield* junit(
    engines.map((engine) => ({
      name: engine,
      cases: document.results
        .filter((result) => result.engine === engine)
        .map(({ scenario, file, virtualNs, steps }) => ({
          name: scenario,
          file,
          time: virtualNs / 1e9,
          problems: steps.flatMap(({ step, action, problems }) =>
            problems.map((problem) => `step ${step} ${action}: ${problem}`),
          ),
        })),
    })),
  );
}

export function* runCsv(document: RunDocument): Iterable<string> {
  yield csvLine(["scenario", "engine", "ok", "virtualNs", "packets", "problems"]);
  for (const { scenario, engine, ok, virtualNs, packets, steps } of document.results)
    yield csvLine([
      scenario,
      engine,
      String(ok),
      virtualNs,
      packets,
      steps.flatMap((step) => step.problems).join("; "),
    ]);
}

export function* runMarkdown(document: RunDocument): Iterable<string> {
  const rows = document.results.map(({ scenario, engine, ok, steps }) => [
    scenario,
    engine,
    ok ? "ok" : "**failed**",
    steps.flatMap((step) => step.problems).join("; "),
  ]);
  yield markdownTable(["scenario", "engine", "result", "problems"], rows);
}
