/** Durations of scenarios and flags (`500ms`, `15s`, `5m`, `1h30m`) as virtual nanoseconds: Go's spelling, whole nanoseconds. */
import { usageError } from "../base/index.ts";

const unitNs: Readonly<Record<string, number>> = {
  ns: 1,
  us: 1e3,
  ms: 1e6,
  s: 1e9,
  m: 60e9,
  h: 3600e9,
};
const whole = /^([0-9]+(\.[0-9]+)?(ns|us|ms|s|m|h))+$/;

/** Nanoseconds, or what is wrong with the text. */
export function readDuration(text: string): number | string {
  if (!whole.test(text))
    return `not a duration: ${text}; write a number and a unit (ns, us, ms, s, m, h), such as 500ms or 1m30s`;
  let totalNs = 0;
  for (const [, amount = "", unit = ""] of text.matchAll(/([0-9.]+)([a-z]+)/g))
    totalNs += Number(amount) * (unitNs[unit] ?? 0);
  const roundedNs = Math.round(totalNs);
  return Number.isSafeInteger(roundedNs) ? roundedNs : `duration out of range: ${text}`;
}

/** @returns nanoseconds. @throws InputError with code `usage`. */
export function parseDuration(text: string): number {
  const durationNs = readDuration(text);
  if (typeof durationNs === "string") throw usageError(durationNs);
  return durationNs;
}
