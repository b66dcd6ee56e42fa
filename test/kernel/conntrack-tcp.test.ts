/** TCP tracking against the kernel's own: random sequences of segments in both directions. */
import { afterAll, beforeAll, expect, it } from "vitest";
import type { Prng } from "../../src/base/index.ts";
import { type KernelJudge, startKernelJudge, twoDeviceNode } from "../../src/harness/kernel/index.ts";
import { tcp } from "../../src/packet/index.ts";
import { TcpFlag, type TcpOption } from "../../src/wire/index.ts";
import { describeNeeding } from "../needs.ts";
import { describeFlow, type Flow, searchDifference, stateRules } from "./flows.ts";

const { fin, syn, rst, psh, ack, urg } = TcpFlag;
const commonFlags = [syn, syn | ack, ack, ack, ack | psh, fin | ack, rst, rst | ack];
const oddFlags = [
  0,
  fin,
  syn | fin,
  syn | rst,
  psh,
  urg,
  ack | urg,
  syn | urg,
  fin | ack | urg,
  fin | syn | ack | rst,
];
const offsets = [0, 0, 0, 0, 1, -1, 10, 1000, -1000, 65_535, 70_000, -70_000, 0x7fff_ffff];
const windows = [0, 1, 100, 1000, 65_535, 65_535];

interface Side {
  isn: number;
  /** Next sequence number that a sensible sender would use. */
  next: number;
}

function drawOptions(random: Prng, isSyn: boolean, near: number): readonly TcpOption[] {
  const options: TcpOption[] = [];
  if (isSyn) {
    if (random.below(2) === 0) options.push({ kind: "window-scale", shift: random.pick([0, 3, 7, 14, 20]) });
    if (random.below(2) === 0) options.push({ kind: "sack-permitted" });
    if (random.below(3) === 0) options.push({ kind: "mss", bytes: 1460 });
  } else if (random.below(5) === 0) {
    const edge = (near + random.pick(offsets)) >>> 0;
    options.push({ kind: "sack", blocks: [[(edge - 10) >>> 0, edge]] });
  }
  if (random.below(6) === 0) options.push({ kind: "timestamps", value: 1, echo: 2 });
  return options;
}

/** One connection: mostly what two hosts would say, mixed with what they would not. */
function drawFlow(random: Prng, number: number): Flow {
  const isns = [0, 1, 1000, 0xffff_fff0, random.nextU32()];
  const sides: [Side, Side] = [
    { isn: random.pick(isns), next: 0 },
    { isn: random.pick(isns), next: 0 },
  ];
  for (const side of sides) side.next = side.isn;
  const script = random.pick([
    [],
    [
      [0, syn],
      [1, syn | ack],
      [0, ack],
    ],
    [
      [0, syn],
      [1, syn | ack],
      [0, ack],
      [0, fin | ack],
      [1, ack],
      [1, fin | ack],
      [0, ack],
    ],
    [
      [0, syn],
      [1, syn],
      [1, syn | ack],
      [0, syn | ack],
    ],
    [
      [0, syn],
      [1, rst | ack],
    ],
    [
      [0, ack],
      [1, ack],
    ],
    [
      [0, syn],
      [1, syn | ack],
      [0, ack],
      [1, rst],
    ],
  ] as readonly (readonly (readonly [number, number])[])[]);
  const count = 1 + random.below(14);
  return Array.from({ length: count }, (_, i) => {
    const planned = random.below(8) === 0 ? undefined : script[i];
    const direction = planned?.[0] ?? random.below(2);
    const flags = planned?.[1] ?? random.pick(random.below(8) === 0 ? oddFlags : commonFlags);
    const [own, peer] = direction === 0 ? sides : [sides[1], sides[0]];
    const isSensible = planned !== undefined || random.below(2) === 0;
    const seq = (own.next + (isSensible ? 0 : random.pick(offsets))) >>> 0;
    const acked = (peer.next + (isSensible ? 0 : random.pick(offsets))) >>> 0;
    const payload = new Uint8Array(
      flags & (syn | rst) ? random.pick([0, 0, 5]) : random.pick([0, 0, 1, 10, 1000]),
    );
    if (isSensible) own.next = (seq + payload.length + (flags & syn ? 1 : 0) + (flags & fin ? 1 : 0)) >>> 0;
    const client = { src: "10.0.0.1", dst: "203.0.113.5", sport: 1024 + number, dport: 80 };
    const server = { src: client.dst, dst: client.src, sport: client.dport, dport: client.sport };
    const bytes = tcp({
      ...(direction === 0 ? client : server),
      flags,
      seq: flags & rst && random.below(4) === 0 ? 0 : seq,
      ack: flags & ack || random.below(4) === 0 ? acked : 0,
      window: random.pick(windows),
      options: drawOptions(random, (flags & syn) !== 0, peer.next),
      payload,
    });
    return { from: direction === 0 ? "in0" : "out0", bytes };
  });
}

describeNeeding("TCP tracking", ["root", "tun", "iptables", "ipset", "conntrack", "ip"], () => {
  const variants = [
    { name: "with the kernel's defaults", sysctls: {}, options: {} },
    { name: "without picking up", sysctls: { tcp_loose: 0 }, options: { tcpLoose: false } },
    { name: "being liberal", sysctls: { tcp_be_liberal: 1 }, options: { tcpBeLiberal: true } },
  ];
  for (const { name, sysctls, options } of variants) {
    let judge: KernelJudge;
    beforeAll(async () => {
      const keys = Object.entries(sysctls).map(([key, value]) => [
        `net/netfilter/nf_conntrack_${key}`,
        value,
      ]);
      judge = await startKernelJudge({
        backend: "legacy",
        node: twoDeviceNode(),
        sysctls: Object.fromEntries(keys),
      });
      await judge.load({ v4: stateRules });
    });
    afterAll(async () => {
      await judge.close();
    });

    it(`answers and remembers as the kernel does ${name}`, { timeout: 60_000 }, async () => {
      const seed = Number(process.env["PODWIRE_SEED"] ?? 1);
      const found = await searchDifference(judge, seed, 20, 300, drawFlow, options);
      expect(found?.differences ?? [], describeFlow(found?.flow)).toEqual([]);
    });
  }
});
