/** Connections in the programs' own tables: which packets are judged, what closes and renews an entry, and each drop's reason. */
import { describe, expect, it } from "vitest";
import { MapPlace } from "../../../src/engine/cilium/maps.ts";
import { fragment, icmpEcho, icmpError, ipPacket, tcp, udp } from "../../../src/packet/index.ts";
import { ip } from "../../filter/node.ts";
import { LoneNode, podA, podB, type RawPolicy, variants } from "./lone-node.ts";

const [syn, synAck, ack, fin, rst] = [2, 0x12, 0x10, 0x11, 4];
const segment = (from: string, sport: number, to: string, dport: number, flags: number): Uint8Array =>
  tcp({ src: ip(from), dst: ip(to), sport, dport, flags });
const aToB = (flags: number): Uint8Array => segment(podA, 40_000, podB, 80, flags);
const bToA = (flags: number): Uint8Array => segment(podB, 80, podA, 40_000, flags);

/** Lifetime, in seconds from now, and flags of A's outgoing entry. */
function entry(node: LoneNode): { readonly left: number; readonly flags: number } | undefined {
  const { entries } = node.datapath.tables().maps[MapPlace.connections4] ?? { entries: [] };
  const value = entries.find(({ key }) => key[13] === 0)?.value;
  if (value === undefined) return undefined;
  const view = new DataView(value.buffer, value.byteOffset);
  return { left: view.getUint32(32, true) - node.clock.ns / 1e9, flags: view.getUint16(36, true) };
}

const closing = { rx: 1, tx: 2 };

describe("a connection's entry", () => {
  it("lives 60 s while there are only SYNs, then 8,000 s", () => {
    const node = new LoneNode();
    node.from("A", aToB(syn));
    expect(entry(node)?.left).toBe(60);
    node.to("A", bToA(synAck));
    expect(entry(node)?.left).toBe(60);
    node.from("A", aToB(ack));
    expect(entry(node)?.left).toBe(8000);
    const old = new LoneNode({ variant: variants.G1 });
    old.from("A", aToB(syn));
    old.from("A", aToB(ack));
    expect(entry(old)?.left).toBe(21_600);
  });

  it("closes side by side, and lives 10 s once both have", () => {
    const node = new LoneNode();
    for (const flags of [syn, ack, fin]) node.from("A", aToB(flags));
    expect((entry(node)?.flags ?? 0) & 3).toBe(closing.tx);
    expect(entry(node)?.left).toBe(8000);
    node.to("A", bToA(fin));
    expect((entry(node)?.flags ?? 0) & 3).toBe(3);
    expect(entry(node)?.left).toBe(10);
  });

  it("closes at once by a reset before both have sent a SYN, else on its side", () => {
    const early = new LoneNode();
    early.from("A", aToB(syn));
    early.to("A", bToA(rst));
    expect((entry(early)?.flags ?? 0) & 3).toBe(3);
    const late = new LoneNode();
    late.from("A", aToB(syn));
    late.to("A", bToA(synAck));
    late.to("A", bToA(rst));
    expect((entry(late)?.flags ?? 0) & 3).toBe(closing.rx);
  });

  it("begins anew with a SYN when it is closing", () => {
    const node = new LoneNode();
    for (const flags of [syn, ack, fin, syn]) node.from("A", aToB(flags));
    expect(entry(node)).toEqual({ left: 60, flags: 0 });
  });

  it("is made by any packet that may pass, not by one that may not", () => {
    const node = new LoneNode();
    expect(node.from("A", aToB(ack)).verdict).toBe("accept");
    expect(entry(node)).toBeDefined();
    const shut = new LoneNode({ policyA: [] });
    shut.from("A", aToB(syn));
    expect(entry(shut)).toBeUndefined();
  });
});

describe("a full table of connections", () => {
  /** `max` connections and as many datagrams at the most. */
  const small = (max: number, place: number): LoneNode =>
    new LoneNode({
      policyA: [{ identity: 0, egress: true }],
      adjust: (tables) => ({
        ...tables,
        maps: tables.maps.map((map, i) => (i === place ? { ...map, maxEntries: max } : map)),
      }),
    });

  it("forgets the one that was used longest ago, whose answers are strangers then", () => {
    const node = small(4, MapPlace.connections4);
    const from = (sport: number): Uint8Array => segment(podA, sport, podB, 80, syn);
    const answer = (sport: number): ReturnType<LoneNode["to"]> =>
      node.to("A", segment(podB, 80, podA, sport, synAck));
    for (const sport of [1, 2, 3, 4]) expect(node.from("A", from(sport)).verdict).toBe("accept");
    expect(answer(1).verdict).toBe("accept"); // and was used just now
    expect(node.from("A", from(5)).verdict).toBe("accept");
    expect(answer(2)).toMatchObject({ verdict: "drop", reason: 133 });
    for (const sport of [1, 3, 4, 5]) expect(answer(sport).verdict, `${sport}`).toBe("accept");
    expect(node.from("A", segment(podA, 2, podB, 80, ack)).verdict).toBe("accept"); // picked up again
    expect(answer(2).verdict).toBe("accept");
  });

  it("of fragments forgets ports, and with them the fragments that need them", () => {
    const node = small(2, MapPlace.fragments4);
    const datagram = (id: number): readonly Uint8Array[] =>
      fragment(
        udp({
          src: ip(podA),
          dst: ip(podB),
          sport: 9,
          dport: 80,
          payload: new Uint8Array(2000),
          dontFragment: false,
        }),
        1280,
        id,
      );
    const [firsts, seconds] = [0, 1].map((i) => [1, 2, 3].map((id) => datagram(id)[i] as Uint8Array)) as [
      Uint8Array[],
      Uint8Array[],
    ];
    for (const one of firsts) expect(node.from("A", one).verdict).toBe("accept");
    expect(seconds.map((one) => node.from("A", one).reason)).toEqual([175, undefined, undefined]);
  });
});

