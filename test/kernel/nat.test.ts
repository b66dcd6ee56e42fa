/**
 * NAT against the kernel's own: random nat tables with narrow ranges, clients that collide, replies and ICMP errors about
 * what was translated. Where the kernel draws a port, the model is told which one and says whether it was free to.
 */
import { afterAll, beforeAll, expect, it } from "vitest";
import { formatIp } from "../../src/addr/index.ts";
import { createPrng, type Prng } from "../../src/base/index.ts";
import { drawPort, formatEntry, type PortQuestion } from "../../src/filter/netfilter/index.ts";
import {
  type JudgedPacket,
  type KernelFate,
  type KernelJudge,
  startKernelJudge,
  twoDeviceNode,
} from "../../src/harness/kernel/index.ts";
import { icmpEcho, icmpError, sctp, tcp, udp } from "../../src/packet/index.ts";
import { IpProtocol, printPacket, readU16, readU32, readWords, TcpFlag } from "../../src/wire/index.ts";
import { describeNeeding } from "../needs.ts";
import { compareConnections } from "./flows.ts";
import { ModelNode } from "./model-node.ts";

interface Names {
  readonly clients: readonly string[];
  readonly servers: readonly string[];
  readonly pool: readonly [string, string];
  readonly inside: string;
}

const names: Readonly<Record<4 | 6, Names>> = {
  4: {
    clients: ["10.0.0.1", "10.0.0.2", "10.0.0.3"],
    servers: ["203.0.113.5", "203.0.113.6"],
    pool: ["198.51.100.1", "198.51.100.6"],
    inside: "10.9.0.1-10.9.0.4",
  },
  6: {
    clients: ["fd00::1", "fd00::2", "fd00::3"],
    servers: ["2001:db8:5::5", "2001:db8:5::6"],
    pool: ["2001:db8:9::1", "2001:db8:9::6"],
    inside: "fd00:9::1-fd00:9::4",
  },
};

function bracket(family: 4 | 6, address: string, ports: string): string {
  if (ports === "") return address;
  return family === 4 ? `${address}:${ports}` : `[${address}]:${ports}`;
}

function drawRules(random: Prng, family: 4 | 6): string {
  const { pool, servers, inside } = names[family];
  const flags = (): string => random.pick(["", "", "", " --random", " --random-fully", " --persistent"]);
  // Two draws for one packet would hide each other when the packet is dropped: ranges stand on one side alone.
  const ranged = random.pick(["src", "dst"]);
  const ports = (side: string): string =>
    random.pick(side === ranged ? ["", "", "2000-2003", "2000", "2000-2200", "500-600"] : ["", "", "2000"]);
  const protocols = ["tcp", "udp", "sctp"];
  const source = (): string => {
    const protocol = random.pick(protocols);
    const [low, high] = pool;
    const address = random.pick([low, `${low}-${high}`]);
    return random.pick([
      () =>
        `-A POSTROUTING -p ${protocol} -j SNAT --to-source ${bracket(family, address, ports("src"))}${flags()}`,
      () => `-A POSTROUTING -p ${protocol} -j MASQUERADE${ports("src").replace(/.+/, " --to-ports $&")}`,
      () => `-A POSTROUTING -j SNAT --to-source ${address}${flags()}`,
      () => `-A POSTROUTING -j MASQUERADE`,
    ])();
  };
  const destination = (): string => {
    const protocol = random.pick(protocols);
    return random.pick([
      () =>
        `-A PREROUTING -d ${random.pick(servers)} -p ${protocol} -j DNAT --to-destination ${bracket(family, random.pick([servers[1] ?? "", inside]), ports("dst"))}${random.pick(["", " --random", " --persistent"])}`,
      () => `-A PREROUTING -d ${random.pick(servers)} -j DNAT --to-destination ${inside}`,
      () =>
        family === 4
          ? `-A PREROUTING -d ${servers[0]} -p ${protocol} -j DNAT --to-destination ${servers[1]}:7000-7010/53`
          : `-A PREROUTING -d ${servers[0]} -j NETMAP --to 2001:db8:77::/96`,
    ])();
  };
  const lines = Array.from({ length: 1 + random.below(3) }, () =>
    random.below(3) > 0 ? source() : destination(),
  );
  return ["*nat", ":PREROUTING ACCEPT [0:0]", ":POSTROUTING ACCEPT [0:0]", ...lines, "COMMIT", ""].join("\n");
}

