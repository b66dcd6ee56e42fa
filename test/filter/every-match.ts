/** Random matches and targets of every kind that table filter takes, in the canonical form that a listing has. */
import fc from "fast-check";
import type { AddrType, Match, Rule, Target } from "../../src/filter/iptables/index.ts";
import { addresses, net, ports, setNames } from "./arbitraries.ts";
import { ip } from "./node.ts";

const not = fc.constantFrom({}, {}, { not: true } as const);
const maybe = <T>(arbitrary: fc.Arbitrary<T>): fc.Arbitrary<T | undefined> =>
  fc.option(arbitrary, { nil: undefined });
const range = (most: number): fc.Arbitrary<readonly [number, number]> =>
  fc.tuple(fc.nat(most), fc.nat(most)).map(([a, b]) => [Math.min(a, b), Math.max(a, b)]);
const port = fc.constantFrom(...ports);
const portRange = fc.tuple(port, port).map(([a, b]): [number, number] => [Math.min(a, b), Math.max(a, b)]);
const word = fc.constantFrom(0, 1, 5, 0x10, 0xf0, 0x4000, 0xffffffff);
const side = fc.constantFrom("src" as const, "dst" as const);

/** Without the fields that are undefined. */
function compact<T extends object>(value: T): T {
  return Object.fromEntries(Object.entries(value).filter(([, field]) => field !== undefined)) as T;
}

const address = (family: 4 | 6) => fc.constantFrom(...addresses[family]).map(ip);

function addressMatches(family: 4 | 6): readonly fc.Arbitrary<Match>[] {
  const ipRange = fc
    .tuple(address(family), address(family), not)
    .map(([from, to, negation]) => ({ from, to, ...negation }));
  const types: readonly AddrType[] =
    family === 4 ? ["UNICAST", "LOCAL", "BROADCAST", "MULTICAST"] : ["UNICAST", "LOCAL", "MULTICAST"];
  const typeTest = fc.tuple(fc.subarray([...types], { minLength: 1 }), not).map(([list, negation]) => {
    const [only] = list;
    return { type: list.length === 1 && only !== undefined ? only : list, ...negation };
  });
  return [
    fc
      .tuple(maybe(ipRange), ipRange)
      .map(([src, dst]): Match => compact({ kind: "iprange" as const, src, dst } as Match)),
    fc
      .tuple(typeTest, maybe(typeTest))
      .map(([src, dst]): Match => compact({ kind: "addrtype" as const, src, dst } as Match)),
    fc
      .tuple(fc.constantFrom("unicast" as const, "broadcast" as const, "multicast" as const), not)
      .map(([type, negation]): Match => ({ kind: "pkttype", type, ...negation })),
    not.map((negation): Match => ({ kind: "mac", source: "02:00:00:00:00:0a", ...negation })),
  ];
}

const u32Test = fc
  .tuple(
    fc.constantFrom(0, 2, 6, 8, 12, 16, 20, 40),
    fc.array(
      fc.oneof(
        fc.tuple(fc.constant("&" as const), fc.constantFrom(0xff, 0x3c, 0xffff)),
        fc.tuple(fc.constant("<<" as const), fc.nat(31)),
        fc.tuple(fc.constant(">>" as const), fc.nat(31)),
        fc.tuple(fc.constant("@" as const), fc.nat(12)),
      ),
      { maxLength: 3 },
    ),
    fc.array(range(0xffff), { minLength: 1, maxLength: 2 }),
  )
  .map(([at, steps, values]) => ({
    location: [{ op: "" as const, number: at }, ...steps.map(([op, number]) => ({ op, number }))],
    values,
  }));

const headerMatches: readonly fc.Arbitrary<Match>[] = [
  fc.tuple(range(200), not).map(([span, negation]): Match => ({ kind: "length", range: span, ...negation })),
  fc
    .tuple(fc.nat(255), not)
    .map(([value, negation]): Match => ({ kind: "ttl", op: "eq", value, ...negation })),
  fc
    .tuple(fc.constantFrom("lt" as const, "gt" as const), fc.constantFrom(5, 63, 64))
    .map(([op, value]): Match => ({ kind: "ttl", op, value })),
  fc
    .tuple(fc.constantFrom(0, 0x10, 0x28, 0xb8), fc.constantFrom(0x3f, 0xff, 0xfc), not)
    .map(([value, mask, negation]): Match => ({ kind: "tos", value, mask, ...negation })),
  fc.tuple(fc.nat(63), not).map(([value, negation]): Match => ({ kind: "dscp", value, ...negation })),
  fc.tuple(fc.nat(3), not).map(([value, negation]): Match => ({ kind: "ecn", ect: { value, ...negation } })),
  fc
    .tuple(fc.array(u32Test, { minLength: 1, maxLength: 2 }), not)
    .map(([tests, negation]): Match => ({ kind: "u32", tests, ...negation })),
];

