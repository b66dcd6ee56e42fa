/**
 * The tables evaluated straight from the Repr, with recursion and objects, sharing nothing with the linked program: a
 * second reading of iptables(8), iptables-extensions(8) and ipset(8) to hold the fast one to.
 */
import { type Cidr, cidrContains, type Ip } from "../../src/addr/index.ts";
import type { IpsetEntry, IpsetRepr } from "../../src/filter/ipset/index.ts";
import type { Chain, Match, Rule, Ruleset } from "../../src/filter/iptables/index.ts";
import { interfaceNames, type PacketSpec } from "./arbitraries.ts";
import { ip } from "./node.ts";

export interface NaiveVerdict {
  readonly verdict: "accept" | "drop" | "reject";
  /** `chain number` of the deciding rule; undefined for a policy. */
  readonly rule: string | undefined;
  readonly mark: number;
  readonly rejectWith?: number;
}

const protocolNumbers = { tcp: 6, udp: 17, sctp: 132, gre: 47 } as const;
export const icmpEchoType = { 4: 8, 6: 128 } as const;

interface World {
  readonly family: 4 | 6;
  readonly packet: PacketSpec;
  readonly src: Ip;
  readonly dst: Ip;
  readonly protocol: number;
  readonly sets: ReadonlyMap<string, IpsetRepr>;
  readonly chains: ReadonlyMap<string, Chain>;
  mark: number;
}

export function naiveForward(
  ruleset: Ruleset,
  sets: ReadonlyMap<string, IpsetRepr>,
  packet: PacketSpec,
): NaiveVerdict {
  const { family } = ruleset;
  const icmp = family === 4 ? 1 : 58;
  const world: World = {
    family,
    packet,
    src: ip(packet.src),
    dst: ip(packet.dst),
    protocol: packet.protocol === "icmp" ? icmp : protocolNumbers[packet.protocol],
    sets,
    chains: new Map((ruleset.tables.filter?.chains ?? []).map((chain) => [chain.name, chain])),
    mark: packet.mark,
  };
  const forward = world.chains.get("FORWARD");
  const decided = forward === undefined ? undefined : walk(world, forward);
  if (decided !== undefined && decided !== "return") return { ...decided, mark: world.mark };
  return { verdict: forward?.policy === "DROP" ? "drop" : "accept", rule: undefined, mark: world.mark };
}

type Decided = Omit<NaiveVerdict, "mark">;

function walk(world: World, chain: Chain): Decided | "return" {
  for (const [i, rule] of chain.rules.entries()) {
    if (!matchesAll(world, rule)) continue;
    const here = `${chain.name} ${i + 1}`;
    const { target } = rule;
    switch (target?.kind) {
      case "ACCEPT":
        return { verdict: "accept", rule: here };
      case "DROP":
        return { verdict: "drop", rule: here };
      case "REJECT":
        return { verdict: "reject", rule: here, rejectWith: target.with };
      case "RETURN":
        return "return";
      case "MARK":
        world.mark = ((world.mark & ~target.mask) ^ target.value) >>> 0;
        break;
      case "jump":
      case "goto": {
        const called = world.chains.get(target.chain);
        if (called === undefined) throw new Error(`no chain ${target.chain}`);
        const answer = walk(world, called);
        if (answer !== "return") return answer;
        if (target.kind === "goto") return "return";
        break;
      }
      default:
        break;
    }
  }
  return "return";
}

function matchesAll(world: World, rule: Rule): boolean {
  return rule.matches.every((match) => holds(world, match) !== ("not" in match && match.not === true));
}

