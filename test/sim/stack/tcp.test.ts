/** TCP endpoints over the virtual network: what goes over the wire, when, and what applications see of it. */
import { describe, expect, it } from "vitest";
import { Hook } from "../../../src/filter/index.ts";
import { icmpError, type PacketView, rowBytes, tcp } from "../../../src/packet/index.ts";
import type { Flow } from "../../../src/sim/index.ts";
import { parseIpv4, parseTcp, TcpFlag, type TcpRepr } from "../../../src/wire/index.ts";
import { addressOf, losing, type SmallWorld, smallWorld, Wire } from "../small-network.ts";

const secondNs = 1e9;
/** Two hops each way. */
const roundTripNs = 4 * 50_000;

interface Attempt {
  readonly family?: 4 | 6;
  readonly port?: number;
  readonly timeoutNs?: number;
  readonly from?: string;
  readonly to?: string;
}

function connect(world: SmallWorld, attempt: Attempt = {}): Flow {
  const { family = 4, port = 80, timeoutNs = 3 * secondNs, from = "x/a", to = "x/b" } = attempt;
  const [src, dst] = [from, to].map((id) => addressOf[id]![family]) as [never, never];
  return world.hosts.connect({ from, src, dst, protocol: "TCP", port }, timeoutNs);
}

/** Lets everything arrive that is under way. */
function settle({ network }: SmallWorld, durationNs = 10e6): void {
  network.loop.runUntil(network.loop.nowNs() + durationNs);
}

function segments(wire: Wire): readonly TcpRepr[] {
  return wire.packets.map((bytes) => {
    const ip = parseIpv4(bytes);
    const segment = parseTcp(ip.ok ? ip.value.payload : new Uint8Array(0));
    if (!segment.ok) throw new Error(segment.fault);
    return segment.value;
  });
}

/** `S 0, S. 0 1, . 1 1`: flags, and numbers counted from each side's first. */
function story(wire: Wire): string {
  const all = segments(wire);
  const client = all[0]?.sport;
  const [first, second] = [all[0]?.seq ?? 0, all.find(({ sport }) => sport !== client)?.seq ?? 0];
  return all
    .map(({ sport, flags, seq, ack, payload }) => {
      const [own, peer] = sport === client ? [first, second] : [second, first];
      const acknowledged = (flags & TcpFlag.ack) !== 0 ? ` ${(ack - peer) >>> 0}` : "";
      const letters = [..."FSRP."].filter((_, i) => (flags & (1 << i)) !== 0).join("");
      return `${sport === client ? ">" : "<"}${letters} ${(seq - own) >>> 0}${acknowledged}${payload.length > 0 ? ` +${payload.length}` : ""}`;
    })
    .join(", ");
}

const isSyn = ({ flags }: PacketView): boolean => flags === "S";
const isData = ({ flags }: PacketView): boolean => flags === "P.";

