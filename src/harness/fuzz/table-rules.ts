/**
 * Random rule sets as lines of an iptables-restore file. Biased to what goes unnoticed in plain random rules: rules about
 * marks, connections' marks, zones and recent clients beside each other, marks that overlap, sets in every second rule, chains
 * that are entered by jump and by goto.
 */
import type { Prng } from "../../base/index.ts";
import { drawMark, drawMatches, drawRecentList, recentQuestions } from "./table-matches.ts";
import { drawConnmark, drawTarget, drawXmark, drawZone } from "./table-targets.ts";
import { drawNet, type Family, not, type Place } from "./table-world.ts";

/** A rule, or some about one thing, one behind the other. */
function drawRules(random: Prng, place: Place, chain: string): readonly string[] {
  const { text, protocol } = drawTarget(random, place);
  const one = `-A ${chain} ${drawMatches(random, place, protocol)}${text}`.trimEnd();
  if (place.table === "nat" || random.below(5) > 0) return [one];
  const then = protocol === undefined ? text : "-j RETURN";
  return random
    .pick(place.table === "raw" ? [drawZones] : [drawMarks, drawMarks, drawConnmarks, drawRecents])(
      random,
      place,
      then,
    )
    .map((rule) => `-A ${chain} ${rule}`.trimEnd());
}

/** Rules without their chain; the last ends as `then` says. */
type DrawSeries = (random: Prng, place: Place, then: string) => readonly string[];

const drawMarks: DrawSeries = (random, place, then) => [
  `${drawMatches(random, place)}-j ${drawXmark(random)}`,
  `-j ${drawXmark(random)}`,
  `-m mark ${not(random)}--mark ${drawMark(random)} ${then}`,
];

const drawConnmarks: DrawSeries = (random, _place, then) => [
  `-j ${drawXmark(random)}`,
  `-j ${drawConnmark(random)}`,
  `-j ${drawConnmark(random)}`,
  random.pick([
    `-m connmark ${not(random)}--mark ${drawMark(random)} ${then}`,
    `-m mark ${not(random)}--mark ${drawMark(random)} ${then}`,
  ]),
];

const drawRecents: DrawSeries = (random, { family }, then) => {
  const list = drawRecentList(random, family);
  return [
    `-m recent --${random.pick(["set", "update"])} ${list}`,
    `-m recent ${not(random)}--${random.pick(["rcheck", "update"])}${random.pick(recentQuestions)} ${list} ${then}`,
  ];
};

const drawZones: DrawSeries = (random, place, then) => [
  `${drawMatches(random, place)}-j ${drawZone(random)}`,
  `-j ${drawZone(random)}`,
  `-m connmark ${not(random)}--mark ${drawMark(random)} ${then}`,
];

interface TableShape {
  readonly builtin: readonly string[];
  readonly users: readonly { readonly names: readonly string[]; readonly hooks: readonly string[] }[];
}

const tableShapes: Readonly<Record<string, TableShape>> = {
  raw: { builtin: ["PREROUTING", "OUTPUT"], users: [{ names: ["R"], hooks: ["PREROUTING"] }] },
  mangle: {
    builtin: ["PREROUTING", "INPUT", "FORWARD", "OUTPUT", "POSTROUTING"],
    users: [{ names: ["M", "N"], hooks: ["PREROUTING", "FORWARD", "POSTROUTING"] }],
  },
  nat: {
    builtin: ["PREROUTING", "INPUT", "OUTPUT", "POSTROUTING"],
    users: [
      { names: ["TO", "TOO"], hooks: ["PREROUTING"] },
      { names: ["FROM"], hooks: ["POSTROUTING"] },
    ],
  },
  filter: {
    builtin: ["INPUT", "FORWARD", "OUTPUT"],
    users: [
      { names: ["A", "B", "C", "D"], hooks: ["FORWARD"] },
      { names: ["LOCAL"], hooks: ["INPUT"] },
    ],
  },
};

function drawTable(random: Prng, family: Family, table: string): readonly string[] {
  const { builtin, users } = tableShapes[table] as TableShape;
  const policy = (chain: string): string =>
    table === "filter" && random.below(chain === "FORWARD" ? 2 : 5) === 0 ? "DROP" : "ACCEPT";
  const lines: string[] = [];
  for (const chain of builtin) {
    const below = users.filter(({ hooks }) => hooks.includes(chain)).flatMap(({ names }) => names);
    const place: Place = { family, table, hooks: [chain], below };
    const most = chain === "FORWARD" ? 8 : 3;
    for (let i = random.below(most + 1); i > 0; i--) lines.push(...drawRules(random, place, chain));
  }
  for (const { names, hooks } of users)
    names.forEach((chain, at) => {
      const place: Place = { family, table, hooks, below: names.slice(at + 1) };
      for (let i = random.below(5); i > 0; i--) lines.push(...drawRules(random, place, chain));
    });
  // What is untracked shows only where some rule asks for it.
  if (table === "raw" && random.below(2) === 0)
    lines.unshift(`-A PREROUTING -d ${drawNet(random, family)} -j CT --notrack`);
  if (table === "filter" && random.below(4) === 0)
    lines.unshift(`-A FORWARD -m conntrack --ctstate UNTRACKED -j ${random.pick(["ACCEPT", "DROP"])}`);
  return [
    `*${table}`,
    ...builtin.map((chain) => `:${chain} ${policy(chain)} [0:0]`),
    ...users.flatMap(({ names }) => names.map((name) => `:${name} - [0:0]`)),
    ...lines,
    "COMMIT",
  ];
}

/** Lines of a rule file: table filter always, the others every second time or less. */
export function drawRuleset(random: Prng, family: Family): readonly string[] {
  return [
    ...(random.below(3) === 0 ? drawTable(random, family, "raw") : []),
    ...(random.below(2) === 0 ? drawTable(random, family, "mangle") : []),
    // once a namespace has table nat it never loses it, and NAT resolves clashes of connections even where it is empty
    ...(random.below(2) === 0 ? drawTable(random, family, "nat") : ["*nat", "COMMIT"]),
    ...drawTable(random, family, "filter"),
  ];
}
