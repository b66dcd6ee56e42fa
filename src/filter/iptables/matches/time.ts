/**
 * `-m time`. The clock is virtual and UTC, counted from `LinkContext.epochS`. Left out: the time zone of `--kerneltz`.
 * Source: kernel net/netfilter/xt_time.c.
 */
import type { Match, MatchOf } from "../match.ts";
import {
  Answer,
  type MatchKinds,
  type MatchNode,
  type MatchReader,
  type OptionValues,
  type RowTest,
} from "./extension.ts";

const daySeconds = 86_400;
const weekdayNames = ["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"];
/** Bits 1..31 and 1..7. */
const allMonthdays = 0xfffffffe;
const allWeekdays = 0xfe;
/** What the tool sets when no end is given: the last second of a signed 32-bit clock. */
const dateStopDefault = 0x7fffffff;

function parseDaytime(text: string): number | undefined {
  const parts = /^([0-9]{1,2}):([0-9]{1,2})(?::([0-9]{1,2}))?$/.exec(text);
  const [hours, minutes, seconds] = [Number(parts?.[1]), Number(parts?.[2]), Number(parts?.[3] ?? 0)];
  if (parts === null || hours > 23 || minutes > 59 || seconds > 59) return undefined;
  return hours * 3600 + minutes * 60 + seconds;
}

function parseDate(text: string): number | undefined {
  const parts =
    /^([0-9]{4})(?:-([0-9]{1,2})(?:-([0-9]{1,2})(?:[Tt]([0-9]{1,2})(?::([0-9]{1,2})(?::([0-9]{1,2}))?)?)?)?)?$/.exec(
      text,
    );
  if (parts === null) return undefined;
  const [year = 0, month = 1, day = 1, hour = 0, minute = 0, second = 0] = parts
    .slice(1)
    .map((part) => (part === undefined ? undefined : Number(part)));
  if (month < 1 || month > 12 || day < 1 || day > 31 || hour > 23 || minute > 59 || second > 59)
    return undefined;
  const stamp = daysOfDate(year, month, day) * daySeconds + hour * 3600 + minute * 60 + second;
  return stamp >= 0 && stamp <= 0xffffffff ? stamp : undefined;
}

function parseWeekdays(text: string): number | undefined {
  let bits = 0;
  for (const part of text.split(",")) {
    const name = part.toLowerCase().slice(0, 3);
    const named = weekdayNames.findIndex((day) => day.slice(0, 2).toLowerCase() === name.slice(0, 2));
    const day = /^[1-7]$/.test(part) ? Number(part) : named + 1;
    if (day === 0) return undefined;
    bits |= 1 << day;
  }
  return bits;
}

function parseMonthdays(text: string): number | undefined {
  let bits = 0;
  for (const part of text.split(",")) {
    const day = /^[0-9]{1,2}$/.test(part) ? Number(part) : 0;
    if (day < 1 || day > 31) return undefined;
    bits |= 1 << day;
  }
  return bits >>> 0;
}

function readTime(options: OptionValues): readonly Match[] {
  const inverted = (name: string, bits: number | undefined, all: number): number =>
    bits === undefined ? all : (options.get(name)?.isNegated ? ~bits & all : bits) >>> 0;
  const start = options.read("--timestart", parseDaytime, "hh:mm[:ss]") ?? 0;
  const stop = options.read("--timestop", parseDaytime, "hh:mm[:ss]") ?? daySeconds - 1;
  if (options.has("--contiguous") && start < stop)
    throw options.words.fail(
      "invalid",
      options.get("--contiguous")?.option,
      "--contiguous needs --timestart after --timestop",
    );
  return [
    {
      kind: "time",
      start,
      stop,
      dateStart: options.read("--datestart", parseDate, "YYYY-MM-DDThh:mm:ss") ?? 0,
      dateStop: options.read("--datestop", parseDate, "YYYY-MM-DDThh:mm:ss") ?? dateStopDefault,
      monthdays: inverted(
        "--monthdays",
        options.read("--monthdays", parseMonthdays, "days of the month"),
        allMonthdays,
      ),
      weekdays: inverted(
        "--weekdays",
        options.read("--weekdays", parseWeekdays, "days of the week"),
        allWeekdays,
      ),
      ...(options.has("--contiguous") ? { contiguous: true } : {}),
      ...(options.has("--kerneltz") ? { kernelTz: true } : {}),
    },
  ];
}

