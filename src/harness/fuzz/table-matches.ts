/**
 * Random conditions of a rule, of every kind that packets alone can answer. What depends on time is drawn so that the
 * answer is the same within the seconds that a case takes: rates of one an hour, weeks of seven days.
 */
import type { Prng } from "../../base/index.ts";
import { setsOf } from "./table-sets.ts";
import {
  drawAddress,
  drawNet,
  drawPorts,
  drawSome,
  type Family,
  not,
  type Place,
  worlds,
} from "./table-world.ts";

const marks = ["0x0", "0x1", "0x2", "0x3", "0x10", "0x4000", "0xffffffff"];
const masks = ["0xffffffff", "0x1", "0x2", "0x3", "0xf0", "0x4000"];

export const drawMark = (random: Prng): string => `${random.pick(marks)}/${random.pick(masks)}`;

/** `-p` and what stands behind it; nat targets with ports and tcp-reset need a certain one. */
export function drawProtocol(random: Prng, family: Family, wanted?: string): string {
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
    case "syn":
      return "-p tcp -m tcp --tcp-flags SYN,RST SYN ";
    default: {
      const many = `-m multiport ${not(random)}--${random.pick(["dports", "sports", "ports"])} ${drawPorts(random)},${drawPorts(random)} `;
      const form = random.below(4);
      if (form === 0) return `-p ${protocol} ${many}`;
      const test = form === 1 ? "" : random.pick(transportTests[protocol as Transport])(random);
      return `-p ${protocol} -m ${protocol} ${test}`;
    }
  }
}

type Draw = (random: Prng) => string;
type Transport = "tcp" | "udp" | "sctp";

const portTests: readonly Draw[] = [
  (random) => `${not(random)}--dport ${drawPorts(random)} `,
  (random) => `${not(random)}--dport ${drawPorts(random)} `,
  (random) => `${not(random)}--sport ${drawPorts(random)} `,
];

const transportTests: Readonly<Record<Transport, readonly Draw[]>> = {
  udp: portTests,
  tcp: [
    ...portTests,
    (random) =>
      `${not(random)}--tcp-flags ${random.pick(["SYN,RST,ACK SYN", "ALL NONE", "ACK ACK", "FIN,ACK FIN,ACK"])} `,
    (random) => `${not(random)}--tcp-option ${random.pick(["2", "3"])} `,
    (random) => `-m tcpmss ${not(random)}--mss ${random.pick(["1460", "0:1000", "1000:1500"])} `,
    (random) => `-m ecn ${not(random)}--ecn-tcp-${random.pick(["cwr", "ece"])} `,
  ],
  sctp: [
    ...portTests,
    (random) =>
      `${not(random)}--chunk-types ${random.pick(["any INIT", "any DATA,INIT", "any INIT_ACK", "all INIT", "only COOKIE_ACK"])} `,
  ],
};

const inputHooks = ["PREROUTING", "INPUT", "FORWARD"];
export const outputHooks: readonly string[] = ["FORWARD", "OUTPUT", "POSTROUTING"];

const isWithin = ({ hooks }: Place, allowed: readonly string[]): boolean =>
  hooks.every((hook) => allowed.includes(hook));

export function drawHead(random: Prng, place: Place): string {
  const { family } = place;
  const parts = [
    `${not(random)}-s ${drawNet(random, family)} `,
    `${not(random)}-d ${drawNet(random, family)} `,
    ...(family === 4 && random.below(8) === 0 ? [`${not(random)}-f `] : []),
    ...(isWithin(place, inputHooks) ? [`${not(random)}-i ${random.pick(["in0", "out0", "in+"])} `] : []),
    ...(isWithin(place, outputHooks) ? [`${not(random)}-o ${random.pick(["in0", "out0", "o+"])} `] : []),
  ];
  return random.below(2) === 0 ? "" : random.pick(parts);
}

export function drawSetMatch(random: Prng, { family }: Place): string {
  const { name, dimensions, counts } = random.pick(setsOf(family));
  const flags = Array.from({ length: dimensions }, () => random.pick(["src", "dst"]));
  const nomatch = random.below(8) === 0 ? " --return-nomatch" : "";
  const counters =
    counts && random.below(3) === 0
      ? `${random.pick(["", " ! --update-counters"])} --${random.pick(["packets-lt 9", "packets-gt 3", "bytes-gt 500", "bytes-lt 900"])}`
      : "";
  return `-m set ${not(random)}--match-set ${name} ${flags.join(",")}${nomatch}${counters} `;
}

const states = ["NEW", "ESTABLISHED", "RELATED", "INVALID", "UNTRACKED"];