function connectionMatches(family: 4 | 6): readonly fc.Arbitrary<Match>[] {
  const netTest = fc.tuple(net(family), not).map(([prefix, negation]) => ({ net: prefix, ...negation }));
  const portTest = fc.tuple(portRange, not).map(([span, negation]) => ({ range: span, ...negation }));
  const bits = (most: number) => fc.tuple(fc.integer({ min: 1, max: most }), not);
  return [
    fc.tuple(bits(127), fc.constantFrom(undefined, "state" as const)).map(
      ([[states, negation], module]): Match =>
        compact({
          kind: "ctstate",
          states: module === undefined ? states : states & 31 || 1,
          module,
          ...negation,
        } as Match),
    ),
    fc
      .record({
        states: maybe(bits(31).map(([value, negation]) => ({ bits: value, ...negation }))),
        protocol: maybe(
          fc.tuple(fc.constantFrom(6, 17), not).map(([value, negation]) => ({ value, ...negation })),
        ),
        origSrc: maybe(netTest),
        replDst: maybe(netTest),
        origDstPort: maybe(portTest),
        replSrcPort: maybe(portTest),
        status: bits(15).map(([value, negation]) => ({ bits: value & 15, ...negation })),
        direction: maybe(fc.constantFrom("ORIGINAL" as const, "REPLY" as const)),
      })
      .map((fields): Match => compact({ kind: "conntrack", ...fields } as Match)),
    fc
      .tuple(word, word, not)
      .map(([value, mask, negation]): Match => ({ kind: "connmark", value, mask, ...negation })),
  ];
}

/**
 * Every protocol's own, with the `-p` that they need. The tool prints no flags of I_DATA chunks, so there are none; and a
 * negated chunk match that finds no chunk counts in iptables-legacy before it drops, so a duel leaves it out.
 */
function protocolMatches(family: 4 | 6, isForDuel: boolean): fc.Arbitrary<readonly Match[]> {
  const chunks = fc.subarray([0, 1, 2, 3, 6, 7, 64, 130, 192], { minLength: 1 }).chain((types) =>
    fc.array(fc.constantFrom(0, 1, 2, 3), { minLength: types.length, maxLength: types.length }).map((masks) =>
      types.map((type, i) => {
        const mask = type === 0 ? (masks[i] ?? 0) : 0;
        return { type, mask, flags: mask & 1 };
      }),
    ),
  );
  return fc.oneof(
    fc.constant<readonly Match[]>([]),
    fc
      .tuple(fc.constantFrom(2, 3, 8), not, range(2000), not)
      .map(([option, a, span, b]): readonly Match[] => [
        { kind: "protocol", protocol: 6 },
        { kind: "transport", protocol: "tcp" },
        { kind: "tcp-option", option, ...a },
        { kind: "tcp-mss", range: span, ...b },
      ]),
    fc
      .tuple(fc.constantFrom("any" as const, "all" as const, "only" as const), chunks, not)
      .map(([mode, list, negation]): readonly Match[] => [
        { kind: "protocol", protocol: 132 },
        { kind: "transport", protocol: "sctp" },
        { kind: "sctp-chunks", mode, chunks: list, ...(isForDuel ? {} : negation) },
      ]),
    fc
      .tuple(fc.constantFrom(1, 3, 8, 128, 129), maybe(fc.nat(4)), not)
      .map(([type, code, negation]): readonly Match[] => [
        { kind: "protocol", protocol: family === 4 ? 1 : 58 },
        compact({ kind: "icmp-type", type, code, ...negation } as Match),
      ]),
  );
}

const setMatch = fc
  .record({
    set: fc.constantFrom(...setNames),
    flags: fc.array(side, { minLength: 1, maxLength: 3 }),
    negation: not,
    returnNomatch: maybe(fc.constant(true as const)),
    keepCounters: maybe(fc.constant(true as const)),
    keepSubcounters: maybe(fc.constant(true as const)),
    packets: maybe(
      fc.record({
        op: fc.constantFrom("eq" as const, "ne" as const, "lt" as const, "gt" as const),
        value: fc.nat(9),
      }),
    ),
  })
  .map(({ negation, ...fields }): Match => compact({ kind: "set", ...fields, ...negation } as Match));

const rate = fc.constantFrom(
  { count: 5, per: "sec" as const },
  { count: 1000, per: "sec" as const },
  { count: 7, per: "min" as const },
  { count: 3, per: "hour" as const },
);

