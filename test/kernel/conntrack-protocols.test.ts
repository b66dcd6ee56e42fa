/** Tracking of SCTP, UDP, ICMP and the rest against the kernel's own: random sequences in both directions. */
import { afterAll, beforeAll, expect, it } from "vitest";
import type { Prng } from "../../src/base/index.ts";
import { type KernelJudge, startKernelJudge, twoDeviceNode } from "../../src/harness/kernel/index.ts";
import { icmp, icmpEcho, icmpError, ipPacket, sctp, udp } from "../../src/packet/index.ts";
import type { SctpChunk } from "../../src/wire/index.ts";
import { describeNeeding } from "../needs.ts";
import { describeFlow, type Flow, searchDifference, stateRules } from "./flows.ts";

interface Ends {
  readonly client: string;
  readonly server: string;
}

/** Each flow has a client of its own. */
function endsOf(family: 4 | 6, number: number): Ends {
  return family === 4
    ? { client: `10.0.${number >>> 8}.${number & 0xff}`, server: "203.0.113.5" }
    : { client: `fd00::${(number + 1).toString(16)}`, server: "2001:db8:5::5" };
}

function addressed({ client, server }: Ends, direction: number): { from: string; src: string; dst: string } {
  return direction === 0
    ? { from: "in0", src: client, dst: server }
    : { from: "out0", src: server, dst: client };
}

const tags = [0, 1, 7, 0xdead_beef];

function drawChunk(random: Prng): SctpChunk {
  const init = {
    initiateTag: random.pick(tags),
    advertisedWindow: 1000,
    outboundStreams: 1,
    inboundStreams: 1,
    initialTsn: 1,
    parameters: [],
  };
  const tlv = { type: 1, value: new Uint8Array(4) };
  return random.pick<() => SctpChunk>([
    () => ({ kind: "init", ...init }),
    () => ({ kind: "init-ack", ...init }),
    () => ({ kind: "init", ...init }),
    () => ({ kind: "init-ack", ...init }),
    () => ({ kind: "cookie-echo", cookie: new Uint8Array(4) }),
    () => ({ kind: "cookie-ack" }),
    () => ({
      kind: "data",
      flags: 3,
      tsn: 1,
      stream: 0,
      sequence: 0,
      payloadProtocol: 0,
      data: new Uint8Array(4),
    }),
    () => ({ kind: "sack", cumulativeTsn: 1, advertisedWindow: 9, gaps: [], duplicates: [] }),
    () => ({ kind: "heartbeat", info: [tlv] }),
    () => ({ kind: "heartbeat-ack", info: [tlv] }),
    () => ({ kind: "abort", reflected: random.below(2) === 0, causes: [] }),
    () => ({ kind: "error", causes: [tlv] }),
    () => ({ kind: "shutdown", cumulativeTsn: 1 }),
    () => ({ kind: "shutdown-ack" }),
    () => ({ kind: "shutdown-complete", reflected: random.below(2) === 0 }),
    () => ({ kind: "unknown", type: random.pick([0x40, 0xc1, 200]), flags: 0, value: new Uint8Array(3) }),
  ])();
}

function initOf(kind: "init" | "init-ack", initiateTag: number): SctpChunk {
  const streams = { outboundStreams: 1, inboundStreams: 1 };
  return { kind, initiateTag, advertisedWindow: 1000, ...streams, initialTsn: 1, parameters: [] };
}

/** Tags 7 (client's) and 1 (server's) of an association that is set up as the standard says. */
const handshake: readonly (readonly [number, number, SctpChunk])[] = [
  [0, 0, initOf("init", 7)],
  [1, 7, initOf("init-ack", 1)],
  [0, 1, { kind: "cookie-echo", cookie: new Uint8Array(4) }],
  [1, 7, { kind: "cookie-ack" }],
  [0, 1, { kind: "shutdown", cumulativeTsn: 1 }],
  [1, 7, { kind: "shutdown-ack" }],
  [0, 1, { kind: "shutdown-complete", reflected: false }],
];

