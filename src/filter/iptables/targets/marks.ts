/**
 * Targets that change what a node knows of a packet: MARK, CONNMARK, CT, NOTRACK, SET, CLASSIFY.
 * Source: kernel net/netfilter/xt_mark.c, xt_connmark.c, xt_CT.c, xt_set.c; iptables-extensions(8).
 */
import { hex, parseMark, parseRange } from "../matches/extension.ts";
import { readSetName, readSetSides } from "../matches/set.ts";
import type { CtTarget, SetTarget, Target } from "../target.ts";
import type { OptionValues, RuleContext, TargetReader, TargetTexts } from "./extension.ts";

const markActions = ["--set-xmark", "--set-mark", "--or-mark", "--and-mark", "--xor-mark"] as const;

/** The kernel knows one form: mark = (mark & ~mask) ^ value. */
function readMarkAction(
  options: OptionValues,
): { readonly value: number; readonly mask: number } | undefined {
  const given = markActions.filter((name) => options.has(name));
  const [action] = given;
  if (action === undefined) return undefined;
  if (given.length > 1) throw options.incomplete(`only one of ${markActions.join(", ")}`);
  const takesMask = action === "--set-xmark" || action === "--set-mark";
  const [value, mask] = options.read(
    action,
    (text) => (takesMask || !text.includes("/") ? parseMark(text) : undefined),
    takesMask ? "a mark or mark/mask of 32 bits" : "32 bits",
  ) ?? [0, 0];
  switch (action) {
    case "--set-xmark":
      return { value, mask };
    case "--set-mark":
      return { value, mask: (value | mask) >>> 0 };
    case "--or-mark":
      return { value, mask: value };
    case "--and-mark":
      return { value: 0, mask: ~value >>> 0 };
    case "--xor-mark":
      return { value, mask: 0 };
  }
}

function readConnmark(options: OptionValues): Target {
  const set = readMarkAction(options);
  const copies = (["save", "restore"] as const).filter((action) => options.has(`--${action}-mark`));
  const [copy] = copies;
  if ((set === undefined ? 0 : 1) + copies.length !== 1)
    throw options.incomplete("CONNMARK needs one of --save-mark, --restore-mark or a --set-... option");
  if (set !== undefined) return { kind: "CONNMARK", action: "set", ...set };
  const bits = (name: string): number | undefined =>
    options.read(name, (text) => parseRange(text, 0xffffffff)?.[0], "a mask of 32 bits");
  const both = bits("--mask");
  return {
    kind: "CONNMARK",
    action: copy ?? "save",
    nfMask: bits("--nfmask") ?? both ?? 0xffffffff,
    ctMask: bits("--ctmask") ?? both ?? 0xffffffff,
  };
}

const zoneOptions = [
  ["--zone", undefined],
  ["--zone-orig", "orig"],
  ["--zone-reply", "reply"],
] as const;

function readCt(options: OptionValues): Target {
  if (options.has("--notrack")) {
    if (options.names.length > 1) throw options.incomplete("--notrack stands alone");
    return { kind: "NOTRACK" };
  }
  const target: { -readonly [K in keyof CtTarget]: CtTarget[K] } = { kind: "CT" };
  const zone = (text: string): number | "mark" | undefined =>
    text === "mark" ? "mark" : parseRange(text)?.[0];
  const events = (name: string): readonly string[] | undefined =>
    options.read(name, (text) => (text === "" ? undefined : text.split(",")), "names of events");
  const [ctEvents, expEvents] = [events("--ctevents"), events("--expevents")];
  if (ctEvents !== undefined) target.events = ctEvents;
  if (expEvents !== undefined) target.expEvents = expEvents;
  const given = zoneOptions.filter(([name]) => options.has(name));
  const [option] = given;
  if (given.length > 1)
    throw options.incomplete(`only one of ${zoneOptions.map(([name]) => name).join(", ")}`);
  if (option === undefined) return target;
  const [name, direction] = option;
  target.zone = options.read(name, zone, "a zone up to 65535, or mark") ?? 0;
  if (direction !== undefined) target.zoneDirection = direction;
  return target;
}

const setActions = ["add", "del", "map"] as const;