type DrawAt = (random: Prng, place: Place) => string;

/** Of the state of connections. */
const connectionMatches: readonly DrawAt[] = [
  (random) => `-m connmark ${not(random)}--mark ${drawMark(random)} `,
  (random) => `-m conntrack ${not(random)}--ctstate ${drawSome(random, states).join(",")} `,
  (random) => `-m state ${not(random)}--state ${drawSome(random, states).join(",")} `,
  (random) => `-m conntrack ${not(random)}--ctstate ${random.pick(["DNAT", "SNAT", "NEW"])} `,
  (random, { family }) =>
    `-m conntrack ${not(random)}--${random.pick(["ctorigsrc", "ctorigdst", "ctreplsrc", "ctrepldst"])} ${drawNet(random, family)} `,
  (random) =>
    `-m conntrack ${not(random)}--${random.pick(["ctorigsrcport", "ctorigdstport", "ctreplsrcport", "ctrepldstport"])} ${drawPorts(random)} `,
  (random) => `-m conntrack ${not(random)}--ctproto ${random.pick(["6", "17", "132"])} `,
  (random) => `-m conntrack ${not(random)}--ctexpire ${random.pick(["0:600", "0:100", "601:1000000"])} `,
  (random) => `-m conntrack --ctdir ${random.pick(["ORIGINAL", "REPLY"])} `,
  (random) =>
    `-m conntrack ${not(random)}--ctstatus ${random.pick(["SEEN_REPLY", "ASSURED", "CONFIRMED", "NONE"])} `,
  (random) =>
    `-m connbytes ${not(random)}--connbytes ${random.pick(["0:2", "3:", "100:400"])} --connbytes-dir ${random.pick(["original", "reply", "both"])} --connbytes-mode ${random.pick(["packets", "bytes", "avgpkt"])} `,
];

/** Of the header's bytes. */
const headerMatches: readonly DrawAt[] = [
  (random, { family }) => {
    const [a, b] = [drawAddress(random, family), drawAddress(random, family)];
    return `-m iprange ${not(random)}--${random.pick(["src", "dst"])}-range ${a}-${b} `;
  },
  (random) => `-m length ${not(random)}--length ${random.pick(["0:48", "40:60", "61:65535"])} `,
  (random, { family }) =>
    family === 4
      ? `-m ttl --ttl-${random.pick(["gt", "lt", "eq"])} ${random.pick(["63", "64", "62"])} `
      : `-m hl --hl-${random.pick(["gt", "lt", "eq"])} ${random.pick(["63", "64", "62"])} `,
  (random) => `-m tos ${not(random)}--tos ${random.pick(["0x10", "0x28", "0x00"])}/0x3f `,
  (random) => `-m dscp ${not(random)}--dscp ${random.pick(["0x0a", "0x00", "0x2e"])} `,
  (random) => `-m ecn ${not(random)}--ecn-ip-ect ${random.pick(["0", "3"])} `,
  (random, { family }) => `-m u32 ${not(random)}--u32 ${random.pick(u32Tests[family])} `,
  (random, { family }) => `-m bpf --bytecode "${random.pick(programs[family])}" `,
];

/** A source port behind the header's length, the protocol, bits of the first word, what lies behind the end. */
const u32Tests: Readonly<Record<Family, readonly string[]>> = {
  4: [
    '"0>>22&0x3C@0>>16=0x50"',
    '"6&0xFF=0x6,0x11"',
    '"0&0xFFFF=0x28:0x40"',
    '"6&0xFF=0x11&&0>>22&0x3C@0&0xFFFF=0x35:0x51"',
    '"60=0x0:0xFFFFFFFF"',
  ],
  6: [
    '"3&0xFF00>>8=0x0"',
    '"4&0xFF00>>8=0x6,0x11"',
    '"40>>16=0x50:0x51"',
    '"40&0xFFFF=0x35:0x51"',
    '"70=0x0:0xFFFFFFFF"',
  ],
};

/** TCP alone, a destination port, longer than so many bytes. */
const programs: Readonly<Record<Family, readonly string[]>> = {
  4: [
    "4,48 0 0 9,21 0 1 6,6 0 0 1,6 0 0 0",
    "5,177 0 0 0,72 0 0 2,21 0 1 80,6 0 0 1,6 0 0 0",
    "4,128 0 0 0,37 0 1 50,6 0 0 1,6 0 0 0",
  ],
  6: [
    "4,48 0 0 6,21 0 1 6,6 0 0 1,6 0 0 0",
    "4,40 0 0 42,21 0 1 80,6 0 0 1,6 0 0 0",
    "4,128 0 0 0,37 0 1 70,6 0 0 1,6 0 0 0",
  ],
};