const sctpFlow =
  (family: 4 | 6) =>
  (random: Prng, number: number): Flow => {
    const follows = random.below(3) > 0;
    return Array.from({ length: 1 + random.below(10) }, (_, i) => {
      const planned = follows && random.below(6) > 0 ? handshake[i] : undefined;
      const direction = planned?.[0] ?? random.below(2);
      const { from, src, dst } = addressed(endsOf(family, number), direction);
      const ports = { sport: 2000 + number, dport: 99 };
      const chunks = planned !== undefined ? [planned[2]] : [drawChunk(random)];
      if (planned === undefined && random.below(4) === 0) chunks.push(drawChunk(random));
      const bytes = sctp({
        src,
        dst,
        ...(direction === 0 ? ports : { sport: ports.dport, dport: ports.sport }),
        verificationTag:
          planned?.[1] ?? (direction === 0 ? random.pick([0, 1, 1, 7]) : random.pick([0, 7, 7, 1])),
        chunks,
        ...(random.below(40) === 0 ? { overrides: { checksum: 5 } } : {}),
      });
      return { from, bytes };
    });
  };

/** Datagrams, queries and errors about them, some broken, over few ports. */
const datagramFlow =
  (family: 4 | 6) =>
  (random: Prng, number: number): Flow => {
    const packets: { from: string; bytes: Uint8Array }[] = [];
    const protocol = random.pick([17, 17, 1, 1, 136, 47, 200, 0xff]);
    const count = 1 + random.below(7);
    for (let i = 0; i < count; i++) {
      const direction = random.below(3) === 0 ? 1 : 0;
      const { from, src, dst } = addressed(endsOf(family, number), direction);
      const own = { src, dst: random.below(12) === 0 ? dst.replace(/5$/, "6") : dst };
      packets.push({ from, bytes: drawDatagram(random, family, own, protocol, number, direction) });
      const about = random.pick(packets);
      if (random.below(3) === 0) packets.push(drawError(random, family, about, number));
    }
    return packets;
  };

function drawDatagram(
  random: Prng,
  family: 4 | 6,
  own: { src: string; dst: string },
  protocol: number,
  number: number,
  direction: number,
): Uint8Array {
  const ports = direction === 0 ? { sport: 3000 + number, dport: 53 } : { sport: 53, dport: 3000 + number };
  const payload = new Uint8Array(random.below(4) * 5);
  switch (protocol) {
    case 17: {
      const overrides = random.pick([
        {},
        {},
        {},
        { checksum: 0 },
        { checksum: 77 },
        { length: 7 },
        { length: 500 },
      ]);
      return udp({ ...own, ...ports, payload, overrides });
    }
    case 1: {
      const queries =
        family === 4 ? [8, 0, 13, 14, 15, 17, 18, 9, 10, 19, 40] : [128, 129, 139, 140, 133, 136, 143, 200];
      if (random.below(2) === 0)
        return icmpEcho({ ...own, reply: direction === 1, identifier: number, sequence: 1, payload });
      const rest = ((number << 16) | 1) >>> 0;
      return icmp({
        ...own,
        type: random.pick(queries),
        code: random.below(8) === 0 ? 1 : 0,
        rest,
        data: payload,
      });
    }
    case 136:
    case 47:
      return ipPacket({ ...own, protocol, payload: drawHeader(random, protocol, ports) });
    default:
      return ipPacket({ ...own, protocol: protocol === 0xff ? random.pick([59, 1, 58, 33]) : 200, payload });
  }
}

