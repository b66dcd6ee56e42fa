/**
 * Fragments against the kernel: datagrams cut anywhere, in any order, doubled, overlapping, with marks and flags that
 * differ; what leaves, and when, must be the kernel's, with connections tracked and without.
 */
import { afterAll, beforeAll, expect, it } from "vitest";
import { createPrng, type Prng } from "../../src/base/index.ts";
import {
  type JudgedPacket,
  type KernelJudge,
  startKernelJudge,
  twoDeviceNode,
} from "../../src/harness/kernel/index.ts";
import { tcp, udp } from "../../src/packet/index.ts";
import { internetChecksum, printPacket, writeU16, writeU32 } from "../../src/wire/index.ts";
import { describeNeeding } from "../needs.ts";
import { ModelNode } from "./model-node.ts";

interface Cut {
  readonly start: number;
  readonly end: number;
}

/** Mostly a fair cutting; sometimes pieces that overlap, are doubled, or end where nothing may end. */
function drawCuts(random: Prng, length: number): readonly Cut[] {
  const cuts: Cut[] = [];
  for (let at = 0; at < length; ) {
    const end = Math.min(length, at + 8 * (1 + random.below(6)));
    cuts.push({ start: at, end });
    at = end;
  }
  const extra = random.below(6);
  if (extra === 0) cuts.push(random.pick(cuts));
  if (extra === 1) {
    const start = 8 * random.below(Math.ceil(length / 8));
    cuts.push({ start, end: Math.min(length, start + 8 * (1 + random.below(5))) });
  }
  if (extra === 2) cuts.splice(random.below(cuts.length), 1);
  if (random.below(3) > 0) cuts.sort(() => random.below(3) - 1);
  return cuts;
}

function cutV4(random: Prng, packet: Uint8Array, identification: number): readonly Uint8Array[] {
  const headerSize = (packet[0]! & 15) * 4;
  const length = packet.length - headerSize;
  const isMixed = random.below(3) === 0;
  const tos = random.below(256);
  return drawCuts(random, length).map(({ start, end }) => {
    const stop = random.below(40) === 0 ? end - 3 : end;
    const part = new Uint8Array(headerSize + Math.max(0, stop - start));
    part.set(packet.subarray(0, headerSize));
    part.set(packet.subarray(headerSize + start, headerSize + stop), headerSize);
    const isLast = end === length && random.below(50) > 0;
    part[1] = isMixed ? random.below(256) : tos;
    part[8] = 60 + random.below(4);
    writeU16(part, 2, part.length);
    writeU16(part, 4, identification);
    const isDf = isMixed && random.below(2) === 0;
    writeU16(part, 6, (start >>> 3) | (isLast ? 0 : 0x2000) | (isDf ? 0x4000 : 0));
    writeU16(part, 10, 0);
    writeU16(part, 10, internetChecksum(part, 0, headerSize));
    return part;
  });
}

function cutV6(random: Prng, packet: Uint8Array, identification: number): readonly Uint8Array[] {
  const length = packet.length - 40;
  return drawCuts(random, length).map(({ start, end }) => {
    const stop = random.below(40) === 0 ? end - 3 : end;
    const part = new Uint8Array(48 + Math.max(0, stop - start));
    part.set(packet.subarray(0, 40));
    part.set(packet.subarray(40 + start, 40 + stop), 48);
    part[6] = 44;
    part[40] = packet[6]!;
    writeU16(part, 4, part.length - 40);
    writeU16(part, 42, start | (end === length && random.below(50) > 0 ? 0 : 1));
    writeU32(part, 44, identification);
    part[1] = random.below(10) === 0 ? random.below(256) : 0;
    return part;
  });
}

function drawDatagram(random: Prng, family: 4 | 6, number: number): readonly JudgedPacket[] {
  const [src, far, own] =
    family === 4 ? ["10.0.0.1", "203.0.113.5", "192.0.2.1"] : ["fd00::1", "2001:db8:5::5", "2001:db8::1"];
  const fields = {
    src,
    dst: random.below(5) === 0 ? own : far,
    sport: 1000 + number,
    dport: 53,
    dontFragment: false,
    ...(random.below(6) === 0 && family === 4
      ? { ipOptions: Uint8Array.of(0x94, 4, 0, 0, 0x52, 4, 5, 0) } // router alert is copied, a trace route is not
      : {}),
  };
  const payload = new Uint8Array(random.pick([1, 20, 60, 150, 300])).map(() => random.below(256));
  const whole = random.below(2) === 0 ? udp({ ...fields, payload }) : tcp({ ...fields, flags: 2, payload });
  const identification = 1 + number;
  return (family === 4 ? cutV4 : cutV6)(random, whole, identification).map((bytes) => ({
    from: "in0",
    bytes,
  }));
}

function interleave(random: Prng, packets: JudgedPacket[]): void {
  for (let i = packets.length - 1; i > 0; i--) {
    const j = Math.max(0, i - random.below(150));
    [packets[i], packets[j]] = [packets[j] as JudgedPacket, packets[i] as JudgedPacket];
  }
}

/** An IPv6 fragment's identification is drawn by the node that sends it. */
function comparable(bytes: Uint8Array): string {
  const copy = bytes.slice();
  if (copy[0]! >>> 4 === 6 && copy[6] === 44) copy.fill(0, 44, 48);
  return Buffer.from(copy).toString("hex");
}

describeNeeding("fragments", ["root", "tun", "iptables", "ipset", "conntrack", "ip"], () => {
  for (const tracking of ["always", "by-rules"] as const) {
    let judge: KernelJudge;
    beforeAll(async () => {
      judge = await startKernelJudge({ backend: "legacy", node: twoDeviceNode(), conntrack: tracking });
      await judge.load({});
    });
    afterAll(async () => {
      await judge.close();
    });

    for (const family of [4, 6] as const)
      it(`go as the kernel lets them go, IPv${family}, tracking ${tracking}`, {
        timeout: 60_000,
      }, async () => {
        const random = createPrng(Number(process.env["PODWIRE_SEED"] ?? 1));
        const model = new ModelNode("", "", { tracking });
        for (let round = 0; round < 10; round++) {
          const packets = Array.from({ length: 100 }, (_, i) =>
            drawDatagram(random, family, round * 100 + i),
          ).flat();
          if (round % 2 === 1) interleave(random, packets); // far apart, so that some begin anew
          const fates = await judge.judge(packets);
          for (const [i, packet] of packets.entries()) {
            const kernel = (fates[i]?.outputs ?? []).map(({ bytes }) => comparable(bytes));
            const ours = model.judge(packet).packets.map(comparable);
            expect(ours, `round ${round} packet ${i}: ${printPacket(packet.bytes)}`).toEqual(kernel);
          }
        }
      });
  }
});
