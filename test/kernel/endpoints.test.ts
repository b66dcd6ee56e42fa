import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, beforeAll, expect, it } from "vitest";
import { type Ip, localMac, parseIp } from "../../src/addr/index.ts";
import { type KernelJudge, startKernelJudge, twoDeviceNode } from "../../src/harness/kernel/index.ts";
import { icmp, icmpEcho, ipPacket, tcp, udp } from "../../src/packet/index.ts";
import { createEventLoop, Hosts, Network } from "../../src/sim/index.ts";
import { TcpSocket } from "../../src/sim/stack/tcp.ts";
import {
  emitIpv4Options,
  optionsHeader,
  parseIpv4,
  parseIpv6,
  printPacket,
  readU16,
  TcpFlag,
} from "../../src/wire/index.ts";
import { describeNeeding } from "../needs.ts";

const node = { 4: "192.0.2.1", 6: "2001:db8::1" } as const;
const client = { 4: "10.0.0.1", 6: "fd00::1" } as const;
const families = [4, 6] as const;

/** Our model of the same node: what it sends back to a packet from outside, at once. */
function ourAnswers(packet: Uint8Array): readonly Uint8Array[] {
  const answers: Uint8Array[] = [];
  const network = new Network(
    {
      nodes: [
        {
          name: "n1",
          os: "linux",
          addresses: [node[4], node[6]].flatMap((text) => parseIp(text) ?? []),
          interfaces: [
            { index: 1, name: "lo", mac: [0, 0, 0, 0, 0, 0], link: "loopback", addresses: [] },
            { index: 2, name: "eth0", mac: localMac(1), link: "fabric", addresses: [] },
          ],
          routes: [
            { net: { family: 4, words: [0], prefix: 0 }, oif: 2 },
            { net: { family: 6, words: [0, 0, 0, 0], prefix: 0 }, oif: 2 },
          ],
        },
      ],
      endpoints: [],
      frontends: [],
    },
    { tap: ({ direction, bytes }) => direction === "out" && answers.push(bytes) },
  );
  new Hosts(network);
  for (const family of families) network.addExternal(parseIp(client[family]) as never);
  network.send(`ip:${client[packet[0]! >>> 4 === 4 ? 4 : 6]}`, packet);
  network.loop.runUntil(1e9);
  return answers;
}

/** What a sender draws at random: the IPv4 identification (and with it the checksum), the IPv6 flow label. */
function comparable(packet: Uint8Array): string {
  const bytes = packet.slice();
  if (bytes[0]! >>> 4 === 4) {
    bytes.fill(0, 4, 6);
    bytes.fill(0, 10, 12);
  } else bytes.fill(0, 2, 4);
  if (bytes[0]! >>> 4 === 6) bytes[1]! &= 0xf0;
  return `${printPacket(packet)} ${Buffer.from(bytes).toString("hex")}`;
}