describe("policy", () => {
  const closed = (node: LoneNode): void => {
    const map = node.datapath.tables().maps.find(({ name }) => name === "cilium_policy_0");
    for (const { key } of map?.entries ?? [])
      node.datapath.apply({ kind: "bpf-map", op: "delete", map: "cilium_policy_0", key } as never);
  };

  it("holds every packet of the connection's own direction, none of its replies", () => {
    const node = new LoneNode();
    node.from("A", aToB(syn));
    closed(node);
    expect(node.from("A", aToB(ack)).reason).toBe(133);
    expect(node.to("A", bToA(ack)).verdict).toBe("accept");
    node.clock.ns += 100_000e9; // only the agent's collector ends an entry
    expect(node.to("A", bToA(ack)).verdict).toBe("accept");
  });

  it("lets errors about a known connection's addresses through, and echo replies, not other answers", () => {
    const node = new LoneNode({ policyA: [{ identity: 0, egress: true }] });
    const error = icmpError(aToB(syn), ip(podB), 3, 3);
    expect(node.to("A", error).reason).toBe(133);
    node.from("A", aToB(syn));
    expect(node.to("A", error).verdict).toBe("accept");
    const echo = { identifier: 7, sequence: 1 };
    const reply = (identifier: number): Uint8Array =>
      icmpEcho({ src: ip(podB), dst: ip(podA), identifier, sequence: 1, reply: true });
    node.from("A", icmpEcho({ src: ip(podA), dst: ip(podB), ...echo }));
    expect(node.to("A", reply(7)).verdict).toBe("accept");
    expect(node.to("A", reply(8)).reason).toBe(133);
  });

  it("knows ICMP by its type, and lets path MTU discovery be", () => {
    const rule: RawPolicy = { identity: 0, egress: true, protocol: 1, port: 8 };
    const node = new LoneNode({ policyA: [rule] });
    expect(
      node.from("A", icmpEcho({ src: ip(podA), dst: ip(podB), identifier: 1, sequence: 1 })).verdict,
    ).toBe("accept");
    const fresh = new LoneNode({ policyA: [rule] });
    expect(fresh.from("A", icmpError(bToA(syn), ip(podA), 3, 1)).reason).toBe(133);
    expect(fresh.from("A", icmpError(bToA(syn), ip(podA), 3, 4)).verdict).toBe("accept");
  });
});

describe("a drop", () => {
  const of = (bytes: Uint8Array, node = new LoneNode()): number | undefined => node.from("A", bytes).reason;
  const between = { src: ip(podA), dst: ip(podB) };

  it("says why", () => {
    expect(of(segment("10.0.0.99", 1, podB, 80, syn))).toBe(132);
    expect(of(segment(podB, 1, podA, 80, syn))).toBe(132); // another pod's address
    expect(of(ipPacket({ ...between, protocol: 132, payload: new Uint8Array(12) }))).toBe(137);
    expect(of(ipPacket({ ...between, protocol: 50, payload: new Uint8Array(12) }))).toBe(137);
    expect(of(ipPacket({ ...between, protocol: 6, payload: new Uint8Array(5) }))).toBe(135);
    expect(new LoneNode().to("A", segment(podB, 1, "10.0.0.99", 80, syn)).reason).toBe(203);
    expect(of(aToB(syn), new LoneNode({ policyA: [{ identity: 0, egress: true, deny: true }] }))).toBe(181);
  });

  it("of SCTP is no more where it is enabled", () => {
    const sctp = new LoneNode({ variant: { ...variants.G2, sctp: true } });
    expect(sctp.from("A", ipPacket({ ...between, protocol: 132, payload: new Uint8Array(12) })).verdict).toBe(
      "accept",
    );
  });

  it("of a later fragment means that the first was not seen", () => {
    const whole = udp({
      ...between,
      sport: 9,
      dport: 80,
      payload: new Uint8Array(2000),
      dontFragment: false,
    });
    const [first, second] = fragment(whole, 1280, 5) as [Uint8Array, Uint8Array];
    const node = new LoneNode({ policyA: [{ identity: 0, egress: true, protocol: 17, port: 80 }] });
    expect(node.from("A", second).reason).toBe(175);
    expect(node.from("A", first).verdict).toBe("accept");
    expect(node.from("A", second).verdict).toBe("accept");
    const other = new LoneNode({ policyA: [{ identity: 0, egress: true, protocol: 17, port: 81 }] });
    // the ports are known by then, and those that policy does not allow
    expect([first, second].map((one) => other.from("A", one).reason)).toEqual([133, 133]);
    // at the other end they are found in a table of its own node; here the two pods are on one
    expect([first, second].map((one) => node.to("B", one).verdict)).toEqual(["accept", "accept"]);
  });

  it("of IPv6 fragments happens before 1.18", () => {
    const v6 = { src: ip("fd00::5"), dst: ip("fd00::6") };
    const [first] = fragment(udp({ ...v6, sport: 9, dport: 80, payload: new Uint8Array(2000) }), 1280, 5) as [
      Uint8Array,
    ];
    expect(new LoneNode({ variant: variants.G1 }).from("A", first).reason).toBe(157);
    expect(new LoneNode().from("A", first).verdict).toBe("accept");
  });
});
