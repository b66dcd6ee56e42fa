/**
 * Random rule sets as lines of an iptables-restore file. Biased to what goes unnoticed in plain random rules: mark rules
 * beside each other, marks that overlap, sets in every second rule, chains that are entered by jump and by goto.
 */
import type { Prng } from "../../base/index.ts";
import { setsOf } from "./table-sets.ts";
import { drawAddress, drawNet, drawPorts, drawSome, type Family, worlds } from "./table-world.ts";

/** Where a rule stands; what it may say depends on it. */
interface Place {
  readonly family: Family;
  readonly table: string;
  /** Built-in chains from which the rule can be reached. */
  readonly hooks: readonly string[];
  /** Chains that it may jump to. */
  readonly below: readonly string[];
}

const marks = ["0x0", "0x1", "0x2", "0x3", "0x10", "0x4000", "0xffffffff"];
const masks = ["0xffffffff", "0x1", "0x2", "0x3", "0xf0", "0x4000"];

const not = (random: Prng): string => (random.below(3) === 0 ? "! " : "");

/** `-p` and what stands behind it; nat targets with ports and tcp-reset need a certain one. */
function drawProtocol(random: Prng, family: Family, wanted?: string): string {
  const protocol =
    wanted ?? random.pick(["tcp", "tcp", "udp", "sctp", "icmp", "bare", "none", "none", "none"]);
  switch (protocol) {
    case "none":
      return "";
    case "bare":
      return `${not(random)}-p ${random.pick(["6", "17", "132", "47", worlds[family].icmp])} `;
    case "icmp": {
      const types = family === 4 ? ["8", "0", "3", "3/1", "11"] : ["128", "129", "1", "1/3", "3"];
      return `-p ${worlds[family].icmp} -m ${worlds[family].icmp} ${not(random)}--${worlds[family].icmp}-type ${random.pick(types)} `;
    }
    default: {
      const tests = [
        `${not(random)}--dport ${drawPorts(random)} `,
        `${not(random)}--dport ${drawPorts(random)} `,
        `${not(random)}--sport ${drawPorts(random)} `,
        ...(protocol === "tcp"
          ? [
              `${not(random)}--tcp-flags ${random.pick(["SYN,RST,ACK SYN", "ALL NONE", "ACK ACK", "FIN,ACK FIN,ACK"])} `,
            ]
          : []),
        ...(protocol === "sctp"
          ? [`--chunk-types ${random.pick(["any INIT", "any DATA,INIT", "any INIT_ACK"])} `]
          : []),
      ];
      const many = `-m multiport ${not(random)}--${random.pick(["dports", "sports", "ports"])} ${drawPorts(random)},${drawPorts(random)} `;
      const form = random.below(4);
      if (form === 0) return `-p ${protocol} ${many}`;
      return `-p ${protocol} -m ${protocol} ${form === 1 ? "" : random.pick(tests)}`;
    }
  }
}

const inputHooks = ["PREROUTING", "INPUT", "FORWARD"];
const outputHooks = ["FORWARD", "OUTPUT", "POSTROUTING"];

function drawHead(random: Prng, { family, hooks }: Place): string {
  const parts = [
    `${not(random)}-s ${drawNet(random, family)} `,
    `${not(random)}-d ${drawNet(random, family)} `,
    ...(hooks.every((hook) => inputHooks.includes(hook))
      ? [`${not(random)}-i ${random.pick(["in0", "out0", "in+"])} `]
      : []),
    ...(hooks.every((hook) => outputHooks.includes(hook))
      ? [`${not(random)}-o ${random.pick(["in0", "out0", "o+"])} `]
      : []),
  ];
  return random.below(2) === 0 ? "" : random.pick(parts);
}

function drawSetMatch(random: Prng, family: Family): string {
  const { name, dimensions } = random.pick(setsOf(family));
  const flags = Array.from({ length: dimensions }, () => random.pick(["src", "dst"]));
  const nomatch = random.below(8) === 0 ? " --return-nomatch" : "";
  return `-m set ${not(random)}--match-set ${name} ${flags.join(",")}${nomatch} `;
}

