/**
 * Replay takes short ways (integers for ends and flows, one watcher, rules described once, no recorder for flows that
 * pass): what it finds must be what a plain look at the same network finds, packet by packet, whatever the packets are.
 */
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { formatIp } from "../../../src/addr/index.ts";
import { type CapturedPacket, LinkType } from "../../../src/capture/index.ts";
import { hookName, Verdict } from "../../../src/filter/index.ts";
import {
  createOriginPlacer,
  emulate,
  NetworkTarget,
  parseSelection,
  Replayer,
  type ReplayPacketDocument,
} from "../../../src/harness/index.ts";
import { buildCluster, type ClusterState, loadManifests } from "../../../src/k8s/index.ts";
import { append, createBatch, decodeRow, rowAddress, tcp, udp } from "../../../src/packet/index.ts";
import type { Network } from "../../../src/sim/index.ts";
import { runs } from "../../runs.ts";
import { manifest, pod, policy } from "../cluster.ts";

const objects = manifest(
  ...["x/a", "x/b", "y/c"].map((id) => pod(id, { node: "n1" })),
  ...["x/d", "y/e"].map((id) => pod(id, { node: "n2" })),
  policy(
    "x/in",
    "{ podSelector: { matchLabels: { app: b } }, ingress: [{ from: [{ podSelector: { matchLabels: { app: a } } }, { ipBlock: { cidr: 198.51.100.0/24 } }], ports: [{ port: 80 }, { port: 53, protocol: UDP }] }] }",
  ),
  policy(
    "y/out",
    "{ podSelector: { matchLabels: { app: e } }, policyTypes: [Egress], egress: [{ to: [{ namespaceSelector: { matchLabels: { kubernetes.io/metadata.name: x } } }] }] }",
  ),
);

interface Step {
  readonly client: string;
  readonly server: string;
  readonly sport: number;
  readonly isTcp: boolean;
  readonly isReply: boolean;
  readonly flags: number;
  readonly seq: number;
  readonly dport: number;
  readonly waitMs: number;
  /** Byte of the packet that is turned, and how; 0: none. */
  readonly damageAt: number;
  readonly damage: number;
}

/** Few ends and ports, so that packets meet flows; most are whole. */
function steps(ends: readonly string[]): fc.Arbitrary<readonly Step[]> {
  return fc.array(
    fc.record<Step>({
      client: fc.constantFrom(...ends),
      server: fc.constantFrom(...ends),
      sport: fc.constantFrom(4000, 4001),
      isTcp: fc.boolean(),
      isReply: fc.boolean(),
      flags: fc.constantFrom(2, 0x12, 0x10, 0x10, 0x11, 4, 0),
      seq: fc.constantFrom(1, 2, 0, 70_000),
      dport: fc.constantFrom(80, 53),
      waitMs: fc.constantFrom(0, 1, 40_000),
      damageAt: fc.nat({ max: 45 }).filter((at) => at !== 4 && at !== 5), // identifications tell packets apart
      damage: fc.constantFrom(0, 0, 0, 0, 1, 0x80, 0xff),
    }),
    { minLength: 10, maxLength: 40, size: "max" },
  );
}

function packetOf(step: Step, identification: number): Uint8Array {
  const { client, server, sport, dport, isReply, flags, seq, damageAt, damage } = step;
  const ends = isReply
    ? { src: server, dst: client, sport: dport, dport: sport }
    : { src: client, dst: server, sport, dport };
  const bytes = step.isTcp
    ? tcp({ ...ends, flags, seq, ack: seq, identification })
    : udp({ ...ends, payload: Uint8Array.of(7), identification });
  if (damageAt < bytes.length) bytes[damageAt] = (bytes[damageAt] ?? 0) ^ damage;
  return bytes;
}

interface PlainView {
  readonly disposition: string;
  readonly verdict: string;
  /** Deciding rule where one stopped it. */
  readonly stoppedBy: string | undefined;
}

/** Asks the network as everything else in podwire does, with text for every address. */
function plainView(network: Network, stations: ReadonlyMap<string, string>, bytes: Uint8Array): PlainView {
  const source = formatIp({ family: 4, words: [new DataView(bytes.buffer).getUint32(12)] });
  const fate = network.deliver(stations.get(source) ?? `ip:${source}`, bytes.slice());
  const { disposition, node, hook, rule, verdict } = fate;
  const isDelivered = disposition === "delivered";
  const described =
    node === undefined || rule < 0 ? undefined : network.node(node).datapath?.describeRule(rule);
  return {
    disposition,
    verdict: isDelivered ? "accept" : verdict === Verdict.reject ? "reject" : "drop",
    stoppedBy: described && `${node} ${hookName[hook ?? -1]} ${described.chain} ${described.text}`,
  };
}