function drawFirst(random: Prng, family: 4 | 6): JudgedPacket {
  const { clients, servers } = names[family];
  const ends = { src: random.pick(clients), dst: random.pick(servers) };
  const fields = {
    ...ends,
    sport: random.pick([53, 600, 2000, 2001, 5000, 40_000]),
    dport: random.pick([53, 80]),
  };
  const payload = new Uint8Array(random.below(5));
  const bytes = random.pick([
    () =>
      tcp({ ...fields, flags: TcpFlag.syn, seq: random.pick([1, 1000, 2000]), payload: new Uint8Array(0) }),
    () =>
      udp({ ...fields, payload, overrides: random.below(3) === 0 && family === 4 ? { checksum: 0 } : {} }),
    () =>
      sctp({
        ...fields,
        verificationTag: 0,
        chunks: [
          {
            kind: "init",
            initiateTag: 7,
            advertisedWindow: 9,
            outboundStreams: 1,
            inboundStreams: 1,
            initialTsn: 1,
            parameters: [],
          },
        ],
      }),
    () => icmpEcho({ ...ends, identifier: random.pick([1, 2, 2000]), sequence: 1, payload }),
  ])();
  return { from: "in0", bytes };
}

const addressesAt = { 4: [12, 16, 4], 6: [8, 24, 16] } as const;

/** The same bytes with both ends exchanged: a reply of sorts, with the checksum still right. */
function replyTo(random: Prng, bytes: Uint8Array, family: 4 | 6): Uint8Array | undefined {
  const [srcAt, dstAt, size] = addressesAt[family];
  const copy = bytes.slice();
  copy.set(bytes.subarray(srcAt, srcAt + size), dstAt);
  copy.set(bytes.subarray(dstAt, dstAt + size), srcAt);
  const at = family === 4 ? 20 : 40;
  const protocol = copy[family === 4 ? 9 : 6];
  if (protocol === IpProtocol.udp) {
    copy.set(bytes.subarray(at, at + 2), at + 2);
    copy.set(bytes.subarray(at + 2, at + 4), at);
    return copy;
  }
  return protocol === IpProtocol.tcp ? answerTcp(random, bytes, family) : undefined;
}

/** A SYN-ACK, or a reset that closes what was answered before. */
function answerTcp(random: Prng, bytes: Uint8Array, family: 4 | 6): Uint8Array {
  const [srcAt, dstAt, size] = addressesAt[family];
  const at = family === 4 ? 20 : 40;
  const text = (start: number): string => formatIp({ family, words: readWords(bytes, start, size / 4) });
  const { syn, ack, rst } = TcpFlag;
  return tcp({
    src: text(dstAt),
    dst: text(srcAt),
    sport: readU16(bytes, at + 2),
    dport: readU16(bytes, at),
    flags: random.pick([syn | ack, rst | ack]),
    seq: 500,
    ack: (readU32(bytes, at + 4) + 1) >>> 0,
  });
}

/** The port (or identifier) of a side as it left. */
function portIn(bytes: Uint8Array, manip: "src" | "dst"): number {
  const isV4 = bytes[0]! >>> 4 === 4;
  const at = isV4 ? 20 : 40;
  const protocol = bytes[isV4 ? 9 : 6];
  if (protocol === IpProtocol.icmp || protocol === IpProtocol.icmpv6) return readU16(bytes, at + 4);
  return readU16(bytes, at + (manip === "src" ? 0 : 2));
}

/** The model, told what the kernel drew. */
class Follower {
  readonly node: ModelNode;
  readonly faults: string[] = [];
  #kernel: Uint8Array | undefined;

  constructor(rules: string, family: 4 | 6) {
    const choosePort = (question: PortQuestion): number => this.#choose(question);
    this.node = new ModelNode(family === 4 ? rules : "", family === 6 ? rules : "", { choosePort });
  }

