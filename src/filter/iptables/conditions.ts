/**
 * What the matches of a rule ask of a connection's ends, protocol and port, once everything is known of the packet but these:
 * its state, its flags, the interfaces that it crosses. What that leaves open is undecided, and only the walk knows.
 * What each match means to the kernel stands in the file of `matches/` that tests it.
 */
import type { Cidr, Ip } from "../../addr/index.ts";
import type { AddressMap, AddressTest, MarkTest } from "../../base/index.ts";
import { IpProtocol } from "../../wire/index.ts";
import type { Membership } from "../ipset/index.ts";
import { commonServices, everyService, otherServices, type Services, servicesOf } from "../service-ranges.ts";
import { blocksOf } from "./address-blocks.ts";
import { addrTypeBits } from "./address-type.ts";
import type { AddrType, Match, MatchOf, Range, SetMatch } from "./match.ts";
import { anyIcmpType } from "./matches/icmp.ts";
import { isPlainSet } from "./matches/index.ts";
import { ownerHolds, physdevHolds } from "./matches/node.ts";
import { AddressTypeValue } from "./type-map.ts";

/** What is known of a packet. */
export interface KnownPacket {
  readonly family: 4 | 6;
  /** Bits of `CtStateBit`: those that are set, and those that may be. */
  readonly states: { readonly sure: number; readonly possible: number };
  /** The first of its connection, and tracked as that. */
  readonly isFirst: boolean;
  /** The mark of its connection; `undefined`: a rule may have set it, or there is no connection yet. */
  readonly connmark: number | undefined;
  readonly services: Services;
  readonly sourcePorts: Range;
  readonly tcpFlags: number | undefined;
  /** Whether the interface fits the pattern; `undefined`: some that it may be do. */
  fits(direction: "in" | "out", pattern: string): boolean | undefined;
  /** Types of address, by `AddressTypeValue`. */
  readonly addressTypes: AddressMap;
  membership(set: string): Membership | undefined;
}

export interface Condition {
  readonly source: readonly AddressTest[];
  readonly destination: readonly AddressTest[];
  readonly services: Services;
  readonly marks: readonly MarkTest[];
  /** More is asked, and may hold or not. */
  readonly isUndecided: boolean;
}

type Side = "source" | "destination";

/** Ways in which all the matches can hold, which exclude one another; none: they never do. */
export function conditionsOf(matches: readonly Match[], packet: KnownPacket): readonly Condition[] {
  const draft = new Draft(packet);
  for (const match of matches) {
    const holds = draft.add(match);
    if (holds === false || draft.services.length === 0) return [];
    if (holds === undefined) draft.isUndecided = true;
  }
  return draft.conditions();
}

interface PortTest {
  readonly side: Side;
  readonly membership: Membership & { readonly services: readonly Services[] };
  readonly not: boolean;
}

const transports: readonly number[] = [IpProtocol.tcp, IpProtocol.udp, IpProtocol.sctp];

/** The conditions of one rule so far. */
class Draft {
  readonly tests: { readonly source: AddressTest[]; readonly destination: AddressTest[] } = {
    source: [],
    destination: [],
  };
  readonly marks: MarkTest[] = [];
  readonly portTests: PortTest[] = [];
  readonly #packet: KnownPacket;
  services: Services;
  isUndecided = false;

  constructor(packet: KnownPacket) {
    this.#packet = packet;
    this.services = packet.services;
  }

  conditions(): readonly Condition[] {
    const { marks, isUndecided } = this;
    const { source, destination } = this.tests;
    let all: readonly Condition[] = [{ source, destination, services: this.services, marks, isUndecided }];
    for (const test of this.portTests) all = all.flatMap((condition) => split(condition, test));
    return all;
  }

  /** Whether the match holds where the tests that it adds do; `undefined`: nobody can tell. */
  add(match: Match): boolean | undefined {
    const packet = this.#packet;
    switch (match.kind) {
      case "comment":
      case "transport": // the header is there
        return true;
      case "source":
      case "destination":
        return match.net.prefix === 0
          ? isNot(match, true)
          : this.#test(match.kind, netMap(match.net), 1, match.not);
      case "in-interface":
        return isNot(match, packet.fits("in", match.name));
      case "out-interface":
        return isNot(match, packet.fits("out", match.name));
      case "fragment":
        return isNot(match, false);
      case "mac": // where there is no link layer, and no socket, these fail even negated
      case "socket":
      case "cgroup":
        return false;
      case "owner":
        return ownerHolds(match);
      case "physdev":
        return physdevHolds(match);
      case "mark":
        this.marks.push({ mask: match.mask, value: match.value, ...(match.not ? { not: true } : {}) });
        return true;
      case "set":
        return this.#addSet(match);
      case "iprange":
        return this.#addRange(match);
      case "addrtype":
        return this.#addTypes(match);
      case "ctstate":
        return isNot(match, isInState(match, packet.states));
      case "conntrack":
        return this.#addConntrack(match);
      case "connmark": {
        if (packet.connmark === undefined) return undefined;
        return isNot(match, (packet.connmark & match.mask) >>> 0 === match.value >>> 0);
      }
      default:
        return this.#addTransport(match);
    }
  }

