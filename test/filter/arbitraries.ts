/**
 * Random rule sets, sets and packets of small, colliding worlds: few addresses at the edges of few prefixes, few ports,
 * overlapping marks. A wide world would almost never make two rules meet on one packet.
 */
import fc from "fast-check";
import { type Cidr, cidrOf } from "../../src/addr/index.ts";
import { RejectKind } from "../../src/filter/index.ts";
import type { IpsetEntry, IpsetRepr, IpsetType } from "../../src/filter/ipset/index.ts";
import { LiveSet } from "../../src/filter/ipset/index.ts";
import type { AddrType, Match, Rule, Ruleset, Target } from "../../src/filter/iptables/index.ts";
import { ip } from "./node.ts";

export const addresses: { readonly 4: readonly string[]; readonly 6: readonly string[] } = {
  4: [
    "10.0.0.0",
    "10.0.0.1",
    "10.0.0.3",
    "10.0.0.4",
    "10.0.0.255",
    "10.0.1.0",
    "10.255.255.255",
    "192.0.2.1",
    "224.0.0.5",
  ],
  6: [
    "fd00::",
    "fd00::1",
    "fd00::3",
    "fd00::4",
    "fd00:0:0:1::",
    "fd00:0:0:1::1",
    "fdff::1",
    "2001:db8::1",
    "ff02::5",
  ],
};
const prefixes = { 4: [8, 16, 24, 30, 31, 32], 6: [8, 16, 64, 126, 127, 128] } as const;
export const ports: readonly number[] = [0, 79, 80, 81, 443, 8000, 65535];
export const setNames = ["nets", "more-nets", "hosts", "ports", "netports", "lists"] as const;
export const interfaceNames: readonly string[] = ["lo", "eth0", "azv1", "azv22"];

const not = fc.constantFrom({}, {}, { not: true } as const);
const port = fc.constantFrom(...ports);
const marks = fc.constantFrom(0, 1, 2, 3, 0x10, 0x4000, 0xffffffff);
const masks = fc.constantFrom(0xffffffff, 1, 2, 3, 0xf0, 0x4000);

const range = fc.tuple(port, port).map(([a, b]): [number, number] => [Math.min(a, b), Math.max(a, b)]);

function rarely<T>(arbitrary: fc.Arbitrary<T>): fc.Arbitrary<T | null> {
  return fc.oneof({ weight: 4, arbitrary: fc.constant(null) }, { weight: 1, arbitrary });
}

export function net(family: 4 | 6): fc.Arbitrary<Cidr> {
  return fc
    .tuple(fc.constantFrom(...addresses[family]), fc.constantFrom(...prefixes[family]))
    .map(([address, prefix]) => cidrOf(ip(address), prefix));
}

/** The protocol of a rule and what belongs to it. */
function protocolMatches(family: 4 | 6): fc.Arbitrary<readonly Match[]> {
  // A range of all ports asks nothing, and the kernel does not keep it.
  const partial = range.filter(([min, max]) => min > 0 || max < 65535);
  const portMatches = fc
    .tuple(fc.option(fc.tuple(partial, not)), fc.option(fc.tuple(partial, not)))
    .map(([s, d]): Match[] => [
      ...(s === null ? [] : [{ kind: "sport" as const, min: s[0][0], max: s[0][1], ...s[1] }]),
      ...(d === null ? [] : [{ kind: "dport" as const, min: d[0][0], max: d[0][1], ...d[1] }]),
    ]);
  const flags = fc.option(
    fc
      .tuple(fc.constantFrom(0x3f, 0x17, 0x12, 2), fc.constantFrom(0, 2, 0x12, 0x10), not)
      .map(
        ([mask, value, negation]): Match => ({ kind: "tcp-flags", mask, value: value & mask, ...negation }),
      ),
  );
  const multiport = fc
    .tuple(
      fc.constantFrom("sports" as const, "dports" as const, "ports" as const),
      fc.array(range, { minLength: 1, maxLength: 5 }),
      not,
    )
    .map(([field, ranges, negation]): Match => ({ kind: "multiport", field, ranges, ...negation }));
  const transports = fc.constantFrom(["tcp", 6] as const, ["udp", 17] as const, ["sctp", 132] as const);
  const icmp = fc
    .tuple(fc.constantFrom(0, 3, 8, 128, 129), fc.option(fc.constantFrom(0, 1, 4)), not)
    .map(([type, code, negation]): readonly Match[] => [
      { kind: "protocol", protocol: family === 4 ? 1 : 58 },
      { kind: "icmp-type", type, ...(code === null ? {} : { code }), ...negation },
    ]);
  const own = fc
    .tuple(transports, portMatches, flags)
    .map(([[name, protocol], more, tcpFlags]): readonly Match[] => [
      { kind: "protocol", protocol },
      { kind: "transport", protocol: name },
      ...more,
      ...(name === "tcp" && tcpFlags !== null ? [tcpFlags] : []),
    ]);
  const many = fc
    .tuple(transports, multiport)
    .map(([[, protocol], match]): readonly Match[] => [{ kind: "protocol", protocol }, match]);
  const bare = fc
    .tuple(fc.constantFrom(6, 17, 47, 132), not)
    .map(([protocol, negation]): readonly Match[] => [{ kind: "protocol", protocol, ...negation }]);
  return fc.oneof({ weight: 3, arbitrary: fc.constant([]) }, { weight: 3, arbitrary: own }, many, icmp, bare);
}