/** Matches whose answer depends on what came before; verdicts are compared elsewhere. */
function statefulMatches(family: 4 | 6): readonly fc.Arbitrary<Match>[] {
  const mask = ip(family === 4 ? "255.255.255.255" : "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff");
  return [
    fc
      .tuple(rate, fc.constantFrom(1, 5, 9))
      .map(([each, burst]): Match => ({ kind: "limit", rate: each, burst })),
    fc
      .tuple(
        fc.constantFrom("upto" as const, "above" as const),
        rate,
        fc.subarray(["srcip", "srcport", "dstip", "dstport"] as const, { minLength: 1 }),
        fc.nat(999_999),
      )
      .map(
        ([holds, each, mode, name]): Match => ({
          kind: "hashlimit",
          holds,
          rate: each,
          burst: 5,
          name: `h${name}`,
          mode,
        }),
      ),
    fc
      .tuple(
        fc.constantFrom("rcheck" as const, "update" as const),
        maybe(fc.integer({ min: 1, max: 99 })),
        maybe(fc.integer({ min: 1, max: 20 })),
        not,
      )
      .map(
        ([action, seconds, hitCount, negation]): Match =>
          compact({
            kind: "recent",
            action,
            name: "seen",
            seconds,
            hitCount,
            mask,
            side: "source",
            ...negation,
          } as Match),
      ),
    fc.tuple(fc.integer({ min: 2, max: 9 }), fc.nat(1), not).map(
      ([every, packet, negation]): Match => ({
        kind: "statistic",
        mode: "nth",
        every,
        packet,
        ...negation,
      }),
    ),
    fc
      .tuple(
        fc.nat(86_399),
        fc.nat(86_399),
        fc.integer({ min: 1, max: 127 }),
        fc.integer({ min: 1, max: 0x7fffffff }),
      )
      .map(
        ([start, stop, weekdays, monthdays]): Match => ({
          kind: "time",
          start,
          stop,
          dateStart: (86_400 * monthdays) % 1_000_000_000,
          dateStop: 0x7fffffff,
          monthdays: (monthdays << 1) >>> 0,
          weekdays: weekdays << 1,
        }),
      ),
    fc.tuple(fc.nat(9999), not).map(([bytes, negation]): Match => ({ kind: "quota", bytes, ...negation })),
  ];
}

/** A rule's conditions: heads, a protocol's own, and up to two others; for a duel without what draws or remembers. */
export function conditions(family: 4 | 6, isForDuel = false): fc.Arbitrary<readonly Match[]> {
  const head = fc
    .tuple(maybe(net(family)), not, maybe(fc.constantFrom("in0", "out+")))
    .map(([source, negation, name]): readonly Match[] => [
      ...(source === undefined ? [] : [{ kind: "source" as const, net: source, ...negation }]),
      ...(name === undefined ? [] : [{ kind: "in-interface" as const, name }]),
    ]);
  const others = fc.oneof(
    ...addressMatches(family),
    ...headerMatches,
    ...connectionMatches(family),
    setMatch,
    ...(isForDuel ? [] : statefulMatches(family)),
  );
  return fc
    .tuple(head, protocolMatches(family, isForDuel), fc.array(others, { maxLength: 2 }))
    .map((parts): readonly Match[] => parts.flat());
}

const targets: fc.Arbitrary<Target | undefined> = fc.oneof(
  fc.tuple(word, word).map(([value, mask]): Target => ({ kind: "CONNMARK", action: "set", value, mask })),
  fc
    .tuple(fc.constantFrom("save" as const, "restore" as const), word, word)
    .map(([action, nfMask, ctMask]): Target => ({ kind: "CONNMARK", action, nfMask, ctMask })),
  fc
    .tuple(
      fc.constantFrom("", "a b: "),
      fc.nat(7),
      fc.subarray(["tcp-sequence", "ip-options", "uid"] as const),
    )
    .map(
      ([prefix, level, flags]): Target =>
        compact({ kind: "LOG", prefix, level, flags: flags.length > 0 ? flags : undefined } as Target),
    ),
  fc
    .tuple(fc.constantFrom("", "x"), fc.nat(9))
    .map(([prefix, group]): Target => ({ kind: "NFLOG", prefix, group })),
  fc.tuple(fc.nat(5), fc.nat(5)).map(([from, more]): Target => ({ kind: "NFQUEUE", from, to: from + more })),
  fc
    .tuple(fc.constantFrom("hosts", "nets"), side, maybe(fc.constant(true as const)))
    .map(
      ([set, one, exist]): Target =>
        compact({ kind: "SET", action: "add", set, flags: [one], exist } as Target),
    ),
  fc.constantFrom<Target>({ kind: "DROP" }, { kind: "AUDIT", type: "drop" }),
  fc.constant(undefined),
);

export function rulesOfEveryKind(family: 4 | 6): fc.Arbitrary<readonly Rule[]> {
  const rule = fc.tuple(conditions(family), targets).map(([matches, target]): Rule => ({ matches, target }));
  return fc.array(rule, { minLength: 1, maxLength: 12 });
}
