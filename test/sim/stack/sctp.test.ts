/** SCTP endpoints over the virtual network: tags, cookie, data, shutdown and abort (RFC 9260). */
import { describe, expect, it } from "vitest";
import { Hook } from "../../../src/filter/index.ts";
import { icmpError, type PacketView, rowBytes, sctp } from "../../../src/packet/index.ts";
import type { Flow } from "../../../src/sim/index.ts";
import { parseIpv4, parseSctp, type SctpChunk, type SctpRepr } from "../../../src/wire/index.ts";
import { addressOf, losing, type SmallWorld, smallWorld, Wire } from "../small-network.ts";

const secondNs = 1e9;
const oneWayNs = 2 * 50_000;

function connect(
  world: SmallWorld,
  { port = 80, timeoutNs = 3 * secondNs, family = 4 as 4 | 6, to = "x/b" } = {},
): Flow {
  const [src, dst] = [addressOf["x/a"]![family], addressOf[to]![family]];
  return world.hosts.connect({ from: "x/a", src, dst, protocol: "SCTP", port }, timeoutNs);
}

function settle({ network }: SmallWorld, durationNs = 10e6): void {
  network.loop.runUntil(network.loop.nowNs() + durationNs);
}

function packets(wire: Wire): readonly SctpRepr[] {
  return wire.packets.map((bytes) => {
    const ip = parseIpv4(bytes);
    const packet = parseSctp(ip.ok ? ip.value.payload : new Uint8Array(0));
    if (!packet.ok) throw new Error(packet.fault);
    return packet.value;
  });
}

const story = (wire: Wire): string =>
  packets(wire)
    .map(({ dport, chunks }) => `${dport === 80 ? ">" : "<"}${chunks.map(({ kind }) => kind).join("+")}`)
    .join(" ");

const holds = (kind: string) => (packet: PacketView) => packet.line.includes(`[${kind}]`);

