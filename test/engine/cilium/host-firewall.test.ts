/** The host firewall through the programs: which packets the node's policy is asked about, and which it has no say in. */
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { Hook } from "../../../src/filter/index.ts";
import { icmpEcho, ipPacket, tcp, udp } from "../../../src/packet/index.ts";
import { ip, nodeAddress } from "../../filter/node.ts";
import { everyVariant, LoneNode, type Passage, podA, podB, type RawPolicy, variants } from "./lone-node.ts";

const [loopback, uplink] = [1, 2];
const client = "203.0.113.9";
const node6 = "2001:db8::1";
const [hostMark, podMark, translatedMark] = [0xc00, (1000 << 16) | 0xf00, 0x300];
const withFirewall = [...everyVariant].filter(([, { hostFirewall }]) => hostFirewall);

const shut: readonly RawPolicy[] = [];
const lone = (policyOfHost: readonly RawPolicy[], variant = withFirewall[1]?.[1]): LoneNode =>
  new LoneNode({ policyOfHost, ...(variant === undefined ? {} : { variant }) });

const between = (src: string, dst: string): { readonly src: Ip; readonly dst: Ip } => ({
  src: ip(src),
  dst: ip(dst),
});
type Ip = ReturnType<typeof ip>;
const syn = (src: string, dst: string, dport = 80): Uint8Array =>
  tcp({ ...between(src, dst), sport: 40_000, dport, flags: 2 });
const synAck = (src: string, dst: string, sport = 80): Uint8Array =>
  tcp({ ...between(src, dst), sport, dport: 40_000, flags: 0x12 });
const fromWire = (node: LoneNode, bytes: Uint8Array): Passage => node.pass(Hook.tcIngress, uplink, bytes, 0);
const toWire = (node: LoneNode, bytes: Uint8Array, mark = hostMark): Passage =>
  node.pass(Hook.tcEgress, uplink, bytes, mark);

describe.each(withFirewall)("the host firewall of %s", (_, variant) => {
  it("drops what no entry lets in, from outside and from the node's own pod", () => {
    const node = lone(shut, variant);
    expect(fromWire(node, syn(client, nodeAddress))).toMatchObject({ verdict: "drop", reason: 133 });
    expect(node.from("A", syn(podA, nodeAddress))).toMatchObject({ verdict: "drop", reason: 133 });
  });

  it("lets in by the identity of the source and the port", () => {
    const node = lone([{ identity: 1000, protocol: 6, port: 80 }], variant);
    expect(node.from("A", syn(podA, nodeAddress))).toMatchObject({ verdict: "accept", matchType: 2 });
    expect(node.from("A", syn(podA, nodeAddress, 81))).toMatchObject({ reason: 133 });
    expect(node.from("B", syn(podB, nodeAddress))).toMatchObject({ reason: 133 });
  });

  it("judges what processes send, off the node and to its pods", () => {
    const node = lone([{ identity: 2000, egress: true }], variant);
    expect(toWire(node, syn(nodeAddress, client))).toMatchObject({ verdict: "drop", reason: 133 });
    expect(node.to("A", syn(nodeAddress, podA), hostMark)).toMatchObject({ verdict: "drop", reason: 133 });
    expect(node.to("B", syn(nodeAddress, podB), hostMark).verdict).toBe("accept");
  });

  it("denies by a deny entry", () => {
    const node = lone([{ identity: 0 }, { identity: 1000, deny: true }], variant);
    expect(node.from("A", syn(podA, nodeAddress))).toMatchObject({ reason: 181 });
    expect(fromWire(node, syn(client, nodeAddress)).verdict).toBe("accept");
  });

  it("asks the pod's policy besides the node's", () => {
    const openHost: readonly RawPolicy[] = [{ identity: 0 }, { identity: 0, egress: true }];
    const node = new LoneNode({ variant, policyOfHost: openHost, policyA: [], policyB: openHost });
    expect(node.from("A", syn(podA, nodeAddress))).toMatchObject({ reason: 133 });
    expect(node.to("A", syn(nodeAddress, podA), hostMark)).toMatchObject({ reason: 133 });
    expect(node.to("B", syn(nodeAddress, podB), hostMark).verdict).toBe("accept");
  });
});

