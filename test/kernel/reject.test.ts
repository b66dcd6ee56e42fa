/** What REJECT sends, byte for byte, against the kernel: every kind, packets of every sort, both families. */
import { afterAll, beforeAll, expect, it } from "vitest";
import { createPrng, type Prng } from "../../src/base/index.ts";
import { createHookResults, Hook, Verdict } from "../../src/filter/index.ts";
import { linkIptables, restoreRuleset } from "../../src/filter/iptables/index.ts";
import { type KernelJudge, startKernelJudge, twoDeviceNode } from "../../src/harness/kernel/index.ts";
import {
  append,
  createBatch,
  decodeRow,
  decrementTtl,
  icmp,
  icmpError,
  ipPacket,
  rowBytes,
  sctp,
  tcp,
  udp,
} from "../../src/packet/index.ts";
import { printPacket, TcpFlag } from "../../src/wire/index.ts";
import { linkContext } from "../filter/node.ts";
import { describeNeeding } from "../needs.ts";

const kinds = {
  4: [
    "icmp-net-unreachable",
    "icmp-host-unreachable",
    "icmp-proto-unreachable",
    "icmp-port-unreachable",
    "icmp-net-prohibited",
    "icmp-host-prohibited",
    "icmp-admin-prohibited",
  ],
  6: [
    "icmp6-no-route",
    "icmp6-adm-prohibited",
    "icmp6-addr-unreachable",
    "icmp6-port-unreachable",
    "icmp6-policy-fail",
    "icmp6-reject-route",
  ],
} as const;

/** The n-th client is rejected in the n-th manner; client 0 by a reset. */
function clientOf(family: 4 | 6, number: number): string {
  return family === 4 ? `10.0.0.${number + 1}` : `fd00::${number + 1}`;
}

function rulesOf(family: 4 | 6, chain: string): readonly string[] {
  return [
    `-A ${chain} -s ${clientOf(family, 0)} -p tcp -j REJECT --reject-with tcp-reset`,
    ...kinds[family].map(
      (kind, i) => `-A ${chain} -s ${clientOf(family, i + 1)} -j REJECT --reject-with ${kind}`,
    ),
  ];
}

function rules(family: 4 | 6): string {
  return [
    "*filter",
    ":INPUT ACCEPT [0:0]",
    ":FORWARD ACCEPT [0:0]",
    ":OUTPUT ACCEPT [0:0]",
    ...rulesOf(family, "INPUT"),
    ...rulesOf(family, "FORWARD"),
    // The node's own packets are told apart by whom they are for.
    ...rulesOf(family, "OUTPUT").map((line) =>
      line.replace("-s 10.0.0.", "-d 203.0.113.").replace("-s fd00:", "-d 2001:db8:5:"),
    ),
    "COMMIT",
    "",
  ].join("\n");
}

interface Sent {
  readonly from: string;
  readonly bytes: Uint8Array;
  readonly path: "forward" | "input" | "output";
}

function drawPacket(random: Prng, family: 4 | 6): Sent {
  const path = random.pick(["forward", "forward", "input", "output"] as const);
  const [far, own] = family === 4 ? ["203.0.113.5", "192.0.2.1"] : ["2001:db8:5::5", "2001:db8::1"];
  const client = clientOf(family, random.below(3) === 0 ? 0 : 1 + random.below(kinds[family].length));
  const fields = {
    src: path === "output" ? own : client,
    dst:
      path === "input"
        ? own
        : path === "output"
          ? client.replace("10.0.0.", "203.0.113.").replace("fd00:", "2001:db8:5:")
          : far,
    sport: 1 + random.below(65_535),
    dport: 1 + random.below(65_535),
    tos: random.below(256),
    ttl: 2 + random.below(250),
    identification: random.below(65_536),
    dontFragment: random.below(2) === 0,
  };
  const payload = new Uint8Array(random.pick([0, 1, 7, 100, 700, 1300])).map(() => random.below(256));
  const checksum = random.below(8) === 0 ? { overrides: { checksum: random.below(3) } } : {};
  const { syn, ack, rst, fin, psh } = TcpFlag;
  const bytes = random.pick([
    () =>
      tcp({
        ...fields,
        flags: random.pick([syn, syn | ack, ack, ack | psh, fin | ack, fin, rst, rst | ack, 0]),
        seq: random.nextU32(),
        ack: random.nextU32(),
        payload,
        options: random.below(2) === 0 ? [{ kind: "mss", bytes: 9 }] : [],
        ...checksum,
      }),
    () => udp({ ...fields, payload, ...checksum }),
    () => sctp({ ...fields, verificationTag: 1, chunks: [{ kind: "cookie-ack" }], ...checksum }),
    () =>
      icmp({
        ...fields,
        type: random.pick([0, 3, 8, 9, 11, 13, 40, 128, 129, 133, 137, 1]),
        code: 0,
        rest: 5,
        data: payload,
        ...(random.below(8) === 0 ? { checksum: 3 } : {}),
      }),
    () =>
      icmpError(udp({ ...fields, src: fields.dst, dst: fields.src }), fields.src, family === 4 ? 3 : 1, 1),
    () =>
      ipPacket({
        ...fields,
        protocol: random.pick([47, 50, 51, 136, 33, 200, 6, 17, 1]),
        payload: random.below(2) === 0 ? new Uint8Array(payload.length) : payload,
      }),
  ])();
  return { from: path === "output" ? "inside" : "in0", bytes, path };
}

