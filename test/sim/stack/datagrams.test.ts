/** UDP and echo endpoints: one packet, one answer; errors; silence. */
import { describe, expect, it } from "vitest";
import { Hook } from "../../../src/filter/index.ts";
import { fragment, icmpError, ipPacket, rowBytes, udp } from "../../../src/packet/index.ts";
import type { Flow, FlowProtocol } from "../../../src/sim/index.ts";
import { optionsHeader } from "../../../src/wire/index.ts";
import { addressOf, type SmallWorld, smallWorld, Wire } from "../small-network.ts";

const secondNs = 1e9;
const roundTripNs = 4 * 50_000;

function connect(world: SmallWorld, protocol: FlowProtocol, { port = 80, family = 4 as 4 | 6 } = {}): Flow {
  const [src, dst] = [addressOf["x/a"]![family], addressOf["x/b"]![family]];
  return world.hosts.connect({ from: "x/a", src, dst, protocol, port }, 3 * secondNs);
}

function settle({ network }: SmallWorld): void {
  network.loop.runUntil(network.loop.nowNs() + 10e6);
}

describe("UDP", () => {
  it.each([4, 6] as const)("is answered where somebody listens (IPv%i)", (family) => {
    const wire = new Wire();
    const world = smallWorld({ tap: wire.tap });
    const flow = connect(world, "UDP", { family });
    expect(flow).toMatchObject({ outcome: "connected", elapsedNs: roundTripNs });
    expect(wire.lines).toHaveLength(2);
    expect(world.hosts.send(flow, "client")).toBe("delivered");
    expect(world.hosts.send(flow, "server")).toBe("delivered");
  });

  it.each([4, 6] as const)("is refused by port unreachable where nobody does (IPv%i)", (family) => {
    const wire = new Wire();
    const world = smallWorld({ tap: wire.tap });
    expect(connect(world, "UDP", { port: 81, family })).toMatchObject({
      outcome: "refused",
      elapsedNs: roundTripNs,
    });
    expect(wire.lines[1]).toContain(
      family === 4 ? "10.1.2.1 udp port 81 unreachable" : "unreachable port, fd01::2:1 udp port 81",
    );
  });

  it("is sent once: silence stays silence until patience ends", () => {
    const wire = new Wire();
    const world = smallWorld({ tap: wire.tap }, () => "drop");
    expect(connect(world, "UDP")).toMatchObject({ outcome: "timeout", elapsedNs: 3 * secondNs });
    expect(wire.lines).toHaveLength(1);
    expect(world.network.loop.pending()).toBe(0);
  });

  it("fails by hard errors alone, as Linux tells them apart (icmp_err_convert)", () => {
    const outcomes = [0, 1, 2, 3, 9, 10, 13].map((code) => {
      const world = smallWorld({}, ({ hook }, batch, row) =>
        hook === Hook.forward ? icmpError(rowBytes(batch, row), "10.0.0.1", 3, code) : "pass",
      );
      return connect(world, "UDP").outcome;
    });
    expect(outcomes).toEqual(["timeout", "timeout", "refused", "refused", "refused", "refused", "refused"]);
    const outcomes6 = [0, 1, 3, 4, 6].map((code) => {
      const world = smallWorld({}, ({ hook }, batch, row) =>
        hook === Hook.forward ? icmpError(rowBytes(batch, row), "fd00::1", 1, code) : "pass",
      );
      return connect(world, "UDP", { family: 6 }).outcome;
    });
    expect(outcomes6).toEqual(["timeout", "refused", "timeout", "refused", "refused"]);
  });

  it("loses what is dropped on a held flow, and goes on afterwards", () => {
    let isDown = false;
    const world = smallWorld({}, () => (isDown ? "drop" : "pass"));
    const flow = connect(world, "UDP");
    isDown = true;
    expect(world.hosts.send(flow, "client")).toBe("lost");
    isDown = false;
    expect(world.hosts.send(flow, "client")).toBe("delivered");
  });

  it("tells a flow whose server is gone", () => {
    const world = smallWorld();
    const flow = connect(world, "UDP");
    world.hosts.listen("x/b", []);
    world.hosts.forget("x/b");
    world.hosts.listen("x/b", []);
    expect(world.hosts.send(flow, "client")).toBe("reset");
  });

  it("after the client has closed, a late answer is answered with port unreachable, which a server passes over", () => {
    const wire = new Wire();
    const world = smallWorld({ tap: wire.tap });
    const flow = connect(world, "UDP");
    wire.forget();
    flow.client.close();
    flow.server?.send();
    settle(world);
    expect(wire.lines).toHaveLength(2);
    expect(wire.lines[1]).toContain("unreachable");
    expect(flow.server?.state).toBe("open");
  });

  it("without checksum is taken over IPv4, not over IPv6 (RFC 8200 section 8.1)", () => {
    const wire = new Wire();
    const world = smallWorld({ tap: wire.tap });
    const fields = { sport: 1, dport: 81, overrides: { checksum: 0 } };
    world.network.send("x/a", udp({ src: "10.1.1.1", dst: "10.1.2.1", ...fields }));
    world.network.send("x/a", udp({ src: "fd01::1:1", dst: "fd01::2:1", ...fields }));
    settle(world);
    expect(wire.lines).toHaveLength(3); // the one that was taken is answered: nobody listens there
  });
});