describe("the host firewall", () => {
  it("lets answers pass, both ways, by the node's own entries", () => {
    const node = lone([{ identity: 0, egress: true }]);
    expect(toWire(node, syn(nodeAddress, client)).verdict).toBe("accept");
    expect(fromWire(node, synAck(client, nodeAddress)).verdict).toBe("accept");
    expect(node.to("A", syn(nodeAddress, podA), hostMark).verdict).toBe("accept");
    expect(node.from("A", synAck(podA, nodeAddress)).verdict).toBe("accept");
    const closed = lone([{ identity: 0 }]);
    expect(fromWire(closed, syn(client, nodeAddress)).verdict).toBe("accept");
    expect(toWire(closed, synAck(nodeAddress, client)).verdict).toBe("accept");
    expect(closed.from("A", syn(podA, nodeAddress)).verdict).toBe("accept");
    expect(closed.to("A", synAck(nodeAddress, podA), hostMark).verdict).toBe("accept");
  });

  it("asks again for every packet of a connection's own direction", () => {
    const node = lone([{ identity: 0, protocol: 6, port: 80 }]);
    expect(fromWire(node, syn(client, nodeAddress)).verdict).toBe("accept");
    const op = { kind: "bpf-map", op: "delete", map: "cilium_policy_2" } as const;
    const key = new Uint8Array([64, 0, 0, 0, 0, 0, 0, 0, 0, 6, 0, 80]);
    expect(node.datapath.apply({ ...op, key } as typeof op).ok).toBe(true);
    const ack = tcp({ ...between(client, nodeAddress), sport: 40_000, dport: 80, flags: 0x10 });
    expect(fromWire(node, ack)).toMatchObject({ verdict: "drop", reason: 133 });
    expect(toWire(node, synAck(nodeAddress, client)).verdict).toBe("accept");
  });

  it("lets the answer to a masqueraded pod come in, without a policy on the pod's packet", () => {
    const node = lone(shut);
    expect(fromWire(node, synAck(client, nodeAddress))).toMatchObject({ verdict: "drop" });
    expect(toWire(node, syn(nodeAddress, client), podMark)).toMatchObject({ verdict: "accept" });
    expect(fromWire(node, synAck(client, nodeAddress)).verdict).toBe("accept");
  });

  it("keeps no account of what a program has translated and sent on itself", () => {
    const node = lone(shut);
    expect(toWire(node, syn(nodeAddress, client), translatedMark).verdict).toBe("accept");
    expect(fromWire(node, synAck(client, nodeAddress)).verdict).toBe("drop");
  });

  it("has no say in what the node sends to itself", () => {
    const node = lone(shut);
    const own = syn(nodeAddress, nodeAddress);
    expect(node.pass(Hook.tcEgress, loopback, own, hostMark).verdict).toBe("accept");
  });

  it("law: has no say in what only passes the node", () => {
    const plain = new LoneNode({ variant: variants.G2 });
    const others = ["203.0.113.9", "10.0.1.7", podA, podB];
    const packet = fc
      .record({
        src: fc.constantFrom(...others),
        dst: fc.constantFrom(...others),
        dport: fc.constantFrom(80, 53),
        kind: fc.constantFrom("tcp", "udp", "ping", "sctp", "esp"),
      })
      .map(({ src, dst, dport, kind }) => {
        const ends = between(src, dst);
        if (kind === "udp") return udp({ ...ends, sport: 40_000, dport });
        if (kind === "ping") return icmpEcho({ ...ends, identifier: dport, sequence: 1 });
        if (kind === "tcp") return syn(src, dst, dport);
        return ipPacket({ ...ends, protocol: kind === "sctp" ? 132 : 50, payload: new Uint8Array(16) });
      });
    const place = fc.constantFrom(
      [Hook.tcIngress, uplink, 0],
      [Hook.tcEgress, uplink, podMark],
      [Hook.tcIngress, 3, 0],
      [Hook.tcEgress, 3, podMark],
    );
    fc.assert(
      fc.property(fc.array(fc.tuple(packet, place), { maxLength: 20 }), (passages) => {
        const node = lone(shut);
        for (const [bytes, [hook = 0, index = 0, mark = 0]] of passages) {
          const { verdict, mark: markAfter } = node.pass(hook, index, bytes, mark);
          const expected = plain.pass(hook, index, bytes, mark);
          expect([verdict, markAfter]).toEqual([expected.verdict, expected.mark]);
        }
      }),
      { numRuns: 40 },
    );
  });

  it("drops what connection tracking does not know where it is the node's, policy or not", () => {
    const node = lone([{ identity: 0 }, { identity: 0, egress: true }]);
    const esp = (src: string, dst: string): Uint8Array =>
      ipPacket({ ...between(src, dst), protocol: 50, payload: new Uint8Array(16) });
    expect(fromWire(node, esp(client, nodeAddress))).toMatchObject({ verdict: "drop", reason: 137 });
    expect(toWire(node, esp(nodeAddress, client))).toMatchObject({ verdict: "drop", reason: 137 });
    expect(fromWire(node, esp(client, "10.0.1.7")).verdict).toBe("accept");
    expect(node.pass(Hook.tcEgress, loopback, esp(nodeAddress, nodeAddress), hostMark).verdict).toBe(
      "accept",
    );
  });

  it("judges IPv6 as IPv4, at the uplink and at the pods' interfaces", () => {
    const [pod6, client6] = ["fd00::5", "2001:db8:9::9"];
    const node = lone([
      { identity: 1000, protocol: 6, port: 80 },
      { identity: 10, egress: true },
    ]);
    expect(node.from("A", syn(pod6, node6))).toMatchObject({ verdict: "accept", matchType: 2 });
    expect(node.from("A", syn(pod6, node6, 81))).toMatchObject({ reason: 133 });
    expect(fromWire(node, syn(client6, node6))).toMatchObject({ reason: 133 });
    expect(node.to("A", syn(node6, pod6), hostMark)).toMatchObject({ reason: 133 });
    expect(toWire(node, syn(node6, client6)).verdict).toBe("accept");
    expect(fromWire(node, synAck(client6, node6)).verdict).toBe("accept");
    expect(node.to("A", synAck(node6, pod6), hostMark).verdict).toBe("accept");
    const shutNode = lone(shut);
    expect(toWire(shutNode, syn(node6, client6), podMark).verdict).toBe("accept"); // masqueraded
    expect(fromWire(shutNode, synAck(client6, node6)).verdict).toBe("accept");
    expect(fromWire(shutNode, synAck(client6, node6, 81)).verdict).toBe("drop");
  });

  it("takes ICMPv6 as RFC 4890 does: what is needed passes, echoes are policy's, the rest is dropped", () => {
    const icmp6 = (type: number, dst: string): Uint8Array =>
      ipPacket({
        ...between("2001:db8:9::9", dst),
        protocol: 58,
        payload: new Uint8Array([type, ...new Array<number>(15).fill(0)]),
      });
    const node = lone(shut);
    const passing = [1, 2, 3, 4, 130, 133, 134, 135, 136, 141, 143, 148, 151, 153];
    for (const type of passing) expect(fromWire(node, icmp6(type, node6)).verdict, `${type}`).toBe("accept");
    for (const type of [0, 5, 100, 127, 137, 139, 144, 150, 154, 200])
      expect(fromWire(node, icmp6(type, node6)), `${type}`).toMatchObject({ verdict: "drop", reason: 176 });
    for (const type of [128, 129])
      expect(fromWire(node, icmp6(type, node6)), `${type}`).toMatchObject({ verdict: "drop", reason: 133 });
    const open = lone([{ identity: 0 }]);
    expect(fromWire(open, icmp6(128, node6)).verdict).toBe("accept");
  });

  it("says of what it drops in which direction", () => {
    const node = lone(shut);
    node.from("A", syn(podA, nodeAddress));
    expect(node.datapath.droppedDirection()).toBe("ingress");
    node.to("A", syn(nodeAddress, podA), hostMark);
    expect(node.datapath.droppedDirection()).toBe("egress");
    node.from("A", syn(podA, client));
    expect(node.datapath.droppedDirection()).toBe("egress");
  });
});