/** UDP-Lite (without the right checksum, so INVALID) and GRE of both versions. */
function drawHeader(random: Prng, protocol: number, ports: { sport: number; dport: number }): Uint8Array {
  const bytes = new Uint8Array(8 + random.below(3));
  const view = new DataView(bytes.buffer);
  if (protocol === 136) {
    view.setUint16(0, ports.sport);
    view.setUint16(2, ports.dport);
    view.setUint16(4, random.pick([0, 8, 4, 99]));
    view.setUint16(6, random.pick([0, 1]));
  } else {
    view.setUint16(0, random.pick([0, 1, 1]));
    view.setUint16(2, random.pick([0x880b, 0x880b, 0x0800]));
    view.setUint16(6, random.pick([ports.sport, ports.dport]));
  }
  return bytes.subarray(0, random.below(10) === 0 ? random.below(bytes.length) : bytes.length);
}

/** An ICMP error about a packet, to its sender or (wrongly) to others, cut to any length. */
function drawError(
  random: Prng,
  family: 4 | 6,
  about: { from: string; bytes: Uint8Array },
  number: number,
): { from: string; bytes: Uint8Array } {
  const quoted = about.bytes.slice(0, random.below(4) === 0 ? random.below(about.bytes.length) : undefined);
  const toSender = { from: about.from === "in0" ? "out0" : "in0" };
  const whole = icmpError(
    about.bytes,
    random.pick(family === 4 ? ["203.0.113.9", "10.0.0.9"] : ["2001:db8:5::9", "fd00::9"]),
    random.pick(family === 4 ? [3, 11, 12, 4, 5] : [1, 2, 3, 4, 137]),
    random.below(3),
  );
  if (quoted.length === about.bytes.length) return { ...toSender, bytes: whole };
  const { client, server } = endsOf(family, number);
  const dst = random.pick([client, server]);
  const src = dst === client ? server : client;
  const type = family === 4 ? 3 : 1;
  return {
    from: dst === client ? "out0" : "in0",
    bytes: icmp({ src, dst, type, code: 1, rest: 0, data: quoted }),
  };
}

describeNeeding(
  "tracking of other protocols",
  ["root", "tun", "iptables", "ipset", "conntrack", "ip"],
  () => {
    let judge: KernelJudge;
    const seed = Number(process.env["PODWIRE_SEED"] ?? 1);
    beforeAll(async () => {
      judge = await startKernelJudge({ backend: "legacy", node: twoDeviceNode() });
      await judge.load({ v4: stateRules, v6: stateRules });
    });
    afterAll(async () => {
      await judge.close();
    });

    for (const family of [4, 6] as const) {
      it(`follows SCTP over IPv${family} as the kernel does`, { timeout: 60_000 }, async () => {
        const found = await searchDifference(judge, seed, 10, 300, sctpFlow(family), {}, family);
        expect(found?.differences ?? [], describeFlow(found?.flow)).toEqual([]);
      });

      it(`follows datagrams, queries and ICMP errors over IPv${family}`, { timeout: 60_000 }, async () => {
        const found = await searchDifference(judge, seed, 10, 200, datagramFlow(family), {}, family);
        expect(found?.differences ?? [], describeFlow(found?.flow)).toEqual([]);
      });
    }

    it("makes a UDP flow a stream, and assured, when it still answers after two seconds", {
      timeout: 10_000,
    }, async () => {
      await judge.forgetFlows();
      const request = { from: "in0", bytes: udp({ ...ends4(0), sport: 1, dport: 53 }) };
      const reply = { from: "out0", bytes: udp({ ...ends4(1), sport: 53, dport: 1 }) };
      await judge.judge([request, reply, request]);
      expect((await judge.connections(4))[0]).toMatch(/udp +17 (29|30) .*use/);
      await new Promise((resolve) => setTimeout(resolve, 2100));
      await judge.judge([request]);
      expect((await judge.connections(4))[0]).toMatch(/udp +17 (119|120) .*\[ASSURED\]/);
    });
  },
);

function ends4(direction: number): { src: string; dst: string } {
  const { src, dst } = addressed(endsOf(4, 1), direction);
  return { src, dst };
}
