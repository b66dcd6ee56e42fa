/** All targets: readers by the name after `-j`, texts by kind. */
import type { Target } from "../target.ts";
import { editReaders, editTexts } from "./edits.ts";
import type { TargetReader, TargetTexts } from "./extension.ts";
import { markReaders, markTexts } from "./marks.ts";
import { natReaders, natTexts } from "./nat.ts";
import { verdictReaders, verdictTexts } from "./verdicts.ts";

const readers: Readonly<Record<string, TargetReader>> = {
  ...verdictReaders,
  ...markReaders,
  ...natReaders,
  ...editReaders,
};

export function targetReader(name: string): TargetReader | undefined {
  return Object.hasOwn(readers, name) ? readers[name] : undefined;
}

const texts: TargetTexts<Target["kind"]> = { ...verdictTexts, ...markTexts, ...natTexts, ...editTexts };

/** `-j NAME options` as iptables-save prints it. */
export function targetText(target: Target, family: 4 | 6 = 4): string {
  const text = texts[target.kind] as (target: Target, family: 4 | 6) => string; // each kind has its own entry
  return text(target, family);
}