  #addTransport(match: Match): boolean | undefined {
    const { sourcePorts, tcpFlags } = this.#packet;
    switch (match.kind) {
      case "protocol":
        return match.protocol === 0 || this.#restrict(protocolServices(match.protocol), match.not);
      case "sport":
        return this.#hasPorts() ? isNot(match, portsFit([[match.min, match.max]], sourcePorts)) : undefined;
      case "dport":
        return this.#hasPorts() ? this.#restrictPorts([[match.min, match.max]], match.not) : undefined;
      case "multiport": {
        if (!this.#hasPorts()) return undefined;
        if (match.field === "dports") return this.#restrictPorts(match.ranges, match.not);
        const fits = portsFit(match.ranges, sourcePorts);
        if (match.field === "sports" || fits !== false) return isNot(match, fits);
        return this.#restrictPorts(match.ranges, match.not);
      }
      case "tcp-flags":
        if (tcpFlags === undefined || !this.#isOf(IpProtocol.tcp)) return undefined;
        return isNot(match, (tcpFlags & match.mask) === match.value);
      case "icmp-type": {
        const protocol = this.#packet.family === 4 ? IpProtocol.icmp : IpProtocol.icmpv6;
        if (!this.#isOf(protocol)) return undefined;
        if (match.type === anyIcmpType) return isNot(match, match.code === undefined || match.code === 0);
        const isMatched = match.code === undefined || match.code === 0; // a request's code
        return isMatched
          ? this.#restrict([{ protocol, first: match.type, last: match.type }], match.not)
          : isNot(match, false);
      }
      default:
        return undefined;
    }
  }

  #test(side: Side, map: AddressMap, value: number, not: boolean | undefined): true {
    this.tests[side].push({ map, value, ...(not ? { not } : {}) });
    return true;
  }

  #restrict(services: Services, not: boolean | undefined): true {
    this.services = commonServices(this.services, not ? otherServices(services) : services);
    return true;
  }

