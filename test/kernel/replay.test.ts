/**
 * Replay against what really happened: namespaces with azure-npm's rules, real TCP and UDP sockets and crafted SCTP in
 * them, tcpdump beside them. Every packet that came into a node must be judged as the kernel judged it: by the engine on
 * the manifests, and by the tables as the kernel's own tools dump them.
 */
import { execFileSync } from "node:child_process";
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { formatIp } from "../../src/addr/index.ts";
import {
  type CapturedPacket,
  cookedInterface,
  createCaptureReader,
  networkOffset,
} from "../../src/capture/index.ts";
import {
  compileCluster,
  emulate,
  nodeFiles,
  type ProductSelection,
  parseSelection,
  type ReplayDocument,
  type ReplayPacketDocument,
} from "../../src/harness/index.ts";
import type { KernelBackend } from "../../src/harness/kernel/index.ts";
import { buildCluster, type ClusterState, loadManifests } from "../../src/k8s/index.ts";
import { sctp } from "../../src/packet/index.ts";
import { initChunk } from "../../src/sim/stack/sctp.ts";
import { IpProtocol, readU16 } from "../../src/wire/index.ts";
import { podwire } from "../cli/installed.ts";
import { pod, policy } from "../harness/cluster.ts";
import { describeNeeding } from "../needs.ts";
import { type SocketAttempt, VethCluster } from "./veth-cluster.ts";

const outside = ["198.51.100.7", "203.0.113.9"];
const ports = "ports: [{ port: 80 }, { port: 53, protocol: UDP }, { port: 9, protocol: SCTP }]";

/** Two nodes; allowed and denied pairs on one node and across, by peers, by ranges, in both directions. */
const objects = [
  ...["x/a", "x/b", "y/d"].map((id) => pod(id, { node: "n1" })),
  ...["x/c", "y/e"].map((id) => pod(id, { node: "n2" })),
  policy(
    "x/web",
    `{ podSelector: { matchLabels: { app: b } }, ingress: [{ from: [{ podSelector: { matchLabels: { app: a } } }, { namespaceSelector: { matchLabels: { kubernetes.io/metadata.name: y } } }], ${ports} }] }`,
  ),
  policy(
    "x/edge",
    `{ podSelector: { matchLabels: { app: c } }, ingress: [{ from: [{ ipBlock: { cidr: 198.51.100.0/24 } }, { podSelector: { matchLabels: { app: b } } }], ${ports} }, { from: [{ podSelector: { matchLabels: { app: a } } }], ports: [{ port: 81 }] }] }`,
  ),
  policy(
    "y/shy",
    "{ podSelector: { matchLabels: { app: d } }, policyTypes: [Egress], egress: [{ to: [{ namespaceSelector: { matchLabels: { kubernetes.io/metadata.name: x } } }] }, { to: [{ ipBlock: { cidr: 203.0.113.0/24, except: [203.0.113.9/32] } }] }] }",
  ),
];
const manifests = objects.join("---\n");
const pods = ["x/a", "x/b", "y/d", "x/c", "y/e"];
const nodes = ["n1", "n2"];

interface World {
  readonly folder: string;
  readonly cluster: VethCluster;
  readonly state: ClusterState;
}

const address = (state: ClusterState, id: string): string => {
  const [ip] = state.pods.get(id)?.ips ?? [];
  if (ip === undefined) throw new Error(`no address of ${id}`);
  return formatIp(ip);
};

function product(name: string): ProductSelection {
  const selection = parseSelection(name);
  if (selection.kind !== "product") throw new Error(`${name} is no product`);
  return selection;
}

/** What `compile` writes, loaded; and what the kernel's tools dump of it, kept beside the captures. */
async function build(backend: KernelBackend): Promise<World> {
  const selection = product("azure-npm");
  const folder = mkdtempSync(join(tmpdir(), "podwire-replay-"));
  writeFileSync(join(folder, "cluster.yaml"), manifests);
  const { state } = buildCluster(loadManifests([{ name: "c", text: manifests }]), selection.aks);
  const { spec } = emulate(state, selection, { seed: 1 }).topology;
  const cluster = new VethCluster(spec, backend, outside);
  const compiled = compileCluster(state, selection);
  for (const node of nodes) {
    cluster.load(node, nodeFiles(state, node, compiled.get(node)?.tables ?? {}));
    mkdirSync(join(folder, node));
    const at = cluster.nodeNamespace(node);
    writeFileSync(join(folder, node, "iptables.save"), cluster.run(at, [`iptables-${backend}-save`, "-c"]));
    writeFileSync(join(folder, node, "ipset.save"), cluster.run(at, ["ipset", "save"]));
    writeFileSync(join(folder, node, "addr.json"), cluster.run(at, ["ip", "-j", "addr"]));
    writeFileSync(join(folder, node, "route.json"), cluster.run(at, ["ip", "-j", "route"]));
  }
  return { folder, cluster, state };
}