const addrType = (family: 4 | 6): fc.Arbitrary<AddrType> =>
  fc.constantFrom<AddrType>("LOCAL", "UNICAST", "MULTICAST", ...(family === 4 ? ["BROADCAST" as const] : []));
const side = fc.constantFrom("src" as const, "dst" as const);

/** Matches that go with any protocol. `text` is any comment. */
function otherMatch(family: 4 | 6, comments: fc.Arbitrary<string>): fc.Arbitrary<Match> {
  return fc.oneof(
    {
      weight: 4,
      arbitrary: fc
        .tuple(fc.constantFrom(...setNames), fc.array(side, { minLength: 1, maxLength: 2 }), not)
        .map(([set, flags, negation]): Match => ({ kind: "set", set, flags, ...negation })),
    },
    {
      weight: 4,
      arbitrary: fc.tuple(marks, masks, not).map(
        ([value, mask, negation]): Match => ({
          kind: "mark",
          value: (value & mask) >>> 0,
          mask,
          ...negation,
        }),
      ),
    },
    {
      weight: 2,
      arbitrary: fc
        .tuple(fc.integer({ min: 1, max: 31 }), not)
        .map(([states, negation]): Match => ({ kind: "ctstate", states, ...negation })),
    },
    fc.tuple(fc.option(addrType(family)), addrType(family), not, not).map(
      ([src, dst, a, b]): Match => ({
        kind: "addrtype",
        ...(src === null ? {} : { src: { type: src, ...a } }),
        dst: { type: dst, ...b },
      }),
    ),
    fc
      .tuple(fc.constantFrom(0, 1), not)
      .map(
        ([probability, negation]): Match => ({ kind: "statistic", mode: "random", probability, ...negation }),
      ),
    comments.map((text): Match => ({ kind: "comment", text })),
  );
}

function headMatches(family: 4 | 6): fc.Arbitrary<readonly Match[]> {
  const names = fc.constantFrom("eth0", "azv1", "azv+", "azv2+", "lo");
  return fc
    .tuple(
      fc.option(fc.tuple(net(family), not), { freq: 1 }),
      fc.option(fc.tuple(net(family), not), { freq: 1 }),
      rarely(fc.tuple(names, not)),
      rarely(fc.tuple(names, not)),
    )
    .map(([s, d, i, o]): readonly Match[] => [
      ...(s === null ? [] : [{ kind: "source" as const, net: s[0], ...s[1] }]),
      ...(d === null ? [] : [{ kind: "destination" as const, net: d[0], ...d[1] }]),
      ...(i === null ? [] : [{ kind: "in-interface" as const, name: i[0], ...i[1] }]),
      ...(o === null ? [] : [{ kind: "out-interface" as const, name: o[0], ...o[1] }]),
    ]);
}

const rejects = {
  4: [RejectKind.portUnreachable, RejectKind.adminProhibited, RejectKind.netUnreachable],
  6: [RejectKind.noRoute, RejectKind.adminProhibited, RejectKind.portUnreachable],
} as const;

/** `below`: chains that this rule may jump to. */
function target(family: 4 | 6, below: readonly string[]): fc.Arbitrary<Target | undefined> {
  const jumps = below.map((chain) =>
    fc.constantFrom<Target>({ kind: "jump", chain }, { kind: "jump", chain }, { kind: "goto", chain }),
  );
  return fc.oneof(
    fc.constantFrom<Target>({ kind: "ACCEPT" }, { kind: "DROP" }, { kind: "RETURN" }),
    fc.constantFrom(...rejects[family]).map((kind): Target => ({ kind: "REJECT", with: kind })),
    {
      weight: 3,
      arbitrary: fc.tuple(marks, masks).map(([value, mask]): Target => ({ kind: "MARK", value, mask })),
    },
    fc.constant<Target>({ kind: "LOG", prefix: "seen: ", level: 6 }),
    fc.constant(undefined),
    ...jumps.map((arbitrary) => ({ weight: 2, arbitrary })),
  );
}