  #restrictPorts(ranges: readonly Range[], not: boolean | undefined): true {
    const inside = servicesOf(
      this.services.flatMap(({ protocol, first, last }) =>
        ranges.flatMap(([min, max]) =>
          min <= last && max >= first
            ? [{ protocol, first: Math.max(first, min), last: Math.min(last, max) }]
            : [],
        ),
      ),
    );
    this.services = not ? commonServices(this.services, otherServices(inside)) : inside;
    return true;
  }

  #hasPorts(): boolean {
    return this.services.every(({ protocol }) => transports.includes(protocol));
  }

  #isOf(protocol: number): boolean {
    return this.services.every((range) => range.protocol === protocol);
  }

  #addSet(match: SetMatch): boolean | undefined {
    const membership = isPlainSet(match) ? this.#packet.membership(match.set) : undefined;
    if (membership === undefined) return undefined;
    const { map, services } = membership;
    const [first, second] = match.flags;
    if (map.entries.length === 0 || (services !== undefined && second === undefined))
      return isNot(match, false);
    const side = first === "src" ? "source" : "destination";
    if (services === undefined) return this.#test(side, map, 1, match.not);
    if (second === "src") return match.not ? undefined : this.#test(side, map, 0, true) && undefined;
    this.portTests.push({ side, membership: { map, services }, not: match.not === true });
    return true;
  }

  #addRange({ src, dst }: MatchOf<"iprange">): true {
    if (src !== undefined) this.#test("source", rangeMap(src), 1, src.not);
    if (dst !== undefined) this.#test("destination", rangeMap(dst), 1, dst.not);
    return true;
  }

  #addTypes({ src, dst, limitInterface }: MatchOf<"addrtype">): boolean | undefined {
    if (limitInterface !== undefined) return undefined;
    const { family, addressTypes } = this.#packet;
    const sides: readonly Side[] = ["source", "destination"];
    for (const side of sides) {
      const test = side === "source" ? src : dst;
      if (test === undefined) continue;
      const wanted = addrTypeBits(test.type);
      if (family === 6 && !known6.includes(wanted)) return undefined;
      const isFitting = ([type]: (typeof toldApart)[number]): boolean =>
        ((wanted & addrTypeBits(type)) !== 0) !== (test.not === true);
      const fitting = toldApart.filter(isFitting);
      const others = toldApart.filter((one) => !isFitting(one));
      const [only] = fitting;
      if (only === undefined) return false;
      if (fitting.length === 1) this.#test(side, addressTypes, only[1], false);
      else for (const [, value] of others) this.#test(side, addressTypes, value, true);
    }
    return true;
  }

  /** Of a connection's first packet, not translated yet. */
  #addConntrack(match: MatchOf<"conntrack">): boolean | undefined {
    const { isFirst, sourcePorts } = this.#packet;
    if (!isFirst) return undefined;
    const { states, protocol, status, expires, direction } = match;
    const answers: (boolean | undefined)[] = [];
    if (states !== undefined)
      answers.push(isNot(states, isInState({ states: states.bits }, this.#packet.states)));
    if (direction !== undefined) answers.push(direction === "ORIGINAL");
    if (protocol !== undefined) answers.push(this.#restrict(protocolServices(protocol.value), protocol.not));
    if (status !== undefined) answers.push(isNot(status, false)); // none of the bits is set yet
    if (expires !== undefined) answers.push(isNot(expires, expires.range[0] === 0));
    for (const [side, test] of [
      ["source", match.origSrc],
      ["destination", match.origDst],
      ["destination", match.replSrc],
      ["source", match.replDst],
    ] as const)
      if (test !== undefined)
        answers.push(
          test.net.prefix === 0 ? isNot(test, true) : this.#test(side, netMap(test.net), 1, test.not),
        );
    for (const test of [match.origDstPort, match.replSrcPort])
      if (test !== undefined)
        answers.push(this.#hasPorts() ? this.#restrictPorts([test.range], test.not) : undefined);
    for (const test of [match.origSrcPort, match.replDstPort])
      if (test !== undefined)
        answers.push(this.#hasPorts() ? isNot(test, portsFit([test.range], sourcePorts)) : undefined);
    if (answers.includes(false)) return false;
    return answers.includes(undefined) ? undefined : true;
  }
}

const toldApart: readonly (readonly [type: AddrType, value: number])[] = [
  ["UNICAST", AddressTypeValue.unicast],
  ["LOCAL", AddressTypeValue.local],
  ["BROADCAST", AddressTypeValue.broadcast],
  ["MULTICAST", AddressTypeValue.multicast],
];

/** The kernel tells IPv6's types apart one by one; UNICAST of IPv6 means local addresses too. */
const known6: readonly number[] = [addrTypeBits("LOCAL"), addrTypeBits("MULTICAST")];

/** The conditions under which a test of address and port holds: one for each list of ports that addresses have. */
function split(condition: Condition, { side, membership, not }: PortTest): readonly Condition[] {
  const { map, services } = membership;
  const ways: Condition[] = [];
  const add = (value: number, wanted: Services): void => {
    const both = commonServices(condition.services, wanted);
    const tests = [...condition[side], { map, value }];
    if (both.length > 0) ways.push({ ...condition, services: both, [side]: tests });
  };
  if (not) add(0, everyService);
  services.forEach((own, i) => {
    add(i + 1, not ? otherServices(own) : own);
  });
  return ways;
}

/** Whether the packet is in one of the states (bits of `CtStateBit`). */
export function isInState(
  { states }: { readonly states: number },
  { sure, possible }: KnownPacket["states"],
): boolean | undefined {
  if (sure & states) return true;
  return (possible & states) === 0 ? false : undefined;
}

export function isNot(test: { readonly not?: boolean }, holds: boolean | undefined): boolean | undefined {
  return holds === undefined ? undefined : holds !== (test.not === true);
}

const servicesByProtocol = new Map(everyService.map((range) => [range.protocol, [range]]));

function protocolServices(protocol: number): Services {
  return servicesByProtocol.get(protocol) ?? [];
}

/** Whether all of the ports are in one of the ranges, or none. */
function portsFit(ranges: readonly Range[], [first, last]: Range): boolean | undefined {
  const inside = commonServices(
    [{ protocol: 0, first, last }],
    servicesOf(ranges.map(([min, max]) => ({ protocol: 0, first: min, last: max }))),
  );
  const [only] = inside;
  if (only === undefined) return false;
  return only.first === first && only.last === last ? true : undefined;
}

const netMaps = new WeakMap<Cidr, AddressMap>();

function netMap(net: Cidr): AddressMap {
  let map = netMaps.get(net);
  if (map === undefined) {
    map = { entries: [[net, 1]] };
    netMaps.set(net, map);
  }
  return map;
}

const rangeMaps = new WeakMap<object, AddressMap>();

function rangeMap(range: { readonly from: Ip; readonly to: Ip }): AddressMap {
  let map = rangeMaps.get(range);
  if (map === undefined) {
    map = { entries: blocksOf(range.from, range.to).map((block) => [block, 1]) };
    rangeMaps.set(range, map);
  }
  return map;
}
