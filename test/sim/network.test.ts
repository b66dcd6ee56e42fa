/** The running network: nothing is lost from the books, runs repeat byte by byte, taps see what crosses. */
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { createPrng } from "../../src/base/index.ts";
import { Hook } from "../../src/filter/index.ts";
import { tcp, udp } from "../../src/packet/index.ts";
import {
  type FlowProtocol,
  firstPacket,
  type HookWatcher,
  type PacketFate,
  paths,
  type TapEvent,
} from "../../src/sim/index.ts";
import { checksumHolds, parseIpv4, printPacket } from "../../src/wire/index.ts";
import { randomPackets } from "../packet/random-packets.ts";
import { runs } from "../runs.ts";
import { addressOf, type Decide, ip, type SmallWorld, smallWorld } from "./small-network.ts";

const pods = ["x/a", "x/b", "x/c"] as const;

interface Deed {
  readonly from: (typeof pods)[number];
  readonly to: (typeof pods)[number] | "nowhere" | "n1";
  readonly protocol: FlowProtocol;
  readonly port: number;
  readonly family: 4 | 6;
  /** Until the next one. */
  readonly waitNs: number;
}

const deed: fc.Arbitrary<Deed> = fc.record({
  from: fc.constantFrom(...pods),
  to: fc.constantFrom(...pods, "nowhere" as const, "n1" as const),
  protocol: fc.constantFrom("TCP" as const, "UDP" as const, "SCTP" as const, "ICMP" as const),
  port: fc.constantFrom(80, 81),
  family: fc.constantFrom(4 as const, 6 as const),
  waitNs: fc.constantFrom(0, 10_000, 60_000, 1_000_000_000),
});

function addressOfEnd(end: Deed["to"], family: 4 | 6): ReturnType<typeof ip> {
  if (end === "nowhere") return ip(family === 4 ? "192.0.2.9" : "2001:db8::9");
  if (end === "n1") return ip(family === 4 ? "10.0.0.1" : "fd00::1");
  return addressOf[end]![family];
}

/** Drops, rejects and passes by a seed, each at random. */
function moody(seed: number): Decide {
  const random = createPrng(seed);
  return () => (random.below(10) === 0 ? "drop" : "pass");
}

interface Books {
  readonly sent: number;
  readonly delivered: number;
  readonly dropped: number;
  readonly inFlight: number;
}

const balance = ({ sent, delivered, dropped, inFlight }: Books): number =>
  sent - delivered - dropped - inFlight;

function play(world: SmallWorld, deeds: readonly Deed[], onStep: () => void = () => undefined): void {
  const { network, hosts } = world;
  for (const { from, to, protocol, port, family, waitNs } of deeds) {
    const request = { from, src: addressOf[from]![family], dst: addressOfEnd(to, family), protocol, port };
    const flow = hosts.connect(request, 500_000_000);
    onStep();
    if (flow.outcome === "connected") hosts.send(flow, "client");
    flow.client.close();
    network.loop.runUntil(network.loop.nowNs() + waitNs);
    onStep();
  }
}

describe("the law of conservation", () => {
  it("law: packets sent = delivered + dropped + in flight, at every moment of random traffic", () => {
    fc.assert(
      fc.property(fc.array(deed, { maxLength: 12 }), fc.integer(), (deeds, seed) => {
        const fates = { delivered: 0, other: 0 };
        const fate = ({ disposition }: PacketFate): void => {
          fates[disposition === "delivered" ? "delivered" : "other"]++;
          expect(balance(world.network.counts)).toBe(0);
        };
        const world = smallWorld({ fate }, moody(seed));
        play(world, deeds, () => expect(balance(world.network.counts)).toBe(0));
        world.network.loop.runUntilIdle();
        const { sent, delivered, dropped, inFlight } = world.network.counts;
        expect([inFlight, sent]).toEqual([0, delivered + dropped]);
        expect([delivered, dropped]).toEqual([fates.delivered, fates.other]);
      }),
      runs(60),
    );
  });

  it("law: it holds for any packet that a pod may send, broken ones too", () => {
    const packet = fc.oneof(
      randomPackets.map(({ bytes }) => bytes),
      fc.uint8Array({ maxLength: 60 }),
    );
    fc.assert(
      fc.property(
        fc.array(fc.tuple(fc.constantFrom(...pods, "gone/pod", "node:n1", "ip:192.0.2.1"), packet)),
        (sends) => {
          const { network } = smallWorld();
          for (const [from, bytes] of sends) network.send(from, bytes);
          network.loop.runUntilIdle();
          expect(network.counts.inFlight).toBe(0);
          expect(balance(network.counts)).toBe(0);
          for (const [from, bytes] of sends) expect(network.deliver(from, bytes).disposition).not.toBe("");
          expect(balance(network.counts)).toBe(0);
        },
      ),
    );
  });
});

describe("a run", () => {
  it("law: repeats byte by byte, with the same times at the same interfaces", () => {
    fc.assert(
      fc.property(fc.array(deed, { maxLength: 8 }), fc.integer(), (deeds, seed) => {
        const record = (): string => {
          const events: TapEvent[] = [];
          play(smallWorld({ tap: (event) => events.push(event) }, moody(seed)), deeds);
          return events
            .map(
              ({ atNs, node, interface: { name }, direction, bytes }) =>
                `${atNs} ${node}:${name} ${direction} ${Buffer.from(bytes).toString("hex")}`,
            )
            .join("\n");
        };
        expect(record()).toBe(record());
      }),
      runs(30),
    );
  });
});