function strays(family: 4 | 6): Readonly<Record<string, Uint8Array>> {
  const ends = { src: client[family], dst: node[family], sport: 40_000, dport: 7 };
  const { syn, ack, fin, rst, psh } = TcpFlag;
  const payload = new TextEncoder().encode("podwire");
  return {
    SYN: tcp({ ...ends, flags: syn, seq: 100 }),
    "SYN with data": tcp({ ...ends, flags: syn, seq: 100, payload }),
    "SYN-ACK": tcp({ ...ends, flags: syn | ack, seq: 100, ack: 5 }),
    ACK: tcp({ ...ends, flags: ack, seq: 100, ack: 5 }),
    "data with ACK": tcp({ ...ends, flags: ack | psh, seq: 100, ack: 5, payload }),
    "data without ACK": tcp({ ...ends, flags: psh, seq: 0xffff_fffe, payload }),
    FIN: tcp({ ...ends, flags: fin, seq: 100 }),
    "SYN and FIN": tcp({ ...ends, flags: syn | fin, seq: 100 }),
    nothing: tcp({ ...ends, flags: 0, seq: 100 }),
    RST: tcp({ ...ends, flags: rst, seq: 100 }),
    "RST-ACK": tcp({ ...ends, flags: rst | ack, seq: 100, ack: 5 }),
    "a wrong TCP checksum": tcp({ ...ends, flags: syn, overrides: { checksum: 1 } }),
    "a data offset that lies": tcp({ ...ends, flags: syn, overrides: { headerWords: 15 } }),
    UDP: udp({ ...ends, payload }),
    "long UDP": udp({ ...ends, payload: new Uint8Array(1300) }),
    "UDP without checksum": udp({ ...ends, payload, overrides: { checksum: 0 } }),
    "a wrong UDP checksum": udp({ ...ends, payload, overrides: { checksum: 1 } }),
    "a UDP length that lies": udp({ ...ends, payload, overrides: { length: 99 } }),
    "marked UDP": udp({ ...ends, payload, tos: 0x1c }),
    echo: icmpEcho({ ...ends, identifier: 3, sequence: 4, payload }),
    "echo reply": icmpEcho({ ...ends, reply: true, identifier: 3, sequence: 4, payload }),
    "a protocol that nobody speaks": ipPacket({ ...ends, protocol: 253, payload }),
    "marked echo": icmpEcho({ ...ends, identifier: 3, sequence: 5, payload, tos: 0xb9 }),
    "UDP with padding": udp({ ...ends, payload, overrides: { length: 12 } }),
    ...(family === 6
      ? {
          "behind extension headers": ipPacket({
            ...ends,
            protocol: 253,
            payload,
            extensions: [optionsHeader(60), optionsHeader(60)],
          }),
          "no next header": ipPacket({ ...ends, protocol: 59, payload }),
          "UDP behind options": udp({ ...ends, payload, extensions: [optionsHeader(60)] }),
        }
      : {
          "UDP with options": udp({
            ...ends,
            payload,
            ipOptions: emitIpv4Options([{ type: 1, data: new Uint8Array(0) }]),
          }),
          "an ICMP checksum that is wrong": icmp({
            ...ends,
            type: 8,
            code: 0,
            rest: 1,
            data: payload,
            checksum: 1,
          }),
        }),
  };
}

describeNeeding(
  "hosts answer as the kernel does",
  ["root", "tun", "iptables", "ipset", "conntrack", "ip"],
  () => {
    let judge: KernelJudge;
    beforeAll(async () => {
      judge = await startKernelJudge({ backend: "nft", node: twoDeviceNode() });
      // the judge ends packets before sockets see them: here it is the sockets that are asked
      await judge.run("nft", ["flush", "chain", "inet", "podwire_judge", "input"]);
      await judge.run("nft", ["add", "chain", "inet", "podwire_judge", "input", "{ policy accept; }"]);
    });
    afterAll(async () => {
      await judge.close();
    });

    it.each(families)("to packets that nobody waits for (IPv%i)", async (family) => {
      const packets = Object.entries(strays(family));
      const fates = await judge.judge(packets.map(([, bytes]) => ({ from: "in0", bytes })));
      const theirs = packets.map(([name], i) => [
        name,
        ...(fates[i]?.outputs ?? []).map(({ bytes }) => comparable(bytes)),
      ]);
      const ours = packets.map(([name, bytes]) => [name, ...ourAnswers(bytes).map(comparable)]);
      expect(ours).toEqual(theirs);
      expect(theirs.filter((answers) => answers.length > 1).length).toBeGreaterThan(10);
    });

    it.each(families)("and a server on it hears our client out (TCP over IPv%i)", async (family) => {
      const heard = runOnNode(judge, [
        ...[`s = socket.socket(socket.AF_INET${family === 6 ? "6" : ""})`, "s.setsockopt(1, 2, 1)"],
        ...[`s.bind(("${node[family]}", 80))`, "s.listen(1)", "c, _ = s.accept()", "heard = b''"],
        "while len(heard) < 14: heard += c.recv(100)",
        ...["c.send(b'answer')", "heard += c.recv(100)", "c.close()", "print(heard.decode(), end='')"],
      ]);
      const bridge = await connected(judge, family);
      const { socket } = bridge;
      socket.send();
      socket.send();
      await bridge.until(({ received }) => received > 0);
      socket.close();
      await bridge.until(({ state }) => state === "closed");
      expect(await heard).toBe("podwirepodwire");
      expect(bridge.flags).toMatch(wholeConversation);
    });

    it.each(families)("and a client on it hears our server out (TCP over IPv%i)", async (family) => {
      const bridge = new Bridge(judge, family, true);
      const heard = runOnNode(judge, [
        `s = socket.create_connection(("${client[family]}", 80))`,
        ...["s.send(b'hello')", "heard = b''", "while len(heard) < 14: heard += s.recv(100)"],
        ...[
          "s.shutdown(socket.SHUT_WR)",
          "heard += s.recv(100)",
          "s.close()",
          "print(heard.decode(), end='')",
        ],
      ]);
      await bridge.until(({ received }) => received > 0);
      bridge.socket.send();
      bridge.socket.send();
      await bridge.until(({ state }) => state === "closed");
      expect(await heard).toBe("podwirepodwire");
      expect(bridge.flags).toMatch(wholeConversation);
    });
  },
);

