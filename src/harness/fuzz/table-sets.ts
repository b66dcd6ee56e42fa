/** Random ipsets, as lines of an `ipset restore` file: the same names every time, members at the edges of prefixes. */
import type { Prng } from "../../base/index.ts";
import { drawAddress, drawNet, type Family, ports, worlds } from "./table-world.ts";

interface SetShape {
  readonly type: string;
  readonly dimensions: number;
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
  hosts: { type: "hash:ip", dimensions: 1, member: drawAddress },
  nets: {
    type: "hash:net",
    dimensions: 1,
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
    member: (random, family) => `${drawAddress(random, family)},${drawTransport(random, family)}`,
  },
  netports: {
    type: "hash:net,port",
    dimensions: 2,
    member: (random, family) =>
      `${drawNet(random, family)},${drawTransport(random, family)}${nomatch(random)}`,
  },
  triples: {
    type: "hash:ip,port,net",
    dimensions: 3,
    member: (random, family) =>
      `${drawAddress(random, family)},${drawTransport(random, family)},${drawNet(random, family)}${nomatch(random)}`,
  },
};

/** Sets that rules of a family may name, with what they ask for. */
export function setsOf(family: Family): readonly { readonly name: string; readonly dimensions: number }[] {
  return [
    ...Object.entries(shapes).map(([name, { dimensions }]) => ({ name: `${name}${family}`, dimensions })),
    { name: `list${family}`, dimensions: 2 },
  ];
}

/** `create` and `add` lines. A member given twice is one, as `-exist` has it. */
export function drawSets(random: Prng, family: Family): readonly string[] {
  const lines = Object.entries(shapes).flatMap(([name, { type, member }]) => [
    `create ${name}${family} ${type} family ${family === 4 ? "inet" : "inet6"} hashsize 1024 maxelem 65536`,
    ...Array.from({ length: random.below(7) }, () => `add ${name}${family} ${member(random, family)} -exist`),
  ]);
  const members = ["hosts", "nets", "ports"].filter(() => random.below(2) === 0);
  return [
    ...lines,
    `create list${family} list:set size 8`,
    ...members.map((name) => `add list${family} ${name}${family}`),
  ];
}
