/**
 * Conditions on what the node knows of a packet: mark, owner, physdev, comment. `mark` is linked as a code word. Packets
 * here have no socket and cross no bridge, so owner and physdev answer as the kernel does for such packets.
 * Source: kernel net/netfilter/xt_mark.c, xt_owner.c, xt_physdev.c, xt_comment.c.
 */
import { parseU32 } from "../../words.ts";
import type { InterfaceTest, Match, MatchOf, Range } from "../match.ts";
import { markText } from "./connection.ts";
import {
  Answer,
  bang,
  isOrNot,
  type MatchKinds,
  type MatchReader,
  type OptionValues,
  parseMark,
} from "./extension.ts";

const commentMax = 255;

/** `a` or `a-b`. */
function parseIds(text: string): Range | undefined {
  const [low, high, ...rest] = text.split("-");
  const min = low === "root" && high === undefined ? 0 : parseU32(low ?? "");
  const max = high === undefined ? min : parseU32(high);
  return min === undefined || max === undefined || min > max || rest.length > 0 ? undefined : [min, max];
}

function readOwner(options: OptionValues): readonly Match[] {
  const uid = options.read("--uid-owner", parseIds, "a user number or range");
  const gid = options.read("--gid-owner", parseIds, "a group number or range");
  if (options.names.length === 0) throw options.incomplete("-m owner needs an option");
  return [
    {
      kind: "owner",
      ...(uid === undefined ? {} : { uid: uid[0] === uid[1] ? uid[0] : uid, ...options.not("--uid-owner") }),
      ...(gid === undefined ? {} : { gid: { range: gid, ...options.not("--gid-owner") } }),
      ...(options.has("--socket-exists") ? { socketExists: options.not("--socket-exists") } : {}),
    },
  ];
}

function readPhysdev(options: OptionValues): readonly Match[] {
  const device = (name: string): InterfaceTest | undefined => {
    const word = options.word(name);
    return word === undefined ? undefined : { name: word.text, ...options.not(name) };
  };
  const side = (name: string): boolean | undefined => {
    const use = options.get(name);
    return use === undefined ? undefined : !use.isNegated;
  };
  const [from, to] = [device("--physdev-in"), device("--physdev-out")];
  const [isIn, isOut, isBridged] = [
    side("--physdev-is-in"),
    side("--physdev-is-out"),
    side("--physdev-is-bridged"),
  ];
  if (options.names.length === 0) throw options.incomplete("-m physdev needs an option");
  return [
    {
      kind: "physdev",
      ...(from === undefined ? {} : { in: from }),
      ...(to === undefined ? {} : { out: to }),
      ...(isIn === undefined ? {} : { isIn }),
      ...(isOut === undefined ? {} : { isOut }),
      ...(isBridged === undefined ? {} : { isBridged }),
    },
  ];
}

function readComment(options: OptionValues): readonly Match[] {
  const word = options.word("--comment");
  if (word === undefined) throw options.incomplete("-m comment needs --comment");
  if (new TextEncoder().encode(word.text).length > commentMax)
    throw options.words.fail("too-large", word, `a comment holds at most ${commentMax} bytes`);
  return [{ kind: "comment", text: word.text }];
}

export const nodeReaders: Readonly<Record<string, MatchReader>> = {
  mark: {
    options: { "--mark": { values: 1, not: true } },
    read: (options) => {
      const mark = options.read("--mark", parseMark, "a mark or mark/mask of 32 bits");
      if (mark === undefined) throw options.incomplete("-m mark needs --mark");
      return [{ kind: "mark", value: mark[0], mask: mark[1], ...options.not("--mark") }];
    },
  },
  owner: {
    options: {
      "--uid-owner": { values: 1, not: true },
      "--gid-owner": { values: 1, not: true },
      "--socket-exists": { values: 0, not: true },
    },
    read: readOwner,
  },
  physdev: {
    options: {
      "--physdev-in": { values: 1, not: true },
      "--physdev-out": { values: 1, not: true },
      "--physdev-is-in": { values: 0, not: true },
      "--physdev-is-out": { values: 0, not: true },
      "--physdev-is-bridged": { values: 0, not: true },
    },
    read: readPhysdev,
  },
  comment: { options: { "--comment": { values: 1 } }, read: readComment },
};

/** Quotes as libxtables' xtables_save_string does: unless all characters are letters, digits, `_` and `-`. */
export function quote(text: string): string {
  return /^[A-Za-z0-9_-]+$/.test(text) ? text : `"${text.replaceAll(/["\\']/g, "\\$&")}"`;
}

const idsText = (ids: number | Range): string =>
  typeof ids === "number" ? `${ids}` : ids[0] === ids[1] ? `${ids[0]}` : `${ids[0]}-${ids[1]}`;

/** Without a socket the kernel lets a rule match only if all that it asks is negated. */
export function ownerHolds({ uid, not, gid, socketExists }: MatchOf<"owner">): boolean {
  return (
    (uid === undefined || not === true) &&
    (gid === undefined || gid.not === true) &&
    (socketExists === undefined || socketExists.not === true)
  );
}

/** Of a packet that crosses no bridge. */
export function physdevHolds({ isIn, isOut, isBridged, in: from, out: to }: MatchOf<"physdev">): boolean {
  const isAsked = [isIn, isOut, isBridged].some((is) => is === true);
  return !isAsked && [from, to].every((test) => test === undefined || test.not === true);
}

export const nodeKinds: MatchKinds<"mark" | "owner" | "physdev" | "comment"> = {
  mark: {
    text: (match) => `-m mark ${bang(match)}--mark ${markText(match.value, match.mask)}`,
    explain: (match, { packet }) =>
      `mark 0x${packet.mark.toString(16)} ${isOrNot(match)} ${markText(match.value, match.mask)}`,
  },
  owner: {
    text: (match) => {
      const socket = match.socketExists === undefined ? "" : ` ${bang(match.socketExists)}--socket-exists`;
      const uid = match.uid === undefined ? "" : ` ${bang(match)}--uid-owner ${idsText(match.uid)}`;
      const gid = match.gid === undefined ? "" : ` ${bang(match.gid)}--gid-owner ${idsText(match.gid.range)}`;
      return `-m owner${socket}${uid}${gid}`;
    },
    explain: () => "the packet comes from no socket of the node, so it has no owner",
    bind: (match) => {
      const answer = ownerHolds(match) ? Answer.yes : Answer.no;
      return () => answer;
    },
  },
  physdev: {
    text: (match) => {
      const device = (name: string, test: InterfaceTest | undefined): string =>
        test === undefined ? "" : ` ${bang(test)}--physdev-${name} ${test.name}`;
      const side = (name: string, is: boolean | undefined): string =>
        is === undefined ? "" : ` ${is ? "" : "! "}--physdev-is-${name}`;
      return `-m physdev${side("in", match.isIn)}${device("in", match.in)}${side("out", match.isOut)}${device("out", match.out)}${side("bridged", match.isBridged)}`;
    },
    explain: () => "the packet crosses no bridge of the node",
    bind: (match) => {
      const answer = physdevHolds(match) ? Answer.yes : Answer.no;
      return () => answer;
    },
  },
  comment: {
    text: (match) => `-m comment --comment ${quote(match.text)}`,
    explain: () => "",
  },
};
