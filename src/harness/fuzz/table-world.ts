/**
 * The small, colliding world of random rule sets: few addresses at the edges of few prefixes, few ports. In a wide world
 * two rules would almost never meet on one packet, and a wrong one would go unnoticed.
 */
import type { Prng } from "../../base/index.ts";

export type Family = 4 | 6;

/** Where a rule stands; what it may say depends on it. */
export interface Place {
  readonly family: Family;
  readonly table: string;
  /** Built-in chains from which the rule can be reached. */
  readonly hooks: readonly string[];
  /** Chains that it may jump to. */
  readonly below: readonly string[];
}

export interface World {
  /** Behind `in0` of the two-device node. */
  readonly inside: readonly string[];
  /** Behind `out0`. */
  readonly outside: readonly string[];
  /** The node itself. */
  readonly node: string;
  /** Of nobody: what rules translate to. */
  readonly pool: readonly string[];
  readonly loopback: string;
  /** What a net is mapped to whole. */
  readonly netmap: string;
  readonly prefixes: readonly number[];
  readonly icmp: "icmp" | "icmpv6";
}

export const worlds: Readonly<Record<Family, World>> = {
  4: {
    inside: ["10.0.0.1", "10.0.0.3", "10.0.0.4", "10.0.0.255", "10.0.1.0"],
    outside: ["203.0.113.1", "203.0.113.127", "203.0.113.128"],
    node: "192.0.2.1",
    pool: ["198.51.100.1", "198.51.100.2", "10.9.0.1"],
    loopback: "127.0.0.1",
    netmap: "10.0.0.0/30",
    prefixes: [1, 8, 24, 25, 30, 31, 32, 32],
    icmp: "icmp",
  },
  6: {
    inside: ["fd00::1", "fd00::3", "fd00::4", "fd00:0:0:1::5", "fdff::1"],
    outside: ["2001:db8:5::1", "2001:db8:5::7f", "2001:db8:5::80"],
    node: "2001:db8::1",
    pool: ["2001:db8:9::1", "2001:db8:9::2", "fd00:9::1"],
    loopback: "::1",
    netmap: "fd00::/126",
    prefixes: [1, 8, 48, 64, 121, 126, 127, 128, 128],
    icmp: "icmpv6",
  },
};

export const ports: readonly number[] = [53, 79, 80, 81, 443, 5000];

export function drawAddress(random: Prng, family: Family): string {
  const { inside, outside, node } = worlds[family];
  return random.pick([random.pick(inside), random.pick(inside), random.pick(outside), node]);
}

export function drawNet(random: Prng, family: Family): string {
  return `${drawAddress(random, family)}/${random.pick(worlds[family].prefixes)}`;
}

/** `80`, or `79:81`. */
export function drawPorts(random: Prng): string {
  const [a, b] = [random.pick(ports), random.pick(ports)];
  return a === b || random.below(2) === 0 ? String(a) : `${Math.min(a, b)}:${Math.max(a, b)}`;
}

/** Of so many items some, at least one. */
export function drawSome<T>(random: Prng, items: readonly T[]): readonly T[] {
  const some = items.filter(() => random.below(2) === 0);
  return some.length > 0 ? some : [random.pick(items)];
}

export const not = (random: Prng): string => (random.below(3) === 0 ? "! " : "");
