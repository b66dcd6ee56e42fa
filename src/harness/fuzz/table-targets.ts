/** Random targets of rules: verdicts, marks, changes of sets and headers, translations, rejections, events. */
import type { Prng } from "../../base/index.ts";
import { drawMark, outputHooks } from "./table-matches.ts";
import { setsOf } from "./table-sets.ts";
import { type Family, type Place, worlds } from "./table-world.ts";

export interface DrawnTarget {
  readonly text: string;
  /** That the rule must ask for. */
  readonly protocol?: string;
}

const plain = (text: string): DrawnTarget => ({ text });

export const drawXmark = (random: Prng): string => `MARK --set-xmark ${drawMark(random)}`;

/** What REJECT can answer; `tcp-reset` apart, which needs `-p tcp`. */
export const rejectKinds: Readonly<Record<Family, readonly string[]>> = {
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

function drawNatTarget(random: Prng, { family, hooks }: Place): DrawnTarget {
  const { pool, inside, outside, netmap, loopback } = worlds[family];
  const protocol = random.pick(["tcp", "udp", "sctp", "none"]);
  const bracket = (address: string, port: string): string =>
    port === "" ? address : family === 4 ? `${address}:${port}` : `[${address}]:${port}`;
  const port = protocol === "none" ? "" : random.pick(["", "", "80", "5000", "2000-2003"]);
  const how = random.pick(["", "", "", " --random", " --persistent"]);
  const isDestination = hooks.every((hook) => hook === "PREROUTING" || hook === "OUTPUT");
  const mapped = plain(`-j NETMAP --to ${netmap}`);
  if (random.below(6) === 0) return mapped;
  if (isDestination) {
    const to = random.pick([random.pick(pool), random.pick(inside), random.pick(outside), loopback]);
    const dnat = `-j DNAT --to-destination ${bracket(to, port)}${how}`;
    const ports = protocol === "none" ? "" : random.pick(["", " --to-ports 80", " --to-ports 2000-2003"]);
    return { text: random.pick([dnat, dnat, `-j REDIRECT${ports}`, "-j ACCEPT"]), protocol };
  }
  const snat = `-j SNAT --to-source ${bracket(random.pick(pool), port)}${how}`;
  if (hooks.includes("INPUT")) return { text: random.pick([snat, "-j ACCEPT"]), protocol };
  const ports = protocol === "none" ? "" : random.pick(["", "", " --to-ports 2000-2003"]);
  return { text: random.pick([snat, snat, `-j MASQUERADE${ports}`, "-j ACCEPT"]), protocol };
}

function drawSetTarget(random: Prng, { family, table }: Place): DrawnTarget {
  const { name, dimensions } = random.pick(setsOf(family).filter(({ canChange }) => canChange));
  const flags = Array.from({ length: dimensions }, () => random.pick(["src", "dst"])).join(",");
  return random.pick([
    plain(`-j SET --add-set ${name} ${flags}${random.pick(["", " --exist"])}`),
    plain(`-j SET --add-set timed${family} ${random.pick(["src", "dst"])} --exist --timeout 600`),
    plain(`-j SET --del-set ${name} ${flags}`),
    plain(
      table === "mangle" ? `-j SET --map-set carried${family} ${random.pick(["src", "dst"])} --map-mark` : "",
    ),
  ]);
}

const events: readonly string[] = [
  "-j NFLOG --nflog-group 3 --nflog-prefix seen",
  "-j NFQUEUE --queue-num 9 --queue-bypass",
  "-j NFQUEUE --queue-num 9",
  "-j LOG --log-prefix seen",
];

/** Of table mangle. */
function drawEdit(random: Prng, { family, hooks }: Place): DrawnTarget {
  const hops = family === 4 ? "TTL --ttl" : "HL --hl";
  const leaves = hooks.every((hook) => outputHooks.includes(hook));
  return random.pick([
    plain(`-j ${hops}-${random.pick(["set 63", "inc 1", "dec 1"])}`),
    plain(`-j DSCP --set-dscp ${random.pick(["0x0a", "0x2e"])}`),
    plain(`-j TOS --set-tos ${random.pick(["0x10/0x3f", "0x04/0xff", "0x00/0x3c"])}`),
    plain("-j CHECKSUM --checksum-fill"),
    plain(leaves ? "-j CLASSIFY --set-class 0001:0002" : ""),
    { text: `-j TCPMSS --set-mss ${random.pick([400, 1000, 1459, 1460])}`, protocol: "syn" },
    leaves ? { text: "-j TCPMSS --clamp-mss-to-pmtu", protocol: "syn" } : plain(""),
    hooks.every((hook) => hook === "PREROUTING")
      ? {
          text: "-j TPROXY --on-port 1 --tproxy-mark 0x1/0x1",
          protocol: random.pick(["tcp", "udp"]),
        }
      : plain(""),
  ]);
}

export const drawZone = (random: Prng): string =>
  `CT ${random.pick(["--zone 1", "--zone 2", "--zone-orig 1", "--zone-reply 1", "--zone mark"])}`;

function drawCt(random: Prng): DrawnTarget {
  return plain(
    `-j ${random.pick(["CT --notrack", "CT --notrack", "TRACE", drawZone(random), drawZone(random)])}`,
  );
}

export function drawConnmark(random: Prng): string {
  return `CONNMARK --${random.pick([
    "save-mark",
    "restore-mark",
    "set-xmark 0x3/0xf",
    `save-mark --nfmask 0x3 --ctmask ${random.pick(["0xff", "0x3"])}`,
    `restore-mark --nfmask ${random.pick(["0xf0", "0xff"])} --ctmask ${random.pick(["0xff", "0x2"])}`,
  ])}`;
}

export function drawTarget(random: Prng, place: Place): DrawnTarget {
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
    plain(`-j ${drawConnmark(random)}`),
    drawSetTarget(random, place),
    drawSetTarget(random, place),
    plain(random.below(4) === 0 ? random.pick(events) : ""),
    ...(table === "filter"
      ? [
          plain(`-j REJECT --reject-with ${random.pick(rejectKinds[family])}`),
          plain(`-j REJECT --reject-with ${random.pick(rejectKinds[family])}`),
          { text: "-j REJECT --reject-with tcp-reset", protocol: "tcp" },
        ]
      : []),
    ...(table === "mangle" ? [drawEdit(random, place), drawEdit(random, place)] : []),
    ...(table === "raw" ? [drawCt(random), drawCt(random)] : []),
  ]);
}
