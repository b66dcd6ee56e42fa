/** Random packets of a small world, for duels with the kernel: few addresses and ports, odd flags, cut headers. */
import type { Prng } from "../../src/base/index.ts";
import type { JudgedPacket } from "../../src/harness/kernel/index.ts";
import { ipPacket, tcp, udp } from "../../src/packet/index.ts";
import type { TcpOption } from "../../src/wire/index.ts";

/** The first four live behind in0; the last, the node's own, is no source. */
export const hosts = {
  4: [
    "10.0.0.1",
    "10.0.0.9",
    "10.0.1.255",
    "10.9.8.7",
    "203.0.113.5",
    "203.0.113.200",
    "198.51.100.1",
    "192.0.2.1",
  ],
  6: ["fd00::1", "fd00::9", "fd00:1::1", "2001:db8:5::5", "2001:db8:5::200", "2001:db8:9::1", "2001:db8::1"],
} as const;
const ports = [0, 1, 22, 53, 79, 80, 81, 443, 1000, 5000, 65535];

function payload(random: Prng): Uint8Array {
  return Uint8Array.from({ length: random.below(40) }, () => random.below(256));
}

/** SCTP with chunks of all the types that rules name, with flags: written by hand, for the builder knows the sane ones. */
function sctpBytes(random: Prng, sport: number, dport: number): Uint8Array {
  const bytes = [sport >> 8, sport & 255, dport >> 8, dport & 255, 0, 0, 0, 7, 0, 0, 0, 0];
  for (let i = random.below(3); i >= 0; i--) {
    const body = payload(random);
    const type = random.pick([0, 1, 2, 3, 4, 6, 7, 14, 64, 130, 192, 200]);
    bytes.push(type, random.below(16), 0, body.length + 4, ...body);
    while (bytes.length % 4 !== 0) bytes.push(0);
  }
  return Uint8Array.from(bytes);
}

/** One random packet; some with a transport header that is cut short. */
export function packet(random: Prng, family: 4 | 6): JudgedPacket {
  const fromInside = random.below(4) > 0;
  const [src, dst] = fromInside
    ? [random.pick(hosts[family].slice(0, 4)), random.pick(hosts[family].slice(4))]
    : [random.pick(hosts[family].slice(4, -1)), random.pick(hosts[family].slice(0, 4))];
  const fields = {
    src,
    dst,
    ttl: random.pick([2, 5, 63, 64, 65, 255]),
    tos: random.pick([0, 1, 2, 3, 0x10, 0x28, 0x2a, 0xb8, 0xff]),
    identification: random.below(65536),
  };
  const [sport, dport] = [random.pick(ports), random.pick(ports)];
  const body = payload(random);
  const from = fromInside ? "in0" : "out0";
  switch (random.below(7)) {
    case 0:
    case 1: {
      const options = random.pick<readonly TcpOption[]>([
        [],
        [{ kind: "mss", bytes: 1460 }],
        [
          { kind: "mss", bytes: 150 },
          { kind: "window-scale", shift: 7 },
        ],
        [{ kind: "nop" }, { kind: "timestamps", value: 1, echo: 2 }],
      ]);
      const flags = random.pick([2, 2, 0x12, 0x10, 0x11, 4, 0x18, 0xc2, 0x29, 0]);
      return { from, bytes: tcp({ ...fields, sport, dport, flags, options, payload: body }) };
    }
    case 2:
      return { from, bytes: udp({ ...fields, sport, dport, payload: body }) };
    case 3:
      return {
        from,
        bytes: ipPacket({ ...fields, protocol: 132, payload: sctpBytes(random, sport, dport) }),
      };
    case 4: {
      const type = family === 4 ? random.pick([0, 3, 8, 8, 11, 13]) : random.pick([1, 3, 128, 128, 129]);
      const raw = Uint8Array.from([type, random.below(5), 0, 0, 0, 1, 0, 2, ...body]);
      return { from, bytes: ipPacket({ ...fields, protocol: family === 4 ? 1 : 58, payload: raw }) };
    }
    case 5: {
      const protocol = random.pick([6, 17, 132, family === 4 ? 1 : 58]);
      const cut = Uint8Array.from({ length: random.below(20) }, () => random.below(256));
      return { from, bytes: ipPacket({ ...fields, protocol, payload: cut }) };
    }
    default:
      return { from, bytes: ipPacket({ ...fields, protocol: random.pick([47, 50, 4, 200]), payload: body }) };
  }
}

/** Few addresses and ports, so that replies come up. */
export function conversation(random: Prng, family: 4 | 6): JudgedPacket {
  const isReply = random.below(3) === 0;
  const [client, server] = [hosts[family][random.below(2)] as string, hosts[family][4] as string];
  const [sport, dport] = [random.pick([999, 1000]), random.pick([53, 80])];
  const ends = isReply
    ? { src: server, dst: client, sport: dport, dport: sport }
    : { src: client, dst: server, sport, dport };
  const from = isReply ? "out0" : "in0";
  if (random.below(2) === 0) return { from, bytes: udp({ ...ends, payload: payload(random) }) };
  const flags = isReply ? random.pick([0x12, 0x10]) : random.pick([2, 2, 0x10]);
  return { from, bytes: tcp({ ...ends, flags, seq: 1, ack: isReply ? 2 : 0 }) };
}