/** Every pair of pods, and pods with hosts outside, at open, closed and denied ports. */
async function talk({ cluster, state }: World): Promise<ReadonlyMap<string, number>> {
  const listening = { tcp: [80, 81], udp: [53] };
  for (const id of pods) await cluster.serve(cluster.podNamespace(id), [address(state, id)], listening);
  await cluster.serve(cluster.fabric, outside, listening);
  const to = (target: string): readonly SocketAttempt[] => [
    ...[80, 81, 82].map((port) => ({ protocol: "tcp" as const, address: target, port })),
    ...[53, 54].map((port) => ({ protocol: "udp" as const, address: target, port })),
  ];
  const outcomes = new Map<string, number>();
  const sources = [
    ...pods.map((id) => [id, cluster.podNamespace(id)] as const),
    ["", cluster.fabric] as const,
  ];
  for (const [id, namespace] of sources) {
    const targets = pods.filter((one) => one !== id).map((one) => address(state, one));
    const attempts = [...targets, ...(id === "" ? [] : outside)].flatMap(to);
    for (const outcome of await cluster.connect(namespace, attempts))
      outcomes.set(outcome, (outcomes.get(outcome) ?? 0) + 1);
  }
  return outcomes;
}

/** Associations with right and wrong tags, and stray chunks; nobody listens: kernels answer that they know no SCTP. */
function associate({ cluster, state }: World): void {
  let sport = 5000;
  let identification = 1;
  const packet = (fields: Parameters<typeof sctp>[0]): Uint8Array =>
    sctp({ ...fields, identification: identification++ });
  for (const client of ["x/a", "y/d", "y/e"])
    for (const server of ["x/b", "x/c"]) {
      const ends = { src: address(state, client), dst: address(state, server), sport: sport++, dport: 9 };
      const back = { src: ends.dst, dst: ends.src, sport: ends.dport, dport: ends.sport };
      const from = cluster.podNamespace(client);
      const at = cluster.podNamespace(server);
      const init = initChunk("init", 0x1111);
      const data = {
        kind: "data",
        flags: 3,
        tsn: 1,
        stream: 0,
        sequence: 0,
        payloadProtocol: 0,
        data: Uint8Array.of(112, 111, 100),
      } as const;
      const cookie = { kind: "cookie-echo", cookie: Uint8Array.of(9, 9, 9, 9) } as const;
      const [one, two] = [0x1111, 0x2222];
      const answer = (verificationTag: number): Uint8Array =>
        packet({ ...back, verificationTag, chunks: [initChunk("init-ack", two, Uint8Array.of(9, 9, 9, 9))] });
      cluster.sendRaw(from, [packet({ ...ends, sport: sport++, verificationTag: two, chunks: [data] })]); // stray
      cluster.sendRaw(from, [packet({ ...ends, verificationTag: 0, chunks: [init] })]);
      cluster.sendRaw(at, [answer(0xbad), answer(one)]);
      cluster.sendRaw(from, [packet({ ...ends, verificationTag: two, chunks: [cookie] })]);
      cluster.sendRaw(at, [packet({ ...back, verificationTag: one, chunks: [{ kind: "cookie-ack" }] })]);
      cluster.sendRaw(
        from,
        [0xbad, two].map((verificationTag) => packet({ ...ends, verificationTag, chunks: [data] })),
      );
    }
}

/** A packet of a capture, and what the cooked header of an `any` capture says of its way. */
interface Sighting {
  readonly index: number;
  readonly interface: number;
  readonly isOut: boolean;
  readonly src: string;
  readonly dst: string;
  /** The packet but for what forwarding and NAT change. */
  readonly content: string;
}

function sightingsOf(file: string): readonly Sighting[] {
  const sightings: Sighting[] = [];
  let index = 0;
  const bytes = readFileSync(file);
  const reader = createCaptureReader(file, {
    packet: (packet) => {
      const sighting = sightingOf(packet, index++);
      if (sighting !== undefined) sightings.push(sighting);
    },
  });
  reader.push(bytes);
  reader.end();
  return sightings;
}