describe("a host", () => {
  it("says of protocols that it does not speak that it does not", () => {
    const wire = new Wire();
    const world = smallWorld({ tap: wire.tap });
    const payload = new Uint8Array(8);
    const v6 = { src: "fd01::1:1", dst: "fd01::2:1" };
    const packets = [
      ipPacket({ src: "10.1.1.1", dst: "10.1.2.1", protocol: 253, payload }),
      ipPacket({ ...v6, protocol: 253, payload }),
      ipPacket({ ...v6, protocol: 253, payload, extensions: [optionsHeader(60)] }),
      ipPacket({ ...v6, protocol: 59, payload }),
    ];
    for (const packet of packets) world.network.send("x/a", packet);
    settle(world);
    expect(wire.lines.slice(packets.length).map((line) => line.replace(/.*?: /, ""))).toEqual([
      "ICMP 10.1.2.1 protocol 253 unreachable, length 36",
      "ICMP6, parameter problem, next header - octet 6, length 56",
      "ICMP6, parameter problem, next header - octet 40, length 64",
    ]);
  });

  it("takes no fragment for a datagram", () => {
    const wire = new Wire();
    const world = smallWorld({ tap: wire.tap });
    for (const ends of [
      { src: "10.1.1.1", dst: "10.1.2.1" },
      { src: "fd01::1:1", dst: "fd01::2:1" },
    ]) {
      const parts = fragment(udp({ ...ends, sport: 1, dport: 81, payload: new Uint8Array(200) }), 140);
      wire.forget();
      for (const part of parts) world.network.send("x/a", part);
      settle(world);
      expect(wire.lines).toHaveLength(parts.length);
    }
  });
});

describe("echo", () => {
  it.each([4, 6] as const)("is answered by every host (IPv%i)", (family) => {
    const world = smallWorld();
    const flow = connect(world, "ICMP", { family });
    expect(flow).toMatchObject({ outcome: "connected", elapsedNs: roundTripNs, server: undefined });
    expect(world.network.loop.nowNs()).toBe(roundTripNs);
    flow.client.send();
    settle(world);
    expect(flow.client.received).toBe(2);
  });

  it("is refused by an error about it", () => {
    const world = smallWorld({}, ({ hook }, batch, row) =>
      hook === Hook.forward ? icmpError(rowBytes(batch, row), "10.0.0.1", 3, 1) : "pass",
    );
    expect(connect(world, "ICMP").outcome).toBe("refused");
  });
});