const states = ["NEW", "ESTABLISHED", "RELATED", "INVALID", "UNTRACKED"];

const otherMatches: readonly ((random: Prng, family: Family) => string)[] = [
  (random) => `-m mark ${not(random)}--mark ${random.pick(marks)}/${random.pick(masks)} `,
  (random) => `-m mark ${not(random)}--mark ${random.pick(marks)}/${random.pick(masks)} `,
  (random) => `-m connmark ${not(random)}--mark ${random.pick(marks)}/${random.pick(masks)} `,
  (random) => `-m conntrack ${not(random)}--ctstate ${drawSome(random, states).join(",")} `,
  (random) => `-m conntrack ${not(random)}--ctstate ${random.pick(["DNAT", "SNAT", "NEW"])} `,
  (random, family) =>
    `-m conntrack ${not(random)}--${random.pick(["ctorigsrc", "ctorigdst", "ctreplsrc", "ctrepldst"])} ${drawNet(random, family)} `,
  (random) => `-m conntrack --ctdir ${random.pick(["ORIGINAL", "REPLY"])} `,
  (random) => `-m conntrack ${not(random)}--ctstatus ${random.pick(["SEEN_REPLY", "ASSURED", "CONFIRMED"])} `,
  (random) =>
    `-m addrtype ${not(random)}--${random.pick(["src", "dst"])}-type ${random.pick(["LOCAL", "UNICAST"])} `,
  (random, family) => {
    const [a, b] = [drawAddress(random, family), drawAddress(random, family)];
    return `-m iprange ${not(random)}--${random.pick(["src", "dst"])}-range ${a}-${b} `;
  },
  (random) => `-m length ${not(random)}--length ${random.pick(["0:48", "40:60", "61:65535"])} `,
  (random, family) =>
    family === 4
      ? `-m ttl --ttl-${random.pick(["gt", "lt", "eq"])} ${random.pick(["63", "64", "62"])} `
      : `-m hl --hl-${random.pick(["gt", "lt", "eq"])} ${random.pick(["63", "64", "62"])} `,
  (random) => `-m tos ${not(random)}--tos ${random.pick(["0x10", "0x28", "0x00"])}/0x3f `,
  (random) => `-m dscp ${not(random)}--dscp ${random.pick(["0x0a", "0x00", "0x2e"])} `,
  (random) =>
    `-m statistic --mode nth ${not(random)}--every ${random.pick(["2", "3"])} --packet ${random.pick(["0", "1"])} `,
  () => "-m comment --comment why ",
];

function drawMatches(random: Prng, place: Place, protocol?: string): string {
  const { family } = place;
  const sets = random.below(2) === 0 ? drawSetMatch(random, family) : "";
  const others = Array.from({ length: random.pick([0, 0, 1, 1, 2]) }, () =>
    random.pick(otherMatches)(random, family),
  );
  return drawHead(random, place) + drawProtocol(random, family, protocol) + sets + others.join("");
}

const drawXmark = (random: Prng): string => `MARK --set-xmark ${random.pick(marks)}/${random.pick(masks)}`;

const rejects: Readonly<Record<Family, readonly string[]>> = {
  4: [
    "icmp-net-unreachable",
    "icmp-host-unreachable",
    "icmp-proto-unreachable",
    "icmp-port-unreachable",
    "icmp-net-prohibited",
    "icmp-host-prohibited",
    "icmp-admin-prohibited",
  ],
  6: [
    "icmp6-no-route",
    "icmp6-adm-prohibited",
    "icmp6-addr-unreachable",
    "icmp6-port-unreachable",
    "icmp6-policy-fail",
    "icmp6-reject-route",
  ],
};

interface DrawnTarget {
  readonly text: string;
  readonly protocol?: string;
}

const plain = (text: string): DrawnTarget => ({ text });