describe("an SCTP association", () => {
  it("opens with four packets under the right tags, and the cookie comes back as it was made", () => {
    const wire = new Wire();
    const world = smallWorld({ tap: wire.tap });
    const flow = connect(world);
    expect(flow).toMatchObject({ outcome: "connected", elapsedNs: 4 * oneWayNs });
    expect(flow.server?.state).toBe("open");
    expect(story(wire)).toBe(">init <init-ack >cookie-echo <cookie-ack");
    const [init, initAck, cookieEcho, cookieAck] = packets(wire);
    const [own, peer] = [init, initAck].map((packet) => {
      const chunk = packet?.chunks[0];
      return chunk?.kind === "init" || chunk?.kind === "init-ack" ? chunk : undefined;
    });
    expect(init?.verificationTag).toBe(0);
    expect([initAck?.verificationTag, cookieAck?.verificationTag]).toEqual([
      own?.initiateTag,
      own?.initiateTag,
    ]);
    expect(cookieEcho?.verificationTag).toBe(peer?.initiateTag);
    const cookie = cookieEcho?.chunks[0];
    expect(cookie?.kind === "cookie-echo" && cookie.cookie).toEqual(peer?.parameters[0]?.value);
    expect(peer?.parameters[0]?.type).toBe(7);
  });

  it("carries messages both ways, each acknowledged", () => {
    const wire = new Wire();
    const world = smallWorld({ tap: wire.tap });
    const flow = connect(world);
    wire.forget();
    for (const side of ["client", "server", "client"] as const)
      expect(world.hosts.send(flow, side)).toBe("delivered");
    settle(world);
    expect(story(wire)).toBe(">data <sack <data >sack >data <sack");
    expect([flow.client.received, flow.server?.received]).toEqual([1, 2]);
    const tsns = packets(wire).flatMap(({ chunks }) =>
      chunks.flatMap((one) => (one.kind === "data" ? [one.sequence] : [])),
    );
    expect(tsns).toEqual([0, 0, 1]);
  });

  it("shuts down in three packets, from either side", () => {
    for (const side of ["client", "server"] as const) {
      const wire = new Wire();
      const world = smallWorld({ tap: wire.tap });
      const flow = connect(world);
      wire.forget();
      flow[side]?.close();
      settle(world);
      const [there, back] = side === "client" ? [">", "<"] : ["<", ">"];
      expect(story(wire)).toBe(`${there}shutdown ${back}shutdown-ack ${there}shutdown-complete`);
      expect([flow.client.state, flow.server?.state]).toEqual(["closed", "closed"]);
      expect(world.network.loop.pending()).toBe(0);
    }
  });

  it("shuts down only when all that was sent has arrived", () => {
    const wire = new Wire();
    const world = smallWorld({ tap: wire.tap }, losing(holds("DATA"), 1));
    const flow = connect(world);
    wire.forget();
    flow.client.send();
    flow.client.close();
    settle(world, 5 * secondNs);
    expect(story(wire)).toBe(">data >data <sack >shutdown <shutdown-ack >shutdown-complete");
    expect(flow.server?.received).toBe(1);
  });

  it("shuts down from both sides at once", () => {
    const world = smallWorld();
    const flow = connect(world);
    flow.client.close();
    flow.server?.close();
    settle(world, 5 * secondNs);
    expect([flow.client.state, flow.server?.state]).toEqual(["closed", "closed"]);
    expect(world.network.loop.pending()).toBe(0);
  });

  it("outlives a lost SHUTDOWN COMPLETE: the host answers for the association that is gone", () => {
    const wire = new Wire();
    const world = smallWorld({ tap: wire.tap }, losing(holds("SHUTDOWN COMPLETE"), 1));
    const flow = connect(world);
    wire.forget();
    flow.client.close();
    settle(world, 5 * secondNs);
    expect(story(wire)).toBe(">shutdown <shutdown-ack >shutdown-complete <shutdown-ack >shutdown-complete");
    expect(packets(wire).at(-1)?.chunks).toEqual([{ kind: "shutdown-complete", reflected: true }]);
    expect(flow.server?.state).toBe("closed");
  });

  it("reaches the pod's own address, and goes over IPv6", () => {
    const own = smallWorld();
    const flow = connect(own, { to: "x/a" });
    expect(flow.outcome).toBe("connected");
    expect(own.hosts.send(flow, "server")).toBe("delivered");
    own.hosts.close(flow);
    expect([flow.client.state, flow.server?.state]).toEqual(["closed", "closed"]);
    expect(own.network.loop.pending()).toBe(0);
    expect(connect(smallWorld(), { family: 6 }).outcome).toBe("connected");
  });
});