function captured(bytes: Uint8Array, atMs: number): CapturedPacket {
  return {
    interfaceIndex: 0,
    linkType: LinkType.raw,
    seconds: Math.floor(atMs / 1000),
    nanoseconds: (atMs % 1000) * 1e6,
    bytes,
    start: 0,
    end: bytes.length,
    originalLength: bytes.length,
    offset: 0,
    optionsStart: 0,
    optionsEnd: 0,
    isLittleEndian: true,
  };
}

function viewOf({ disposition, verdict, rule }: ReplayPacketDocument): PlainView {
  const isStopped = disposition !== "delivered" && rule !== null;
  return {
    disposition,
    verdict,
    stoppedBy: isStopped ? `${rule.node} ${rule.hook} ${rule.chain} ${rule.text}` : undefined,
  };
}

/** Addresses, and who has them: pods and nodes. */
function stationsOf(state: ClusterState): ReadonlyMap<string, string> {
  const stations = new Map<string, string>();
  for (const { name, addresses } of state.nodes.values())
    for (const ip of addresses) stations.set(formatIp(ip), `node:${name}`);
  for (const { namespace, name, ips } of state.pods.values())
    for (const ip of ips) stations.set(formatIp(ip), `${namespace}/${name}`);
  return stations;
}

const outside = "198.51.100.7";

describe.each(["azure-npm", "cilium", "none"])("law: replay finds what a plain look finds, %s", (engine) => {
  const selection = parseSelection(engine);
  if (selection.kind !== "product") throw new Error(`${engine} is no product`);
  const { state } = buildCluster(loadManifests(objects), selection.aks);
  const stations = stationsOf(state);
  const pods = [...state.pods.values()].flatMap(({ ips }) => ips.map(formatIp));

  it("packet by packet", () => {
    let judged = 0;
    const law = (made: readonly Step[]): void => {
      const { network } = emulate(state, selection, { seed: 1 });
      const target = new NetworkTarget(emulate(state, selection, { seed: 1 }).network, () => state);
      const replayer = new Replayer(target, createOriginPlacer([]));
      network.openOutside((_, words) => !stations.has(formatIp({ family: 4, words: [words[0] ?? 0] })));
      const flowEnds = new Map<number, string>();
      let nowMs = 0;
      for (const [i, step] of made.entries()) {
        // what goes out would be translated, and what a pod sends itself never leaves it
        if (step.server === outside || step.server === step.client) continue;
        if (step.client === outside && step.isReply) continue;
        nowMs += step.waitMs;
        const bytes = packetOf(step, i);
        const document = replayer.replay(captured(bytes.slice(), nowMs));
        const { disposition, flow } = document;
        if (disposition === "unknown-address" || disposition === "not-unicast") continue;
        network.loop.runUntil(nowMs * 1e6);
        const plain = plainView(network, stations, bytes);
        if (disposition === "held") {
          expect(plain.disposition).toBe("lost");
          continue;
        }
        expect(viewOf(document), document.line).toEqual(plain);
        judged++;
        if (flow === undefined) continue;
        const key = unorderedEnds(bytes);
        expect(flowEnds.get(flow) ?? key, document.line).toBe(key);
        flowEnds.set(flow, key);
      }
      const { counts } = replayer;
      expect(counts.judged).toBe(counts.delivered + counts.denied + counts.failed);
    };
    fc.assert(fc.property(steps([...pods, outside]), law), runs(20));
    expect(judged).toBeGreaterThan(100);
  });
});

/** Protocol, and both addresses and ports in the order of their texts. */
function unorderedEnds(bytes: Uint8Array): string {
  const batch = createBatch(1, 2048);
  append(batch, bytes);
  decodeRow(batch, 0);
  const ends = (["src", "dst"] as const).map(
    (side) => `${formatIp(rowAddress(batch, 0, side))} ${(side === "src" ? batch.sport : batch.dport)[0]}`,
  );
  return `${batch.protocol[0]} ${ends.sort().join(" ")}`;
}