describe("a TCP connection", () => {
  it("opens with three packets, and the client knows after one round trip", () => {
    const wire = new Wire();
    const world = smallWorld({ tap: wire.tap });
    const flow = connect(world);
    expect(flow).toMatchObject({ outcome: "connected", elapsedNs: roundTripNs });
    expect(flow.server?.state).toBe("open");
    expect(story(wire)).toBe(">S 0, <S. 0 1, >. 1 1");
  });

  it("offers what Linux offers: MSS by family, SACK, window scaling", () => {
    for (const family of [4, 6] as const) {
      const wire = new Wire();
      connect(smallWorld({ tap: wire.tap }), { family });
      const mss = family === 4 ? 1460 : 1440;
      for (const line of wire.lines.slice(0, 2))
        expect(line).toContain(`win 64240, options [mss ${mss},nop,nop,sackOK,nop,wscale 7]`);
      expect(wire.lines[2]).toMatch(/win 501, length 0$/);
    }
  });

  it("carries messages both ways, each acknowledged", () => {
    const wire = new Wire();
    const world = smallWorld({ tap: wire.tap });
    const flow = connect(world);
    wire.forget();
    const { client, server } = flow;
    for (const side of ["client", "server", "server", "client"] as const)
      expect(world.hosts.send(flow, side)).toBe("delivered");
    settle(world);
    expect([client.received, server?.received]).toEqual([2, 2]);
    expect(wire.lines.map((line) => /Flags \[([^\]]*)/.exec(line)?.[1])).toEqual([
      "P.",
      ".",
      "P.",
      ".",
      "P.",
      ".",
      "P.",
      ".",
    ]);
  });

  it("closes both ways, and who closed first waits a minute for stragglers", () => {
    const wire = new Wire();
    const world = smallWorld({ tap: wire.tap });
    const flow = connect(world);
    world.hosts.close(flow);
    settle(world);
    expect(story(wire)).toBe(">S 0, <S. 0 1, >. 1 1, >F. 1 1, <. 1 2, <F. 1 2, >. 2 2");
    expect([flow.client.state, flow.server?.state]).toEqual(["closed", "closed"]);
    expect([flow.client.isGone, flow.server?.isGone]).toEqual([false, true]);
    settle(world, 60 * secondNs);
    expect(flow.client.isGone).toBe(true);
    expect(world.hosts.send(flow, "client")).toBe("lost");
  });

  it("closes from the server's side as well", () => {
    const wire = new Wire();
    const world = smallWorld({ tap: wire.tap });
    const flow = connect(world);
    flow.server?.close();
    settle(world);
    expect(story(wire)).toBe(">S 0, <S. 0 1, >. 1 1, <F. 1 1, >. 1 2, >F. 1 2, <. 2 2");
    expect([flow.client.state, flow.server?.state]).toEqual(["closed", "closed"]);
  });

  it("closes though each packet of the closing is lost once", () => {
    // the FIN, its acknowledgement, the other FIN, the last acknowledgement
    for (const lost of [[4], [5], [6], [7], [4, 6, 8], [5, 6, 8]]) {
      const world = smallWorld(
        {},
        losing(() => true, ...lost),
      );
      const flow = connect(world);
      world.hosts.close(flow);
      settle(world, 10 * secondNs);
      expect([flow.client.state, flow.server?.state], `lost: ${lost}`).toEqual(["closed", "closed"]);
    }
  });

  it("reaches the pod's own address over its own loopback", () => {
    const world = smallWorld();
    const flow = connect(world, { to: "x/a" });
    expect(flow).toMatchObject({ outcome: "connected", elapsedNs: 0 });
    expect(world.hosts.send(flow, "client")).toBe("delivered");
    expect(world.hosts.send(flow, "server")).toBe("delivered");
    settle(world, 1000 * secondNs);
    expect(flow.client.state).toBe("open"); // no timer was left running
    world.hosts.close(flow);
    expect([flow.client.state, flow.server?.state]).toEqual(["closed", "closed"]);
  });
});

describe("an attempt", () => {
  it("at a closed port is refused by a reset, after one round trip", () => {
    const wire = new Wire();
    const world = smallWorld({ tap: wire.tap });
    expect(connect(world, { port: 81 })).toMatchObject({
      outcome: "refused",
      elapsedNs: roundTripNs,
      server: undefined,
    });
    expect(story(wire)).toBe(">S 0, <R. 0 1");
    expect(wire.lines[1]).toContain("seq 0,");
  });

  it("that nobody answers is repeated after 1, 3, 7, 15, 31 and 63 seconds and given up after 127", () => {
    const wire = new Wire();
    const world = smallWorld({ tap: wire.tap }, losing(isSyn));
    const flow = connect(world, { timeoutNs: 300 * secondNs });
    expect(flow).toMatchObject({ outcome: "timeout", elapsedNs: 127 * secondNs });
    expect(wire.sentMs).toEqual([0, 1000, 3000, 7000, 15_000, 31_000, 63_000]);
    expect(new Set(wire.lines).size).toBe(1);
  });

  it("ends when the application's patience does, and says nothing more", () => {
    const wire = new Wire();
    const world = smallWorld({ tap: wire.tap }, losing(isSyn));
    expect(connect(world)).toMatchObject({ outcome: "timeout", elapsedNs: 3 * secondNs });
    settle(world, 300 * secondNs);
    expect(wire.sentMs).toEqual([0, 1000, 3000]);
    expect(world.network.loop.pending()).toBe(0);
  });

  it("goes through once the way is clear", () => {
    const world = smallWorld({}, losing(isSyn, 1));
    expect(connect(world)).toMatchObject({ outcome: "connected", elapsedNs: secondNs + roundTripNs });
  });

  it("whose answer is lost is answered again, five times, and then the server forgets it", () => {
    const wire = new Wire();
    const world = smallWorld(
      { tap: wire.tap },
      losing(({ flags }) => flags === "S."),
    );
    expect(connect(world, { timeoutNs: secondNs / 2 }).outcome).toBe("timeout");
    wire.forget();
    settle(world, 300 * secondNs);
    expect(wire.sentMs).toEqual([1000, 3000, 7000, 15_000, 31_000]);
    expect(world.network.loop.pending()).toBe(0);
  });

  it("is ended by any ICMP error about its SYN, and by none about another packet", () => {
    for (const code of [0, 1, 3, 13]) {
      const world = smallWorld({}, ({ hook, packet }, batch, row) =>
        hook === Hook.forward && isSyn(packet)
          ? icmpError(rowBytes(batch, row), "10.0.0.1", 3, code)
          : "pass",
      );
      expect(connect(world), `code ${code}`).toMatchObject({ outcome: "refused", elapsedNs: 2 * 50_000 });
    }
    const forged = smallWorld({}, ({ hook, packet }, batch, row) => {
      if (hook !== Hook.forward || !isSyn(packet)) return "pass";
      const other = rowBytes(batch, row).slice();
      other[27]! ^= 1; // another sequence number
      return icmpError(other, "10.0.0.1", 3, 3);
    });
    expect(connect(forged).outcome).toBe("timeout");
  });
});