describe("an attempt", () => {
  it("at a closed port is refused by an ABORT under the tag that the INIT asks for", () => {
    const wire = new Wire();
    const world = smallWorld({ tap: wire.tap });
    expect(connect(world, { port: 81 })).toMatchObject({ outcome: "refused", elapsedNs: 2 * oneWayNs });
    const [init, abort] = packets(wire);
    const chunk = init?.chunks[0];
    expect(abort?.chunks).toEqual([{ kind: "abort", reflected: false, causes: [] }]);
    expect(abort?.verificationTag).toBe(chunk?.kind === "init" ? chunk.initiateTag : undefined);
  });

  it("that nobody answers is repeated after 3 s, doubling up to a minute, eight times", () => {
    const wire = new Wire();
    const world = smallWorld({ tap: wire.tap }, losing(holds("INIT")));
    const flow = connect(world, { timeoutNs: 1000 * secondNs });
    const waits = [3, 6, 12, 24, 48, 60, 60, 60];
    const times = waits.map((_, i) => waits.slice(0, i + 1).reduce((sum, wait) => sum + wait) * 1000);
    expect(wire.sentMs).toEqual([0, ...times]);
    expect(flow).toMatchObject({ outcome: "timeout", elapsedNs: (273 + 60) * secondNs });
  });

  it.each(["INIT", "INIT ACK", "COOKIE ECHO", "COOKIE ACK"])(
    "gets over a lost %s in three seconds",
    (kind) => {
      const world = smallWorld({}, losing(holds(kind), 1));
      const flow = connect(world, { timeoutNs: 10 * secondNs });
      expect(flow).toMatchObject({ outcome: "connected", elapsedNs: 3 * secondNs + 4 * oneWayNs });
      expect(world.hosts.send(flow, "client")).toBe("delivered");
      expect(world.hosts.send(flow, "server")).toBe("delivered");
    },
  );

  it("believes of ICMP errors protocol unreachable alone, as Linux does", () => {
    const answered = (code: number): SmallWorld =>
      smallWorld({}, ({ hook, packet }, batch, row) =>
        hook === Hook.forward && holds("INIT")(packet)
          ? icmpError(rowBytes(batch, row), "10.0.0.1", 3, code)
          : "pass",
      );
    expect(connect(answered(3)).outcome).toBe("timeout");
    expect(connect(answered(2)).outcome).toBe("refused");
  });

  it("with a cookie that was tampered with comes to nothing", () => {
    const world = smallWorld({}, ({ node, hook, packet }, batch, row) => {
      if (node !== "n1" || hook !== Hook.forward || !holds("COOKIE ECHO")(packet)) return "pass";
      const echo = parseSctp(rowBytes(batch, row).slice(20));
      const chunk = echo.ok ? echo.value.chunks[0] : undefined;
      if (!echo.ok || chunk?.kind !== "cookie-echo") return "drop";
      const cookie = chunk.cookie.slice();
      cookie[0]! ^= 1; // the peer's tag, as the server had noted it
      const ends = { src: "10.1.1.1", dst: "10.1.2.1" };
      const forged = sctp({ ...ends, ...echo.value, chunks: [{ kind: "cookie-echo", cookie }] });
      batch.bytes.set(forged.subarray(20), batch.offset[row]! + 20);
      return "pass";
    });
    const flow = connect(world);
    expect([flow.outcome, flow.server]).toEqual(["timeout", undefined]);
  });
});

describe("retransmission", () => {
  it("brings a lost message after a second, once, and several in order", () => {
    const world = smallWorld({}, losing(holds("DATA"), 1, 2, 5));
    const flow = connect(world);
    expect(world.hosts.send(flow, "client")).toBe("delivered");
    for (let i = 0; i < 3; i++) flow.client.send();
    settle(world, 60 * secondNs);
    expect(flow.server?.received).toBe(4);
    expect(world.network.loop.pending()).toBe(0);
  });

  it("counts no message twice whose SACK was lost", () => {
    const world = smallWorld({}, losing(holds("SACK"), 1));
    const flow = connect(world);
    flow.client.send();
    settle(world, 10 * secondNs);
    expect(flow.server?.received).toBe(1);
    expect(world.network.loop.pending()).toBe(0);
  });

  it("gives an association up after ten, as Association.Max.Retrans says", () => {
    const wire = new Wire();
    const world = smallWorld({ tap: wire.tap }, losing(holds("DATA")));
    const flow = connect(world);
    wire.forget();
    flow.client.send();
    settle(world, 2000 * secondNs);
    expect(wire.sentMs.slice(0, 5)).toEqual([0, 1000, 3000, 7000, 15_000]);
    expect([wire.sentMs.length, flow.client.state]).toEqual([11, "closed"]);
  });
});