describe("a packet's path", () => {
  class HookList implements HookWatcher {
    readonly seen: string[] = [];
    before(node: string, hook: number): undefined {
      this.seen.push(`${node} ${nameOf(hook)}`);
      return undefined;
    }
    after(): void {}
  }
  const nameOf = (hook: number): string =>
    Object.entries(Hook).find(([, value]) => value === hook)?.[0] ?? "";

  function hooksOf(from: string, packet: Uint8Array): readonly string[] {
    const watcher = new HookList();
    const { network } = smallWorld({}, () => "pass");
    network.addExternal(ip("192.0.2.1"));
    network.deliver(from, packet, watcher);
    return watcher.seen;
  }
  const datagram = (src: string, dst: string): Uint8Array => udp({ src, dst, sport: 1, dport: 2 });

  it("from pod to pod of one node is that node's forward path", () => {
    expect(hooksOf("x/a", datagram("10.1.1.1", "10.1.1.2"))).toEqual([
      "n1 prerouting",
      "n1 forward",
      "n1 postrouting",
    ]);
  });

  it("from pod to pod of another node is both nodes' forward paths", () => {
    expect(hooksOf("x/a", datagram("10.1.1.1", "10.1.2.1"))).toEqual(
      ["n1", "n2"].flatMap((node) =>
        ["prerouting", "forward", "postrouting"].map((hook) => `${node} ${hook}`),
      ),
    );
  });

  it("from pod to its node ends in the input hook", () => {
    expect(hooksOf("x/a", datagram("10.1.1.1", "10.0.0.1"))).toEqual(["n1 prerouting", "n1 input"]);
  });

  it("from node to pod begins with the output hook", () => {
    expect(hooksOf("node:n1", datagram("10.0.0.1", "10.1.1.1"))).toEqual(["n1 output", "n1 postrouting"]);
  });

  it("from node to itself goes over the loopback, out and in", () => {
    expect(hooksOf("node:n1", datagram("10.0.0.1", "10.0.0.1"))).toEqual(
      ["output", "postrouting", "prerouting", "input"].map((hook) => `n1 ${hook}`),
    );
  });

  it("is data: three paths on Linux, and the endpoint's two hooks on Windows", () => {
    const hooks = (steps: (typeof paths.linux)["arrive"]): string =>
      steps.map((step) => (step.kind === "hook" ? nameOf(step.hook) : step.kind)).join(" ");
    const { linux, windows } = paths;
    expect(hooks(linux.arrive)).toBe("xdp tcIngress prerouting route");
    expect(hooks(linux.toNode)).toBe("input");
    expect(hooks(linux.onward)).toBe("ttl forward postrouting tcEgress");
    expect(hooks(linux.fromNode)).toBe("route output reroute postrouting tcEgress");
    expect(hooks(windows.arrive)).toMatch(/^endpointOut/);
    expect(hooks(windows.onward)).toMatch(/endpointIn/);
  });

  it("ends where TTL does, and the node says so", () => {
    const { network } = smallWorld();
    const fate = network.deliver(
      "x/a",
      udp({ src: "10.1.1.1", dst: "10.1.2.1", sport: 1, dport: 2, ttl: 1 }),
    );
    expect(fate.disposition).toBe("lost");
    expect(fate.emitted.map(({ node, bytes }) => `${node} ${printPacket(bytes)}`)).toEqual([
      "n1 IP 10.0.0.1 > 10.1.1.1: ICMP time exceeded in-transit, length 36",
    ]);
  });

  it("ends at the door with a broken header or a wrong header checksum, as ip_rcv has it", () => {
    const { network } = smallWorld();
    const good = { src: "10.1.1.1", dst: "10.1.2.1", sport: 1, dport: 2 };
    expect(network.deliver("x/a", udp(good)).disposition).toBe("delivered");
    for (const ipOverrides of [{ totalLength: 999 }, { headerWords: 4 }, { checksum: 0xbad }])
      expect(network.deliver("x/a", udp({ ...good, ipOverrides })).disposition).toBe("malformed");
    // a wrong transport checksum is the receiver's to find
    expect(network.deliver("x/a", udp({ ...good, overrides: { checksum: 1 } })).disposition).toBe(
      "delivered",
    );
  });
});

describe("taps", () => {
  function tapped(packet: Uint8Array): readonly TapEvent[] {
    const events: TapEvent[] = [];
    smallWorld({ tap: (event) => events.push(event) }).network.deliver("x/a", packet);
    return events;
  }

  it("see the packet at every interface that it crosses, with its hops counted down", () => {
    const events = tapped(tcp({ src: "10.1.1.1", dst: "10.1.2.1", sport: 1, dport: 80, flags: 2 }));
    const seen = events.map(({ node, interface: { name }, direction, bytes }) => {
      const header = parseIpv4(bytes);
      return `${node}:${name} ${direction} ttl ${header.ok ? header.value.ttl : "?"}`;
    });
    expect(seen).toEqual([
      "n1:veth1a in ttl 64",
      "n1:eth0 out ttl 63",
      "n2:eth0 in ttl 63",
      "n2:veth2a out ttl 62",
    ]);
    expect(new Set(events.map(({ packet }) => packet)).size).toBe(1);
  });

  it("law: see real bytes, whose header checksum holds wherever it is looked at", () => {
    fc.assert(
      fc.property(fc.constantFrom(...pods), fc.integer({ min: 1024, max: 65535 }), (to, sourcePort) => {
        const attempt = {
          from: "x/a",
          src: addressOf["x/a"]![4],
          dst: addressOf[to]![4],
          protocol: "TCP",
          port: 80,
          sourcePort,
        } as const;
        const events = tapped(firstPacket(attempt));
        expect(events.length).toBe(to === "x/a" ? 0 : to === "x/c" ? 2 : 4);
        for (const { bytes } of events) {
          expect(checksumHolds(bytes, 0, 20)).toBe(true);
          expect(printPacket(bytes)).toContain("Flags [S]");
        }
      }),
    );
  });
});