/** What may be asked of a list of recent clients. */
export const recentQuestions: readonly string[] = [
  "",
  " --hitcount 2",
  " --seconds 600",
  " --rttl",
  " --seconds 600 --hitcount 3",
];

/** A name stands for the side and the mask by which a list is kept. */
export function drawRecentList(random: Prng, family: Family): string {
  const side = random.pick(["source", "dest"]);
  const mask = family === 4 ? random.pick(["", " --mask 255.255.255.0"]) : "";
  return `--name ${side}s${mask === "" ? "" : "net"}${mask} --r${side}`;
}

/** That answer by what came before. A name stands for one way of counting: rules that share it share the counts. */
const statefulMatches: readonly DrawAt[] = [
  (random) =>
    `-m statistic --mode nth ${not(random)}--every ${random.pick(["2", "3"])} --packet ${random.pick(["0", "1"])} `,
  (random) => `-m statistic --mode random ${not(random)}--probability ${random.pick(["0", "1"])} `,
  (random) => `-m limit --limit 1/hour --limit-burst ${random.pick([1, 3, 20])} `,
  (random, { family }) => {
    const [mode, burst] = [
      random.pick(["srcip", "dstip,dstport", "srcip,srcport", "dstip"]),
      random.pick([1, 4]),
    ];
    const holds = random.pick(["upto", "above"]);
    const mask = mode === "dstip" ? ` --hashlimit-dstmask ${family === 4 ? 24 : 64}` : "";
    return `-m hashlimit --hashlimit-${holds} 1/hour --hashlimit-burst ${burst} --hashlimit-mode ${mode}${mask} --hashlimit-name ${holds[0]}${burst}${mode.replaceAll(",", "")} `;
  },
  (random, { family }) => {
    const list = drawRecentList(random, family);
    const how = random.pick(recentQuestions);
    return random.pick([
      `-m recent --set ${list} `,
      `-m recent ${not(random)}--rcheck${how} ${list} `,
      `-m recent ${not(random)}--update${how} ${list} `,
      `-m recent ${not(random)}--remove ${list} `,
    ]);
  },
  (random) => `-m quota ${not(random)}--quota ${random.pick([100, 1000, 4000])} `,
  (random) => `-m time ${not(random)}--weekdays Mon,Tue,Wed,Thu,Fri,Sat,Sun `,
];

/** Of what the node knows. */
const nodeMatches: readonly DrawAt[] = [
  (random) =>
    `-m addrtype ${not(random)}--${random.pick(["src", "dst"])}-type ${random.pick(["LOCAL", "UNICAST", "MULTICAST"])} `,
  (random, place) =>
    isWithin(place, ["PREROUTING", "INPUT"])
      ? `-m addrtype ${not(random)}--dst-type LOCAL --limit-iface-in `
      : `-m addrtype ${not(random)}--src-type LOCAL ${not(random)}--dst-type LOCAL `,
  (random, place) =>
    isWithin(place, inputHooks) ? `-m mac ${not(random)}--mac-source 02:00:00:00:00:00 ` : "",
  (random, place) =>
    isWithin(place, ["PREROUTING", "INPUT"]) ? `-m socket ${random.pick(["", "--transparent "])}` : "",
  (random) => `-m pkttype ${not(random)}--pkt-type ${random.pick(["unicast", "multicast"])} `,
  (random, place) =>
    isWithin(place, ["PREROUTING"]) && place.table !== "nat"
      ? `-m rpfilter ${drawSome(random, ["--loose", "--validmark", "--accept-local", "--invert"]).join(" ")} `
      : "",
  (random, place) =>
    isWithin(place, ["FORWARD"])
      ? `-m physdev ${not(random)}${random.pick(["--physdev-is-bridged", "--physdev-is-in", "--physdev-in in0"])} `
      : "",
  () => "-m comment --comment why ",
];

const markMatch: DrawAt = (random) => `-m mark ${not(random)}--mark ${drawMark(random)} `;

const otherMatches: readonly (readonly DrawAt[])[] = [
  [markMatch],
  connectionMatches,
  headerMatches,
  statefulMatches,
  nodeMatches,
];

/** Conditions of a rule; `protocol`: the one that its target asks for. */
export function drawMatches(random: Prng, place: Place, protocol?: string): string {
  const sets = random.below(2) === 0 ? drawSetMatch(random, place) : "";
  const others = Array.from({ length: random.pick([0, 0, 1, 1, 2]) }, () =>
    random.pick(random.pick(otherMatches))(random, place),
  );
  return drawHead(random, place) + drawProtocol(random, place.family, protocol) + sets + others.join("");
}
