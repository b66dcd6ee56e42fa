/** Colours, when wanted: `color` is decided by the caller. */
import pc from "picocolors";

export interface Style {
  good(text: string): string;
  bad(text: string): string;
  open(text: string): string;
  dim(text: string): string;
  strong(text: string): string;
}

export function styleOf(color: boolean): Style {
  const colors = pc.createColors(color);
  return { good: colors.green, bad: colors.red, open: colors.yellow, dim: colors.dim, strong: colors.bold };
}

/** How a report should look. */
export interface ReportOptions {
  readonly color: boolean;
}