function drawNatTarget(random: Prng, { family, hooks }: Place): DrawnTarget {
  const { pool, inside, outside } = worlds[family];
  const protocol = random.pick(["tcp", "udp", "none"]);
  const bracket = (address: string, port: string): string =>
    port === "" ? address : family === 4 ? `${address}:${port}` : `[${address}]:${port}`;
  const port = protocol === "none" ? "" : random.pick(["", "", "80", "5000", "2000-2003"]);
  if (hooks.every((hook) => hook === "PREROUTING" || hook === "OUTPUT")) {
    const to = random.pick([random.pick(pool), random.pick(inside), random.pick(outside)]);
    const dnat = `-j DNAT --to-destination ${bracket(to, port)}`;
    const other = protocol === "none" ? "-j ACCEPT" : "-j REDIRECT --to-ports 80";
    return { text: random.pick([dnat, dnat, other]), protocol };
  }
  const to = random.pick(pool);
  const snat = `-j SNAT --to-source ${bracket(to, port)}`;
  return { text: random.pick([snat, "-j MASQUERADE", "-j ACCEPT"]), protocol };
}

function drawTarget(random: Prng, place: Place): DrawnTarget {
  const { family, table, below } = place;
  const jumps = below.flatMap((chain) => [plain(`-j ${chain}`), plain(`-j ${chain}`), plain(`-g ${chain}`)]);
  if (table === "nat") {
    const nat = drawNatTarget(random, place);
    return random.pick([nat, nat, nat, plain("-j RETURN"), plain(`-j ${drawXmark(random)}`), ...jumps]);
  }
  return random.pick([
    ...jumps,
    plain("-j ACCEPT"),
    plain("-j ACCEPT"),
    plain("-j RETURN"),
    plain("-j RETURN"),
    plain(table === "filter" || random.below(3) === 0 ? "-j DROP" : ""),
    plain(`-j ${drawXmark(random)}`),
    plain(`-j ${drawXmark(random)}`),
    plain(`-j ${drawXmark(random)}`),
    plain(`-j CONNMARK --${random.pick(["save-mark", "restore-mark", "set-xmark 0x3/0xf"])}`),
    plain(`-j SET --${random.pick(["add", "del"])}-set hosts${family} ${random.pick(["src", "dst"])}`),
    plain(""),
    ...(table === "filter"
      ? [
          plain(`-j REJECT --reject-with ${random.pick(rejects[family])}`),
          plain(`-j REJECT --reject-with ${random.pick(rejects[family])}`),
          { text: "-j REJECT --reject-with tcp-reset", protocol: "tcp" },
        ]
      : []),
    ...(table === "mangle"
      ? [
          plain(family === 4 ? "-j TTL --ttl-set 63" : "-j HL --hl-set 63"),
          plain(`-j DSCP --set-dscp ${random.pick(["0x0a", "0x2e"])}`),
        ]
      : []),
    ...(table === "raw" ? [plain("-j CT --notrack"), plain("-j CT --notrack")] : []),
  ]);
}

/** A rule, or two or three about marks, one behind the other. */
function drawRules(random: Prng, place: Place, chain: string): readonly string[] {
  const { text, protocol } = drawTarget(random, place);
  const one = `-A ${chain} ${drawMatches(random, place, protocol)}${text}`.trimEnd();
  if (place.table === "nat" || random.below(5) > 0) return [one];
  const asked = `-m mark ${not(random)}--mark ${random.pick(marks)}/${random.pick(masks)} `;
  return [
    `-A ${chain} ${drawMatches(random, place)}-j ${drawXmark(random)}`,
    `-A ${chain} -j ${drawXmark(random)}`,
    `-A ${chain} ${asked}${protocol === undefined ? text : "-j RETURN"}`.trimEnd(),
  ];
}

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
    if (table === "nat" && (chain === "INPUT" || chain === "OUTPUT")) continue;
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
    ...(random.below(2) === 0 ? drawTable(random, family, "nat") : []),
    ...drawTable(random, family, "filter"),
  ];
}