function readSetTarget(options: OptionValues, { table, chain }: RuleContext): Target {
  const given = setActions.filter((action) => options.has(`--${action}-set`));
  const [action] = given;
  if (action === undefined || given.length > 1)
    throw options.incomplete("target SET is supported with one of --add-set, --del-set, --map-set");
  const use = options.get(`--${action}-set`);
  const timeout = options.read(
    "--timeout",
    (text) => parseRange(text, 0xffffffff)?.[0],
    "a number of seconds",
  );
  const target: SetTarget = {
    kind: "SET",
    action,
    set: readSetName(options.words, use?.values[0]),
    flags: readSetSides(options.words, use?.values[1]),
    ...(options.has("--exist") ? { exist: true } : {}),
    ...(timeout === undefined ? {} : { timeout }),
    ...(options.has("--map-mark") ? { mapMark: true } : {}),
    ...(options.has("--map-prio") ? { mapPrio: true } : {}),
    ...(options.has("--map-queue") ? { mapQueue: true } : {}),
  };
  if (action !== "add" && (target.exist || timeout !== undefined))
    throw options.incomplete("--exist and --timeout go with --add-set");
  if (action === "map" && table !== "mangle")
    throw options.incomplete("--map-set is allowed in table mangle only");
  if ((target.mapPrio || target.mapQueue) && (chain === "PREROUTING" || chain === "INPUT"))
    throw options.incomplete("--map-prio and --map-queue are for packets that leave");
  return target;
}

const markOptions: TargetReader["options"] = Object.fromEntries(
  markActions.map((name) => [name, { values: 1 } as const]),
);

export const markReaders: Readonly<Record<string, TargetReader>> = {
  MARK: {
    options: markOptions,
    read: (options) => {
      const action = readMarkAction(options);
      if (action === undefined)
        throw options.incomplete(`MARK needs exactly one of ${markActions.join(", ")}`);
      return { kind: "MARK", ...action };
    },
  },
  CONNMARK: {
    options: {
      ...markOptions,
      "--save-mark": { values: 0 },
      "--restore-mark": { values: 0 },
      "--mask": { values: 1 },
      "--nfmask": { values: 1 },
      "--ctmask": { values: 1 },
    },
    read: readConnmark,
  },
  CT: {
    options: {
      "--notrack": { values: 0 },
      "--ctevents": { values: 1 },
      "--expevents": { values: 1 },
      ...Object.fromEntries(zoneOptions.map(([name]) => [name, { values: 1 } as const])),
    },
    tables: ["raw"],
    read: readCt,
  },
  NOTRACK: { options: {}, tables: ["raw"], read: () => ({ kind: "NOTRACK", flavour: "NOTRACK" }) },
  SET: {
    options: {
      "--add-set": { values: 2 },
      "--del-set": { values: 2 },
      "--map-set": { values: 2 },
      "--exist": { values: 0 },
      "--timeout": { values: 1 },
      "--map-mark": { values: 0 },
      "--map-prio": { values: 0 },
      "--map-queue": { values: 0 },
    },
    read: readSetTarget,
  },
  CLASSIFY: {
    options: { "--set-class": { values: 1 } },
    read: (options) => {
      const parts = options.read(
        "--set-class",
        (text) => /^([0-9a-fA-F]{1,4}):([0-9a-fA-F]{1,4})$/.exec(text) ?? undefined,
        "a class as MAJOR:MINOR in hexadecimal",
      );
      if (parts === undefined) throw options.incomplete("target CLASSIFY needs --set-class");
      return {
        kind: "CLASSIFY",
        major: Number.parseInt(parts[1] ?? "", 16),
        minor: Number.parseInt(parts[2] ?? "", 16),
      };
    },
  },
};

const hex4 = (value: number): string => value.toString(16).padStart(4, "0");

export const markTexts: TargetTexts<"MARK" | "CONNMARK" | "CT" | "NOTRACK" | "SET" | "CLASSIFY"> = {
  MARK: ({ value, mask }) => `-j MARK --set-xmark ${hex(value)}/${hex(mask)}`,
  CONNMARK: (target) =>
    target.action === "set"
      ? `-j CONNMARK --set-xmark ${hex(target.value)}/${hex(target.mask)}`
      : `-j CONNMARK --${target.action}-mark --nfmask ${hex(target.nfMask)} --ctmask ${hex(target.ctMask)}`,
  CT: ({ events, expEvents, zone, zoneDirection }) =>
    [
      "-j CT",
      events === undefined ? "" : ` --ctevents ${events.join(",")}`,
      expEvents === undefined ? "" : ` --expevents ${expEvents.join(",")}`,
      zone === undefined ? "" : ` --zone${zoneDirection === undefined ? "" : `-${zoneDirection}`} ${zone}`,
    ].join(""),
  NOTRACK: ({ flavour }) => (flavour === "NOTRACK" ? "-j NOTRACK" : "-j CT --notrack"),
  SET: (target) =>
    [
      `-j SET --${target.action}-set ${target.set} ${target.flags.join(",")}`,
      target.exist ? " --exist" : "",
      target.timeout === undefined ? "" : ` --timeout ${target.timeout}`,
      target.mapMark ? " --map-mark" : "",
      target.mapPrio ? " --map-prio" : "",
      target.mapQueue ? " --map-queue" : "",
    ].join(""),
  CLASSIFY: ({ major, minor }) => `-j CLASSIFY --set-class ${hex4(major)}:${hex4(minor)}`,
};