describe("retransmission", () => {
  it("brings a lost message after 200 ms, once", () => {
    const world = smallWorld({}, losing(isData, 1));
    const flow = connect(world);
    const before = world.network.loop.nowNs();
    expect(world.hosts.send(flow, "client")).toBe("delivered");
    expect(world.network.loop.nowNs() - before).toBe(200e6 + roundTripNs / 2);
    settle(world, 10 * secondNs);
    expect(flow.server?.received).toBe(1);
  });

  it("counts no message twice whose acknowledgement was lost", () => {
    const wire = new Wire();
    // of bare ACKs the first is the handshake's
    const world = smallWorld(
      { tap: wire.tap },
      losing(({ flags, src }) => flags === "." && src === "10.1.2.1", 1),
    );
    const flow = connect(world);
    expect(world.hosts.send(flow, "client")).toBe("delivered");
    settle(world, 10 * secondNs);
    expect(flow.server?.received).toBe(1);
    expect(story(wire)).toBe(">S 0, <S. 0 1, >. 1 1, >P. 1 1 +7, <. 1 8, >P. 1 1 +7, <. 1 8");
  });

  it("brings all of several messages, in order, whichever were lost", () => {
    const world = smallWorld({}, losing(isData, 1, 3, 4));
    const flow = connect(world);
    for (let i = 0; i < 3; i++) flow.client.send();
    settle(world, 60 * secondNs);
    expect(flow.server?.received).toBe(3);
    expect(world.network.loop.pending()).toBe(0);
  });

  it("doubles its delays and gives a connection up after fifteen, as tcp_retries2 says", () => {
    const wire = new Wire();
    const world = smallWorld({ tap: wire.tap }, losing(isData));
    const flow = connect(world);
    wire.forget();
    flow.client.send();
    settle(world, 2000 * secondNs);
    expect(wire.sentMs.slice(0, 6)).toEqual([0, 200, 600, 1400, 3000, 6200]);
    expect(wire.sentMs.length).toBe(16);
    const delays = wire.sentMs.map((at, i) => at - (wire.sentMs[i - 1] ?? 0));
    expect(Math.max(...delays)).toBe(120_000);
    expect(flow.client.state).toBe("closed");
  });

  it("makes a held flow survive an outage", () => {
    let isDown = false;
    const world = smallWorld({}, () => (isDown ? "drop" : "pass"));
    const flow = connect(world);
    isDown = true;
    expect(world.hosts.send(flow, "client")).toBe("lost");
    isDown = false;
    settle(world, 10 * secondNs);
    expect([flow.client.state, flow.server?.received]).toEqual(["open", 1]);
  });
});