/** Handshake, messages, closing from both sides, no reset. What is repeated, and when bare ACKs come, is a matter of load. */
const wholeConversation = /^S S\. \. (?!.*R).*P\. .*F\. .*F\. .*\.$/;

/** What a program on the node prints. It ends after half a minute, whatever happens. */
async function runOnNode(judge: KernelJudge, lines: readonly string[]): Promise<string> {
  const script = ["import socket, signal", "signal.alarm(30)", ...lines].join("\n");
  const { stdout, stderr } = await judge.run("python3", ["-c", script]);
  return stdout + stderr;
}

/** Knocks until the server is there. */
async function connected(judge: KernelJudge, family: 4 | 6): Promise<Bridge> {
  for (let port = 41_000; port < 41_200; port++) {
    const bridge = new Bridge(judge, family, false, port);
    bridge.socket.connect();
    await bridge.until(({ state }) => state !== "connecting");
    if (bridge.socket.state === "open") return bridge;
    await sleep(100);
  }
  throw new Error("nobody listens");
}

/** Carries packets between a socket of ours and the kernel, until something has come to pass. */
class Bridge {
  readonly lines: string[] = [];
  socket: TcpSocket;
  readonly #makeSocket: (port: number) => TcpSocket;
  /** A server learns the client's port from its SYN. */
  #knowsPeer: boolean;
  readonly #judge: KernelJudge;
  readonly #family: 4 | 6;
  readonly #outbox: Uint8Array[] = [];
  readonly #loop = createEventLoop();

  /** `port`: the client's; a server learns it. */
  constructor(judge: KernelJudge, family: 4 | 6, isServer: boolean, port = 0) {
    this.#judge = judge;
    this.#family = family;
    this.#makeSocket = (clientPort) =>
      new TcpSocket({
        src: parseIp(client[family]) as Ip,
        dst: parseIp(node[family]) as Ip,
        sport: isServer ? 80 : clientPort,
        dport: isServer ? clientPort : 80,
        loop: this.#loop,
        isServer,
        seed: 0xffff_fff8, // sequence numbers turn over on the way
        transmit: (bytes) => this.#outbox.push(bytes),
      });
    this.socket = this.#makeSocket(port);
    this.#knowsPeer = !isServer;
  }

  get flags(): string {
    return this.lines.map((line) => /Flags \[([^\]]*)/.exec(line)?.[1]).join(" ");
  }

  async until(isSo: (socket: TcpSocket) => boolean): Promise<void> {
    for (let round = 0; !isSo(this.socket); round++) {
      if (round === 2000) throw new Error(`never: ${isSo}\n${this.lines.join("\n")}`);
      await this.#exchange();
      await sleep(5);
      this.#loop.runUntil(this.#loop.nowNs() + 5e6);
    }
    await this.#exchange(); // what the last packet gave rise to
  }

  /** Sends what waits to be sent; an echo behind it takes along what the kernel sent meanwhile of its own accord. */
  async #exchange(): Promise<void> {
    const ends = { src: client[this.#family], dst: node[this.#family] };
    const sent = [...this.#outbox.splice(0), icmpEcho({ ...ends, identifier: 1, sequence: 1 })];
    const fates = await this.#judge.judge(sent.map((bytes) => ({ from: "in0", bytes })));
    for (const [i, fate] of fates.entries()) {
      this.#note(sent[i] as Uint8Array);
      for (const { kind, bytes } of fate.outputs) if (kind === "out") this.#receive(bytes);
    }
  }

  #receive(bytes: Uint8Array): void {
    if (!this.#note(bytes)) return;
    const ip = bytes[0]! >>> 4 === 4 ? parseIpv4(bytes) : parseIpv6(bytes);
    if (!ip.ok) return;
    if (!this.#knowsPeer) this.socket = this.#makeSocket(readU16(ip.value.payload, 0));
    this.#knowsPeer = true;
    this.socket.receive(ip.value.payload);
  }

  #note(bytes: Uint8Array): boolean {
    const line = printPacket(bytes);
    if (!line.includes("Flags")) return false;
    this.lines.push(line);
    return true;
  }
}