function holds(world: World, match: Match): boolean {
  const { packet, src, dst, protocol } = world;
  const hasPorts = !packet.isLaterFragment && ["tcp", "udp", "sctp"].includes(packet.protocol);
  const within = (value: number, min: number, max: number): boolean => value >= min && value <= max;
  switch (match.kind) {
    case "protocol":
      return match.protocol === 0 || match.protocol === protocol;
    case "source":
      return cidrContains(match.net, src);
    case "destination":
      return cidrContains(match.net, dst);
    case "in-interface":
      return fitsName(match.name, packet.iif);
    case "out-interface":
      return fitsName(match.name, packet.oif);
    case "sport":
      return portHolds(hasPorts, within(packet.sport, match.min, match.max), match.not);
    case "dport":
      return portHolds(hasPorts, within(packet.dport, match.min, match.max), match.not);
    case "multiport": {
      const values = { sports: [packet.sport], dports: [packet.dport], ports: [packet.sport, packet.dport] }[
        match.field
      ];
      return portHolds(
        hasPorts,
        match.ranges.some(([min, max]) => values.some((value) => within(value, min, max))),
        match.not,
      );
    }
    case "transport":
      return hasPorts && packet.protocol === match.protocol;
    case "tcp-flags":
      return portHolds(
        hasPorts && packet.protocol === "tcp",
        (packet.flags & match.mask) === match.value,
        match.not,
      );
    case "icmp-type": {
      const isType = icmpEchoType[world.family] === match.type && (match.code ?? 0) === 0;
      return portHolds(packet.protocol === "icmp" && !packet.isLaterFragment, isType, match.not);
    }
    case "set":
      return setHolds(world, world.sets.get(match.set), match.flags);
    case "mark":
      return ((world.mark & match.mask) ^ match.value) === 0;
    case "ctstate":
      return (match.states & ([0, 8, 2, 4, 1, 16][packet.ctState] ?? 0)) !== 0;
    case "addrtype":
      return (["src", "dst"] as const).every((side) => {
        const wanted = match[side];
        if (wanted === undefined) return true;
        return isOfType(world.family, packet[side], wanted.type) !== (wanted.not === true);
      });
    case "statistic":
      return match.mode === "random" && match.probability === 1;
    case "owner":
      return false;
    case "comment":
      return true;
    default:
      throw new Error(`the naive reading does not know ${match.kind}`);
  }
}

/** A packet without the header never matches, negated or not: answer what the negation turns into false. */
function portHolds(isReadable: boolean, value: boolean, not: boolean | undefined): boolean {
  return isReadable ? value : not === true;
}

function fitsName(pattern: string, index: number): boolean {
  const name = interfaceNames[index - 1] ?? "";
  return pattern.endsWith("+") ? name.startsWith(pattern.slice(0, -1)) : name === pattern;
}

/** An IPv4 address has one type; an IPv6 one may be unicast and local at once (xt_addrtype.c). */
function isOfType(family: 4 | 6, text: string, type: unknown): boolean {
  const isLocal = text === "192.0.2.1" || text === "2001:db8::1";
  const isMulticast = text.startsWith("224.") || text.startsWith("ff02:");
  if (type === "LOCAL") return isLocal;
  if (type === "MULTICAST") return isMulticast;
  return type === "UNICAST" && !isMulticast && (family === 6 || !isLocal);
}

function setHolds(world: World, set: IpsetRepr | undefined, flags: readonly ("src" | "dst")[]): boolean {
  if (set === undefined) return false;
  if (set.type === "list:set")
    return set.entries.some(({ set: name }) => setHolds(world, world.sets.get(name ?? ""), flags));
  if (set.family !== world.family) return false;
  const address = flags[0] === "src" ? world.src : world.dst;
  let candidates: readonly IpsetEntry[] = set.entries;
  if (set.type.endsWith(",port")) {
    if (flags.length < 2) return false;
    const { packet, protocol } = world;
    const isOther = packet.protocol === "gre";
    if (packet.isLaterFragment && !isOther) return false;
    const icmpKey = icmpEchoType[world.family] * 256;
    const side = flags[1] === "src" ? packet.sport : packet.dport;
    const key = packet.protocol === "icmp" ? icmpKey : isOther ? 0 : side;
    candidates = candidates.filter((entry) => entry.protocol === protocol && entry.port === key);
  }
  const inside = candidates.filter(({ net }) => net !== undefined && cidrContains(net as Cidr, address));
  const best = inside.reduce<IpsetEntry | undefined>(
    (a, b) => (a === undefined || (b.net?.prefix ?? 0) > (a.net?.prefix ?? 0) ? b : a),
    undefined,
  );
  return best !== undefined && best.nomatch !== true;
}