describe("resets and other surprises", () => {
  function openFlow(): { world: SmallWorld; flow: Flow; wire: Wire; client: TcpRepr; server: TcpRepr } {
    const wire = new Wire();
    const world = smallWorld({ tap: wire.tap });
    const flow = connect(world);
    const [, server, client] = segments(wire);
    if (server === undefined || client === undefined) throw new Error("no handshake");
    wire.forget();
    return { world, flow, wire, client, server };
  }

  const toServer = (client: TcpRepr, fields: Partial<Parameters<typeof tcp>[0]>): Uint8Array =>
    tcp({ src: "10.1.1.1", dst: "10.1.2.1", sport: client.sport, dport: 80, flags: TcpFlag.rst, ...fields });

  it("a reset at the very next number ends the connection", () => {
    const { world, flow, client } = openFlow();
    world.network.send("x/a", toServer(client, { seq: client.seq }));
    settle(world);
    expect(flow.server?.state).toBe("reset");
    expect(world.hosts.send(flow, "server")).toBe("reset");
  });

  it("a reset elsewhere in the window is challenged, one outside is nothing (RFC 5961)", () => {
    const { world, flow, wire, client } = openFlow();
    for (const seq of [client.seq + 5, client.seq - 1, client.seq + 100_000])
      world.network.send("x/a", toServer(client, { seq: seq >>> 0 }));
    settle(world);
    expect(flow.server?.state).toBe("open");
    expect(wire.lines.filter((line) => line.includes("10.1.2.1.80 >"))).toHaveLength(1);
    expect(world.hosts.send(flow, "client")).toBe("delivered");
  });

  it("a SYN into an open connection is challenged, and who does not know it resets it", () => {
    const { world, flow, wire, client } = openFlow();
    world.hosts.forget("x/a"); // the client starts anew
    world.network.send("x/a", toServer(client, { flags: TcpFlag.syn, seq: 5 }));
    settle(world);
    expect(wire.lines.map((line) => /Flags \[([^\]]*)/.exec(line)?.[1])).toEqual(["S", ".", "R"]);
    expect(flow.server?.state).toBe("reset");
  });

  it("data for a connection that the peer forgot is answered with a reset", () => {
    const { world, flow } = openFlow();
    world.hosts.forget("x/b");
    expect(world.hosts.send(flow, "client")).toBe("reset");
    expect(flow.client.state).toBe("reset");
  });

  it("an ICMP error leaves an open connection alone", () => {
    const { world, flow, client } = openFlow();
    const sent = toServer(client, { seq: client.seq, flags: TcpFlag.ack });
    world.network.send("x/b", icmpError(sent, "10.1.2.1", 3, 3));
    settle(world);
    expect(flow.client.state).toBe("open");
  });

  it("an acknowledgement of what was never sent is answered, and not believed", () => {
    const { world, flow, wire, client, server } = openFlow();
    world.network.send(
      "x/a",
      toServer(client, { flags: TcpFlag.ack, seq: client.seq, ack: (server.seq + 999) >>> 0 }),
    );
    settle(world);
    expect(wire.lines).toHaveLength(2);
    expect(world.hosts.send(flow, "server")).toBe("delivered");
  });

  it("a damaged segment is dropped without a word", () => {
    const { world, flow, wire, client } = openFlow();
    world.network.send("x/a", toServer(client, { seq: client.seq, overrides: { checksum: 1 } }));
    settle(world);
    expect(flow.server?.state).toBe("open");
    expect(wire.lines).toHaveLength(1);
  });

  it("a segment of no connection is reset, a reset of none is not", () => {
    const wire = new Wire();
    const world = smallWorld({ tap: wire.tap });
    const send = (fields: Partial<Parameters<typeof tcp>[0]>): void =>
      world.network.send(
        "x/a",
        tcp({ src: "10.1.1.1", dst: "10.1.2.1", sport: 1, dport: 80, flags: 0, ...fields }),
      );
    send({ flags: TcpFlag.ack, seq: 7, ack: 99 });
    send({ flags: TcpFlag.fin, seq: 7, payload: new Uint8Array(3) });
    send({ flags: TcpFlag.rst, seq: 7 });
    settle(world);
    expect(wire.lines.filter((line) => line.includes("10.1.2.1.80 >"))).toEqual([
      "IP 10.1.2.1.80 > 10.1.1.1.1: Flags [R], seq 99, win 0, length 0",
      "IP 10.1.2.1.80 > 10.1.1.1.1: Flags [R.], seq 0, ack 11, win 0, length 0",
    ]);
  });
});