describe("aborts, tags and strays", () => {
  function openFlow(): {
    world: SmallWorld;
    flow: Flow;
    wire: Wire;
    sport: number;
    clientTag: number;
    serverTag: number;
  } {
    const wire = new Wire();
    const world = smallWorld({ tap: wire.tap });
    const flow = connect(world);
    const all = packets(wire);
    wire.forget();
    return {
      ...{ world, flow, wire, sport: all[0]?.sport ?? 0 },
      clientTag: all[1]?.verificationTag ?? 0,
      serverTag: all[2]?.verificationTag ?? 0,
    };
  }

  const toServer = (sport: number, verificationTag: number, ...chunks: readonly SctpChunk[]): Uint8Array =>
    sctp({ src: "10.1.1.1", dst: "10.1.2.1", sport, dport: 80, verificationTag, chunks });

  it("an ABORT counts under the receiver's tag, or reflected under the sender's (section 8.5.1)", () => {
    const attempts = [
      { tag: "server", reflected: false, state: "reset" },
      { tag: "client", reflected: true, state: "reset" },
      { tag: "client", reflected: false, state: "open" },
      { tag: "server", reflected: true, state: "open" },
      { tag: "none", reflected: false, state: "open" },
    ] as const;
    for (const { tag, reflected, state } of attempts) {
      const { world, flow, sport, clientTag, serverTag } = openFlow();
      const value = tag === "server" ? serverTag : tag === "client" ? clientTag : 12345;
      world.network.send("x/a", toServer(sport, value, { kind: "abort", reflected, causes: [] }));
      settle(world);
      expect(flow.server?.state, `${tag} ${reflected}`).toBe(state);
    }
  });

  it("data for an association that the peer forgot is aborted under the reflected tag", () => {
    const { world, flow, wire, serverTag } = openFlow();
    world.hosts.forget("x/b");
    expect(world.hosts.send(flow, "client")).toBe("reset");
    const abort = packets(wire).at(-1);
    expect(abort).toMatchObject({ verificationTag: serverTag, chunks: [{ kind: "abort", reflected: true }] });
  });

  it("a heartbeat is answered with its own information", () => {
    const { world, wire, sport, serverTag } = openFlow();
    const info = [{ type: 1, value: Uint8Array.of(1, 2, 3, 4) }];
    world.network.send("x/a", toServer(sport, serverTag, { kind: "heartbeat", info }));
    settle(world);
    expect(packets(wire).at(-1)?.chunks).toEqual([{ kind: "heartbeat-ack", info }]);
  });

  it("what comes under a wrong tag is nothing", () => {
    const { world, flow, wire, sport, serverTag } = openFlow();
    world.network.send("x/a", toServer(sport, serverTag ^ 1, { kind: "shutdown", cumulativeTsn: 0 }));
    settle(world);
    expect([flow.server?.state, wire.lines.length]).toEqual(["open", 1]);
  });

  it("strays are answered as section 8.4 says", () => {
    const wire = new Wire();
    const world = smallWorld({ tap: wire.tap });
    const answersTo = (tag: number, ...chunks: readonly SctpChunk[]): string => {
      wire.forget();
      world.network.send("x/a", toServer(7777, tag, ...chunks));
      settle(world);
      const answer = packets(wire)[1];
      return answer === undefined
        ? ""
        : `${answer.chunks.map((one) => `${one.kind}${"reflected" in one && one.reflected ? "/T" : ""}`)} ${answer.verificationTag}`;
    };
    const nothing = { kind: "abort", reflected: false, causes: [] } as const;
    expect(answersTo(5, { kind: "cookie-ack" })).toBe("");
    expect(answersTo(5, { kind: "error", causes: [] })).toBe("");
    expect(answersTo(5, nothing)).toBe("");
    expect(answersTo(5, { kind: "shutdown-complete", reflected: false })).toBe("");
    expect(answersTo(5, { kind: "cookie-echo", cookie: new Uint8Array(16) })).toBe("");
    expect(answersTo(5, { kind: "shutdown-ack" })).toBe("shutdown-complete/T 5");
    expect(answersTo(5, { kind: "heartbeat", info: [] })).toBe("abort/T 5");
    expect(
      answersTo(5, { kind: "sack", cumulativeTsn: 1, advertisedWindow: 1, gaps: [], duplicates: [] }),
    ).toBe("abort/T 5");
  });

  it("a damaged packet is dropped without a word", () => {
    const { world, flow, wire, sport, serverTag } = openFlow();
    const packet = toServer(sport, serverTag, { kind: "abort", reflected: false, causes: [] });
    packet[28]! ^= 1;
    world.network.send("x/a", packet);
    settle(world);
    expect([flow.server?.state, wire.lines.length]).toEqual(["open", 1]);
  });
});