function sightingOf(captured: CapturedPacket, index: number): Sighting | undefined {
  const { bytes, start } = captured;
  const at = networkOffset(captured);
  if (at < 0 || bytes[at] !== 0x45) return undefined;
  const packet = bytes.slice(at, at + readU16(bytes, at + 2));
  const protocol = packet[9] ?? 0;
  const transport = packet.slice(20);
  // ports and checksum; an ICMP error embeds a packet that NAT changes too, all but its identification
  const changed = { 1: [2, 12], 6: [16, 18], 17: [6, 8], 132: [8, 12] }[protocol] ?? [0, 0];
  transport.fill(0, ...changed);
  transport.fill(0, ...(protocol === IpProtocol.icmp ? [14, transport.length] : [0, 4]));
  const dotted = (from: number): string => packet.slice(from, from + 4).join(".");
  return {
    index,
    interface: cookedInterface(captured),
    isOut: bytes[start + 10] === 4, // PACKET_OUTGOING
    src: dotted(12),
    dst: dotted(16),
    content: `${protocol} ${readU16(packet, 4)} ${Buffer.from(transport).toString("hex")}`,
  };
}

/** How often packets of each content came in where `comesIn` says, and went out where `goesOut` says. */
function fates(
  sightings: readonly Sighting[],
  comesIn: (one: Sighting) => boolean,
  goesOut: (one: Sighting) => boolean,
): ReadonlyMap<string, { in: number; out: number }> {
  const counts = new Map<string, { in: number; out: number }>();
  for (const one of sightings) {
    const count = counts.get(one.content) ?? { in: 0, out: 0 };
    if (one.isOut ? goesOut(one) : comesIn(one)) count[one.isOut ? "out" : "in"]++;
    counts.set(one.content, count);
  }
  return counts;
}

interface Comparison {
  readonly delivered: number;
  readonly denied: number;
  /** Such as `132 denied`: protocols with each fate that they met. */
  readonly kinds: ReadonlySet<string>;
  readonly problems: readonly string[];
}

/** Holds each packet of a replayed capture against what became of it. */
function compare(
  documents: readonly ReplayPacketDocument[],
  sightings: readonly Sighting[],
  truth: ReadonlyMap<string, { readonly in: number; readonly out: number }>,
): Comparison {
  const problems: string[] = [];
  const count = { delivered: 0, denied: 0 };
  const kinds = new Set<string>();
  for (const { index, content } of sightings) {
    const fate = truth.get(content);
    if (fate === undefined || fate.in === 0) continue; // the node's own
    const { line, verdict, disposition, rule } = documents[index] as ReplayPacketDocument;
    const isDelivered = fate.out === fate.in;
    if (!isDelivered && fate.out > 0)
      problems.push(`${line}: came in ${fate.in} times, out ${fate.out} times`);
    if ((verdict === "accept") !== isDelivered || verdict === "none")
      problems.push(
        `${index} ${line}: ${disposition} (${rule?.node} ${rule?.chain} ${rule?.text}), in the kernel ${isDelivered ? "delivered" : "denied"}`,
      );
    const what = isDelivered ? "delivered" : "denied";
    count[what]++;
    kinds.add(`${content.slice(0, content.indexOf(" "))} ${what}`);
  }
  return { ...count, kinds, problems };
}

function replay({ folder }: World, args: readonly string[]): ReplayDocument {
  const { code, stdout, stderr } = podwire(["replay", ...args, "-o", "json", "-q"], { cwd: folder });
  if (code !== 0) throw new Error(stderr);
  return JSON.parse(stdout) as ReplayDocument;
}

const needs = ["root", "ip", "iptables", "iptables-nft", "ipset", "tcpdump", "tshark"] as const;

