/** Progress on standard error: a bar on a terminal, for work of more than a second. Ctrl-C asks the work to stop. */
import { SingleBar } from "cli-progress";
import type { CommonOptions } from "./options.ts";

const showAfterMs = 1000;

export interface ProgressBar {
  /** Resolves to `false` when the user has asked to stop; lets signals in. */
  update(done: number, total: number): Promise<boolean>;
  stop(): void;
  isInterrupted(): boolean;
  /** Done at the first Ctrl-C: what ends waiting that `update` cannot. */
  onInterrupt(action: () => void): void;
}

/**
 * For work that never yields: the bar is drawn from within it, and Ctrl-C ends the process at once, as there is nothing
 * finished to keep.
 */
export function createLoadingBar(
  label: string,
  options: Pick<CommonOptions, "quiet">,
): { readonly update: (done: number, total: number) => void; readonly stop: () => void } {
  const started = performance.now();
  const isShown = process.stderr.isTTY === true && !options.quiet;
  let bar: SingleBar | undefined;
  return {
    update(done, total) {
      if (!isShown || performance.now() - started <= showAfterMs) return;
      bar ??= startBar(label, done, total);
      bar.setTotal(total);
      bar.update(done);
    },
    stop: () => bar?.stop(),
  };
}

function startBar(label: string, done: number, total: number): SingleBar {
  const bar = new SingleBar({
    format: `${label} {bar} {percentage}% {eta_formatted}`,
    stream: process.stderr,
    clearOnComplete: true,
  });
  bar.start(total, done);
  return bar;
}

export function createProgress(label: string, options: Pick<CommonOptions, "quiet">): ProgressBar {
  const started = performance.now();
  const isShown = process.stderr.isTTY === true && !options.quiet;
  let bar: SingleBar | undefined;
  let interrupted = false;
  const actions: (() => void)[] = [];
  const onInterrupt = (): void => {
    if (interrupted) process.exit(130); // a second Ctrl-C does not wait
    interrupted = true;
    for (const action of actions) action();
  };
  process.on("SIGINT", onInterrupt);
  return {
    async update(done, total) {
      if (bar === undefined && isShown && performance.now() - started > showAfterMs) {
        bar = startBar(label, done, total);
      }
      bar?.setTotal(total);
      bar?.update(done);
      await new Promise((resolve) => setImmediate(resolve));
      return !interrupted;
    },
    stop() {
      bar?.stop();
      process.off("SIGINT", onInterrupt);
    },
    isInterrupted: () => interrupted,
    onInterrupt: (action) => void actions.push(action),
  };
}