export interface RuleOptions {
  readonly comments?: fc.Arbitrary<string>;
}

function rule(
  family: 4 | 6,
  below: readonly string[],
  { comments = fc.constant("why") }: RuleOptions,
): fc.Arbitrary<Rule> {
  return fc
    .tuple(
      headMatches(family),
      protocolMatches(family),
      fc.array(otherMatch(family, comments), { maxLength: 2 }),
      target(family, below),
    )
    .map(([head, protocol, more, to]) => ({ matches: [...head, ...protocol, ...more], target: to }));
}

/** Table filter with three user chains; every jump leads to a later chain, so there is no loop. */
export function ruleset(family: 4 | 6, options: RuleOptions = {}): fc.Arbitrary<Ruleset> {
  const users = ["A", "B-CHAIN", "C"];
  const rules = (below: readonly string[]) => fc.array(rule(family, below, options), { maxLength: 6 });
  return fc
    .tuple(
      fc.constantFrom("ACCEPT" as const, "DROP" as const),
      rules(users),
      rules(users.slice(1)),
      rules(users.slice(2)),
      rules([]),
    )
    .map(([policy, forward, ...user]) => ({
      family,
      tables: {
        filter: {
          name: "filter",
          chains: [
            { name: "INPUT", policy: "ACCEPT", rules: [] },
            { name: "FORWARD", policy, rules: forward },
            { name: "OUTPUT", policy: "ACCEPT", rules: [] },
            ...users.map((name, i) => ({ name, rules: user[i] ?? [] })),
          ],
        },
      },
    }));
}

function entries(type: IpsetType, family: 4 | 6): fc.Arbitrary<IpsetEntry[]> {
  const host = fc.constantFrom(...addresses[family]).map((text) => cidrOf(ip(text), family === 4 ? 32 : 128));
  const address = type.startsWith("hash:net") ? net(family) : host;
  const transport = fc.tuple(fc.constantFrom(6, 17, 132, 47), port).map(([protocol, value]) => ({
    protocol,
    port: protocol === 47 ? 0 : value,
  }));
  const element = fc.tuple(address, type.endsWith(",port") ? transport : fc.constant({}), fc.boolean()).map(
    ([where, key, no]): IpsetEntry => ({
      net: where,
      ...key,
      ...(no && type.startsWith("hash:net") ? { nomatch: true } : {}),
    }),
  );
  return fc.array(element, { maxLength: 8 });
}

/** The six sets that rules refer to, entries in canonical order. */
export function sets(family: 4 | 6): fc.Arbitrary<ReadonlyMap<string, IpsetRepr>> {
  const types = ["hash:net", "hash:net", "hash:ip", "hash:ip,port", "hash:net,port"] as const;
  return fc
    .tuple(
      fc.tuple(...types.map((type) => entries(type, family))),
      fc.uniqueArray(fc.constantFrom(...setNames.slice(0, 5)), { maxLength: 3 }),
    )
    .map(([lists, members]) => {
      const hashes = types.map((type, i): IpsetRepr => {
        const repr: IpsetRepr = {
          name: setNames[i] ?? "",
          type,
          family,
          hashsize: 1024,
          maxelem: 65536,
          entries: lists[i] ?? [],
        };
        return LiveSet.from(repr).toRepr();
      });
      const list: IpsetRepr = {
        name: "lists",
        type: "list:set",
        family: 4,
        hashsize: 1024,
        maxelem: 8,
        entries: members.map((set) => ({ set })),
      };
      return new Map([...hashes, list].map((set) => [set.name, set]));
    });
}

export interface PacketSpec {
  readonly protocol: "tcp" | "udp" | "sctp" | "icmp" | "gre";
  readonly src: string;
  readonly dst: string;
  readonly sport: number;
  readonly dport: number;
  readonly flags: number;
  readonly mark: number;
  /** Of `CtState`, 1..5. */
  readonly ctState: number;
  readonly iif: number;
  readonly oif: number;
  readonly isLaterFragment: boolean;
}

export function packet(family: 4 | 6): fc.Arbitrary<PacketSpec> {
  return fc.record({
    protocol: fc.constantFrom("tcp", "udp", "sctp", "icmp", "gre"),
    src: fc.constantFrom(...addresses[family]),
    dst: fc.constantFrom(...addresses[family]),
    sport: port,
    dport: port,
    flags: fc.constantFrom(2, 0x12, 0x10, 0x11, 4),
    mark: marks,
    ctState: fc.integer({ min: 1, max: 5 }),
    iif: fc.integer({ min: 1, max: 4 }),
    oif: fc.integer({ min: 1, max: 4 }),
    isLaterFragment: fc.boolean().map((x) => x && family === 4),
  });
}