describeNeeding("a capture of what the kernel did", needs, () => {
  describe.each(["legacy", "nft"] as const)("on %s", (backend) => {
    let world: World;
    const captures: string[] = [];
    let outcomes: ReadonlyMap<string, number>;

    beforeAll(async () => {
      world = await build(backend);
      const { cluster, folder } = world;
      const running = [];
      for (const node of nodes) {
        const at = cluster.nodeNamespace(node);
        const names = Object.keys(interfacesOf(world, node)).filter((name) => name !== "lo");
        for (const name of ["any", ...names]) {
          const file = join(folder, node, `${name}.pcap`);
          running.push(await cluster.capture(at, name, file));
          if (name !== "any") captures.push(file);
        }
      }
      outcomes = await talk(world);
      associate(world);
      for (const one of running) await one.stop();
    }, 240_000);
    afterAll(async () => {
      await world.cluster.close();
      rmSync(world.folder, { recursive: true });
    });

    it("has conversations of all kinds", () => {
      for (const outcome of ["connected", "refused", "timeout"])
        expect(outcomes.get(outcome) ?? 0, outcome).toBeGreaterThan(10);
    });

    /** All sightings in the nodes' namespaces, by tcpdump on `any`. */
    const cooked = (node: string): readonly Sighting[] => sightingsOf(join(world.folder, node, "any.pcap"));

    /** Where packets come into the cluster and go out of it: pods' interfaces, and the uplinks from and to outside. */
    const endToEnd = (): ReturnType<typeof fates> => {
      const inside = new Set(pods.map((id) => address(world.state, id)));
      const ofNodes = [...world.state.nodes.values()].flatMap((node) => node.addresses.map(formatIp));
      const all = nodes.flatMap((node) => {
        const uplink = interfacesOf(world, node)["eth0"];
        return cooked(node).map((one) => ({ ...one, isUplink: one.interface === uplink }));
      });
      const [comesIn, goesOut] = [new Set<Sighting>(), new Set<Sighting>()];
      for (const one of all) {
        if (!one.isUplink || !(inside.has(one.src) || ofNodes.includes(one.src))) comesIn.add(one);
        if (!one.isUplink || !(inside.has(one.dst) || ofNodes.includes(one.dst))) goesOut.add(one);
      }
      return fates(
        all,
        (one) => comesIn.has(one),
        (one) => goesOut.has(one),
      );
    };

    it.each(["any", "interfaces"])(
      "replays with the same fate by the engine on the manifests (%s)",
      (way) => {
        const { folder } = world;
        const merged = join(folder, `${way}.pcapng`);
        const files = way === "any" ? nodes.map((node) => join(folder, node, "any.pcap")) : captures;
        execFileSync("mergecap", ["-w", merged, ...files]);
        const document = replay(world, [merged, "cluster.yaml", "--engine", "azure-npm"]);
        expect(document.counts).toMatchObject({ unknownAddress: 0, failed: 0 });
        const found = compare(document.packets, sightingsOf(merged), endToEnd());
        const { delivered, denied, problems, kinds } = found;
        expect(problems.slice(0, 10)).toEqual([]);
        expect(delivered).toBeGreaterThan(500);
        expect(denied).toBeGreaterThan(100);
        const { tcp, udp, sctp } = IpProtocol;
        for (const protocol of [tcp, udp, sctp])
          for (const what of ["delivered", "denied"]) expect(kinds).toContain(`${protocol} ${what}`);
        console.log(
          `${backend}, ${way}: ${delivered} packets delivered and ${denied} denied, as in the kernel`,
        );
      },
    );

    it.each(nodes)("replays with the same fate by the tables that the tools dump on %s", (node) => {
      const { folder } = world;
      const tables = ["--iptables", join(node, "iptables.save"), "--ipset", join(node, "ipset.save")];
      const facts = ["--addresses", join(node, "addr.json"), "--routes", join(node, "route.json")];
      const capture = join(folder, node, "any.pcap");
      const document = replay(world, [capture, ...tables, ...facts, "--at", node]);
      const sightings = cooked(node);
      const always = (): boolean => true;
      const truth = fates(sightings, always, always);
      const { delivered, denied, problems } = compare(document.packets, sightings, truth);
      expect(problems.slice(0, 10)).toEqual([]);
      expect(delivered).toBeGreaterThan(100);
      expect(denied).toBeGreaterThan(5);
      console.log(
        `${backend}, ${node}: ${delivered} packets delivered and ${denied} denied, as in the kernel`,
      );
    });
  });
});

/** Interface numbers by name. */
function interfacesOf({ cluster }: World, node: string): Readonly<Record<string, number>> {
  const listed = cluster.run(cluster.nodeNamespace(node), ["ip", "-o", "link", "show"]);
  const found = [...listed.matchAll(/^(\d+): ([^:@]+)/gm)];
  return Object.fromEntries(found.map(([, index, name]) => [name ?? "", Number(index)]));
}
