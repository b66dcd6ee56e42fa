/** Random ipsets, as lines of an `ipset restore` file: the same names every time, members at the edges of prefixes. */
import type { Prng } from "../../base/index.ts";
import { drawAddress, drawNet, type Family, ports, worlds } from "./table-world.ts";

interface SetShape {
  readonly type: string;
  readonly dimensions: number;
  /** Behind the type and family. */
  readonly options?: string;
  /** Has an own address family: `undefined` for both. */
  readonly only?: Family;
  /** Rules may add and delete members. */
  readonly canChange?: boolean;
  member(random: Prng, family: Family): string;
}

const nomatch = (random: Prng): string => (random.below(3) === 0 ? " nomatch" : "");

function drawTransport(random: Prng, family: Family): string {
  const port = random.pick(ports);
  return random.pick([
    `tcp:${port}`,
    `tcp:${port}`,
    `udp:${port}`,
    `sctp:${port}`,
    `${worlds[family].icmp}:echo-request`,
  ]);
}

const shapes: Readonly<Record<string, SetShape>> = {
  hosts: { type: "hash:ip", dimensions: 1, canChange: true, member: drawAddress },
  counted: { type: "hash:ip", dimensions: 1, options: "counters", canChange: true, member: drawAddress },
  timed: { type: "hash:ip", dimensions: 1, options: "timeout 900", canChange: true, member: drawAddress },
  carried: {
    type: "hash:ip",
    dimensions: 1,
    options: "skbinfo",
    member: (random, family) =>
      `${drawAddress(random, family)} skbmark ${random.pick(["0x1/0x3", "0x10/0xf0"])}`,
  },
  masked: {
    type: "hash:ip",
    dimensions: 1,
    options: "netmask",
    canChange: true,
    member: drawAddress,
  },
  nets: {
    type: "hash:net",
    dimensions: 1,
    canChange: true,
    member: (random, family) => drawNet(random, family) + nomatch(random),
  },
  more: {
    type: "hash:net",
    dimensions: 1,
    member: (random, family) => drawNet(random, family) + nomatch(random),
  },
  ports: {
    type: "hash:ip,port",
    dimensions: 2,
    canChange: true,
    member: (random, family) => `${drawAddress(random, family)},${drawTransport(random, family)}`,
  },
  netports: {
    type: "hash:net,port",
    dimensions: 2,
    canChange: true,
    member: (random, family) =>
      `${drawNet(random, family)},${drawTransport(random, family)}${nomatch(random)}`,
  },
  pairs: {
    type: "hash:ip,port,ip",
    dimensions: 3,
    canChange: true,
    member: (random, family) =>
      `${drawAddress(random, family)},${drawTransport(random, family)},${drawAddress(random, family)}`,
  },
  ways: {
    type: "hash:net,iface",
    dimensions: 2,
    canChange: true,
    member: (random, family) =>
      `${drawNet(random, family)},${random.pick(["in0", "out0", "lo"])}${nomatch(random)}`,
  },
  bits: {
    type: "bitmap:ip range 10.0.0.0-10.0.1.255",
    dimensions: 1,
    only: 4,
    canChange: true,
    member: (random) => random.pick(worlds[4].inside),
  },
  numbers: {
    type: "bitmap:port range 0-1000",
    dimensions: 1,
    canChange: true,
    member: (random) => String(random.pick(ports.filter((port) => port <= 1000))),
  },
  triples: {
    type: "hash:ip,port,net",
    dimensions: 3,
    canChange: true,
    member: (random, family) =>
      `${drawAddress(random, family)},${drawTransport(random, family)},${drawNet(random, family)}${nomatch(random)}`,
  },
};

export interface DrawnSet {
  readonly name: string;
  readonly dimensions: number;
  readonly counts: boolean;
  readonly canChange: boolean;
}

const shapesOf = (family: Family): readonly (readonly [string, SetShape])[] =>
  Object.entries(shapes).filter(([, { only }]) => only === undefined || only === family);

const setsByFamily: Readonly<Record<Family, readonly DrawnSet[]>> = { 4: namesOf(4), 6: namesOf(6) };

function namesOf(family: Family): readonly DrawnSet[] {
  return [
    ...shapesOf(family).map(([name, { dimensions, options, canChange }]) => ({
      name: `${name}${family}`,
      dimensions,
      counts: options === "counters",
      canChange: canChange === true,
    })),
    { name: `list${family}`, dimensions: 2, counts: false, canChange: true },
  ];
}

/** Sets that rules of a family may name, with what they ask for. */
export function setsOf(family: Family): readonly DrawnSet[] {
  return setsByFamily[family];
}

function createLine(name: string, { type, options = "" }: SetShape, family: Family): string {
  if (type.startsWith("bitmap:")) return `create ${name} ${type}`;
  const own = options === "netmask" ? `netmask ${family === 4 ? 24 : 64}` : options;
  return `create ${name} ${type} family ${family === 4 ? "inet" : "inet6"} hashsize 1024 maxelem 65536 ${own}`.trim();
}

/** `create` and `add` lines. A member given twice is one, as `-exist` has it. */
export function drawSets(random: Prng, family: Family): readonly string[] {
  const lines = shapesOf(family).flatMap(([name, shape]) => [
    createLine(`${name}${family}`, shape, family),
    ...Array.from(
      { length: random.below(7) },
      () => `add ${name}${family} ${shape.member(random, family)} -exist`,
    ),
  ]);
  const members = ["hosts", "nets", "ports"].filter(() => random.below(2) === 0);
  return [
    ...lines,
    `create list${family} list:set size 8`,
    ...members.map((name) => `add list${family} ${name}${family}`),
  ];
}
