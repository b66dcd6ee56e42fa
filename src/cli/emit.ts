/** A result document to every output that was asked for. */
import { styleText } from "node:util";
import type { Renderer } from "../report/index.ts";
import type { CommonOptions } from "./options.ts";
import { type Format, formats, type OutputTarget, parseOutputs, writeOutput } from "./output.ts";

/** Checked before the work starts, so that a mistyped format costs nothing. */
export function outputsOf<D>(options: CommonOptions, renderers: Renderer<D>): readonly OutputTarget[] {
  const allowed: readonly Format[] = formats.filter((format) => renderers[format] !== undefined);
  return parseOutputs(options.output, allowed);
}

export function emit<D>(
  document: D,
  targets: readonly OutputTarget[],
  renderers: Renderer<D>,
  options: CommonOptions,
): void {
  for (const target of targets) {
    const render = renderers[target.format];
    if (render === undefined) continue;
    writeOutput(target, render(document, { color: target.file === undefined && wantsColor(options) }));
  }
}

/** `--color` and `--no-color` win; then NO_COLOR; else colour on a terminal only. */
export function wantsColor(options: Pick<CommonOptions, "color">): boolean {
  if (options.color !== undefined) return options.color;
  if (process.env["NO_COLOR"]) return false;
  return process.stdout.isTTY === true;
}

/** A note on standard error, unless the user wants quiet. */
export function noter(options: Pick<CommonOptions, "quiet">): (text: string) => void {
  return (text) => {
    if (options.quiet) return;
    const line = `podwire: ${text}\n`;
    process.stderr.write(process.stderr.isTTY && !process.env["NO_COLOR"] ? styleText("dim", line) : line);
  };
}