  follow(packet: JudgedPacket, fate: KernelFate): void {
    this.#kernel = fate.verdict === "forwarded" ? fate.output?.bytes : undefined;
    const model = this.node.judge(packet);
    const kernel = fate.output === undefined ? "" : printPacket(fate.output.bytes);
    const same =
      model.verdict === fate.verdict &&
      (fate.output === undefined || Buffer.from(model.bytes).equals(Buffer.from(fate.output.bytes)));
    if (!same)
      this.faults.push(
        `${packet.from} ${printPacket(packet.bytes)}\n    kernel ${fate.verdict} ${kernel}\n    model ${model.verdict} ${model.bytes.length > 0 ? printPacket(model.bytes) : ""}`,
      );
  }

  /** The kernel's port must be free, unless none of the range is; then the packet was dropped. */
  #choose(question: PortQuestion): number {
    const { manip, low, count, offset, isFree } = question;
    if (offset !== undefined) return drawPort(question, createPrng(1));
    if (this.#kernel !== undefined) {
      const port = portIn(this.#kernel, manip);
      if (port < low || port >= low + count) this.faults.push(`port ${port} is not in ${low}+${count}`);
      else if (isFree(port, 0)) return port;
    }
    for (let i = 0; i < count; i++)
      if (isFree(low + i, count - i)) {
        const isLater = this.#kernel === undefined && manip === "dst"; // the source may have been the trouble
        if (count > 1 && count <= 128 && !isLater)
          this.faults.push(`the kernel did not take port ${low + i}, which was free`);
        return low + i;
      }
    return low;
  }
}

async function compareTables(judge: KernelJudge, random: Prng, family: 4 | 6): Promise<string> {
  const rules = drawRules(random, family);
  await judge.load(family === 4 ? { v4: rules } : { v6: rules });
  const follower = new Follower(rules, family);
  const seen: { readonly sent: JudgedPacket; readonly left: Uint8Array }[] = [];
  for (let round = 0; round < 6; round++) {
    const packets = Array.from({ length: 12 }, () => {
      const about = seen.length > 0 && random.below(2) === 0 ? random.pick(seen) : undefined;
      return about === undefined ? drawFirst(random, family) : drawAnswer(random, family, about.left);
    });
    const fates = await judge.judge(packets);
    for (const [i, packet] of packets.entries()) {
      const fate = fates[i] as KernelFate;
      follower.follow(packet, fate);
      if (fate.verdict === "forwarded" && fate.output !== undefined)
        seen.push({ sent: packet, left: fate.output.bytes });
    }
  }
  const lines = follower.node.datapath.conntrack.list().map((entry) => formatEntry(entry, 0));
  const lists = compareConnections(await judge.connections(family), lines);
  const faults = [...follower.faults, ...lists];
  return faults.length === 0 ? "" : `${rules}\n${faults.join("\n")}`;
}

/** A reply to what left, or an error about it. */
function drawAnswer(random: Prng, family: 4 | 6, left: Uint8Array): JudgedPacket {
  const isInside = left[family === 4 ? 16 : 24] === (family === 4 ? 10 : 0xfd);
  const from = isInside ? "in0" : "out0";
  const reply = random.below(2) === 0 ? replyTo(random, left, family) : undefined;
  if (reply !== undefined) return { from, bytes: reply };
  const router = random.pick(family === 4 ? ["203.0.113.99", "10.0.0.99"] : ["2001:db8:5::99", "fd00::99"]);
  const cut = random.below(3) === 0 ? left.slice(0, (family === 4 ? 20 : 40) + 8 + random.below(14)) : left;
  return { from, bytes: icmpError(cut, router, random.pick(family === 4 ? [3, 11] : [1, 3]), 1) };
}

describeNeeding("NAT", ["root", "tun", "iptables", "ipset", "conntrack", "ip"], () => {
  for (const backend of ["legacy", "nft"] as const) {
    let judge: KernelJudge;
    beforeAll(async () => {
      judge = await startKernelJudge({ backend, node: twoDeviceNode() });
    });
    afterAll(async () => {
      await judge.close();
    });
    for (const family of [4, 6] as const)
      it(`translates as the kernel does in IPv${family} on ${backend}`, { timeout: 120_000 }, async () => {
        const seed = Number(process.env["PODWIRE_SEED"] ?? 1);
        for (let i = 0; i < (backend === "legacy" ? 150 : 40); i++) {
          const fault = await compareTables(judge, createPrng(seed * 1000 + i), family);
          expect(fault, `table ${seed * 1000 + i}`).toBe("");
        }
      });
  }
});