/**
 * What no model can know: an ICMP error's identification (with the header's checksum) and its flow label; and what
 * loopback never finishes, a reset's checksum.
 */
function withoutDrawn(bytes: Uint8Array, isOverLoopback: boolean): string {
  const copy = bytes.slice();
  if (isOverLoopback && copy[0]! >>> 4 === 4 && copy[9] === 6) copy.fill(0, 36, 38);
  if (copy[0]! >>> 4 === 4 && copy[9] === 1) copy.fill(0, 4, 6).fill(0, 10, 12);
  if (copy[0]! >>> 4 === 6) copy.fill(0, 1, 4);
  return Buffer.from(copy).toString("hex");
}

/** The answers of our model to one packet. */
function modelAnswers(datapath: ReturnType<typeof linkIptables>, sent: Sent): readonly Uint8Array[] {
  const [batch, out] = [createBatch(1, 4096), createHookResults(1)];
  append(batch, sent.bytes);
  decodeRow(batch, 0);
  batch.state.iif[0] = sent.path === "output" ? 0 : 2;
  batch.state.oif[0] = sent.path === "input" ? 0 : 3;
  if (sent.path !== "output") datapath.run(Hook.prerouting, batch, 0, 1, out);
  if (sent.path === "forward") decrementTtl(batch, 0);
  const hook = { forward: Hook.forward, input: Hook.input, output: Hook.output }[sent.path];
  if (sent.path === "output" || out.verdict[0] === Verdict.accept) datapath.run(hook, batch, 0, 1, out);
  return Array.from({ length: out.emitted.length }, (_, i) => rowBytes(out.emitted, i).slice());
}

describeNeeding("REJECT", ["root", "tun", "iptables", "ipset", "conntrack", "ip"], () => {
  let judge: KernelJudge;
  beforeAll(async () => {
    judge = await startKernelJudge({ backend: "legacy", node: twoDeviceNode() });
    await judge.load({ v4: rules(4), v6: rules(6) });
  });
  afterAll(async () => {
    await judge.close();
  });

  for (const family of [4, 6] as const)
    it(`sends the kernel's bytes in IPv${family}`, { timeout: 60_000 }, async () => {
      const random = createPrng(Number(process.env["PODWIRE_SEED"] ?? 1));
      const sent = Array.from({ length: 4000 }, () => drawPacket(random, family));
      const fates = await judge.judge(sent);
      const datapath = linkIptables(
        { v4: restoreRuleset(rules(4), "v4", 4), v6: restoreRuleset(rules(6), "v6", 6), sets: new Map() },
        linkContext(),
      );
      let answered = 0;
      for (const [i, packet] of sent.entries()) {
        const fate = fates[i];
        if (fate === undefined || fate.verdict === "forwarded" || fate.verdict === "delivered") continue;
        const kernel = fate.outputs
          .filter(({ kind }) => kind === "out")
          .map(({ bytes }) => withoutDrawn(bytes, packet.path === "output"));
        const model = modelAnswers(datapath, packet).map((bytes) =>
          withoutDrawn(bytes, packet.path === "output"),
        );
        expect(model, `${i}: ${printPacket(packet.bytes)}`).toEqual(kernel);
        answered += kernel.length;
      }
      expect(answered).toBeGreaterThan(1000);
    });
});