export const timeReaders: Readonly<Record<string, MatchReader>> = {
  time: {
    options: {
      "--timestart": { values: 1 },
      "--timestop": { values: 1 },
      "--datestart": { values: 1 },
      "--datestop": { values: 1 },
      "--weekdays": { values: 1, not: true },
      "--monthdays": { values: 1, not: true },
      "--contiguous": { values: 0 },
      "--kerneltz": { values: 0 },
      "--utc": { values: 0 },
    },
    read: readTime,
  },
};

const two = (value: number): string => String(value).padStart(2, "0");

function daytimeText(seconds: number): string {
  return [Math.floor(seconds / 3600), Math.floor(seconds / 60) % 60, seconds % 60].map(two).join(":");
}

function dateText(stamp: number): string {
  const { year, month, day } = dateOfDays(Math.floor(stamp / daySeconds));
  return `${String(year).padStart(4, "0")}-${two(month)}-${two(day)}T${daytimeText(stamp % daySeconds)}`;
}

const bitNumbers = (bits: number): readonly number[] =>
  Array.from({ length: 32 }, (_, i) => i).filter((i) => (bits >>> i) & 1);

function timeText(match: MatchOf<"time">): string {
  const parts: string[] = [];
  if (match.start !== 0 || match.stop !== daySeconds - 1)
    parts.push(`--timestart ${daytimeText(match.start)} --timestop ${daytimeText(match.stop)}`);
  if (match.monthdays !== allMonthdays) parts.push(`--monthdays ${bitNumbers(match.monthdays).join(",")}`);
  if (match.weekdays !== allWeekdays)
    parts.push(
      `--weekdays ${bitNumbers(match.weekdays)
        .map((day) => weekdayNames[day - 1])
        .join(",")}`,
    );
  if (match.dateStart !== 0) parts.push(`--datestart ${dateText(match.dateStart)}`);
  if (match.dateStop !== 0xffffffff) parts.push(`--datestop ${dateText(match.dateStop)}`);
  if (match.kernelTz) parts.push("--kerneltz");
  if (match.contiguous) parts.push("--contiguous");
  return parts.join(" ");
}

export const timeKinds: MatchKinds<"time"> = {
  time: {
    text: (match) => `-m time ${timeText(match)}`,
    explain: (match) => `the time is not within ${timeText(match)}`,
    bind: bindTime,
  },
};

function bindTime(match: MatchOf<"time">, node: MatchNode): RowTest {
  return () => {
    let stamp = node.epochS + Math.floor(node.nowNs() / 1e9);
    if (stamp < match.dateStart || stamp > match.dateStop) return Answer.no;
    const daytime = stamp % daySeconds;
    if (match.start < match.stop) {
      if (daytime < match.start || daytime > match.stop) return Answer.no;
    } else {
      if (daytime < match.start && daytime > match.stop) return Answer.no;
      if (match.contiguous && daytime <= match.stop) stamp -= daySeconds; // belongs to the day that it began on
    }
    const days = Math.floor(stamp / daySeconds);
    const weekday = ((days + 3) % 7) + 1; // 1970-01-01 was a Thursday
    if (!(match.weekdays & (1 << weekday))) return Answer.no;
    return match.monthdays & (1 << dateOfDays(days).day) ? Answer.yes : Answer.no;
  };
}

/** Days since 1970-01-01 of a date of the Gregorian calendar; the year counts from March, so that leap days come last. */
function daysOfDate(year: number, month: number, day: number): number {
  const shifted = month <= 2 ? year - 1 : year;
  const dayOfYear = Math.floor((153 * ((month + 9) % 12) + 2) / 5) + day - 1;
  const leapDays = Math.floor(shifted / 4) - Math.floor(shifted / 100) + Math.floor(shifted / 400);
  return shifted * 365 + leapDays + dayOfYear - 719_468;
}

/** The date that `daysOfDate` counts. */
function dateOfDays(days: number): { readonly year: number; readonly month: number; readonly day: number } {
  let year = 1970 + Math.floor(days / 365.2425);
  while (daysOfDate(year, 1, 1) > days) year--;
  while (daysOfDate(year + 1, 1, 1) <= days) year++;
  let month = 12;
  while (daysOfDate(year, month, 1) > days) month--;
  return { year, month, day: days - daysOfDate(year, month, 1) + 1 };
}
