/** Connection tracking: the kernel's answers of reference tables, lives in virtual time, zones, a table that is full. */
import { describe, expect, it } from "vitest";
import { Hook, Verdict } from "../../../src/filter/index.ts";
import { restoreRuleset } from "../../../src/filter/iptables/index.ts";
import { CtStatus, formatEntry } from "../../../src/filter/netfilter/index.ts";
import { CtState, icmpError, sctp, tcp, udp } from "../../../src/packet/index.ts";
import { type SctpChunk, TcpFlag } from "../../../src/wire/index.ts";
import { forwardPath, TestNode } from "../node.ts";

const client = { src: "10.0.0.1", dst: "10.0.0.2", sport: 4000, dport: 80 };
const server = { src: client.dst, dst: client.src, sport: client.dport, dport: client.sport };
const { syn, ack, rst, fin } = TcpFlag;
const second = 1_000_000_000;

/** Established and related pass, new connections to port 80 pass, the rest is dropped: the rules of the kernel's table. */
const gate = restoreRuleset(
  `*filter
:FORWARD DROP [0:0]
-A FORWARD -m conntrack --ctstate INVALID -j DROP
-A FORWARD -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
-A FORWARD -s 10.0.0.1 -j ACCEPT
COMMIT
`,
  "gate",
);

const passes = (node: TestNode, packet: Uint8Array): boolean => node.pass(packet).verdict === Verdict.accept;
const stateOf = (node: TestNode, packet: Uint8Array): number => node.pass(packet).ctState;

const request = (over: object = {}): Uint8Array => udp({ ...client, ...over });
const reply = (over: object = {}): Uint8Array => udp({ ...server, ...over });

function openTcp(node: TestNode): void {
  node.pass(tcp({ ...client, flags: syn, seq: 100 }));
  node.pass(tcp({ ...server, flags: syn | ack, seq: 500, ack: 101 }));
  node.pass(tcp({ ...client, flags: ack, seq: 101, ack: 501 }));
}

describe("what the kernel answers", () => {
  const initTag = 7;
  const init: SctpChunk = {
    kind: "init",
    initiateTag: initTag,
    advertisedWindow: 1000,
    outboundStreams: 1,
    inboundStreams: 1,
    initialTsn: 1,
    parameters: [],
  };
  const data: SctpChunk = {
    kind: "data",
    flags: 3,
    tsn: 1,
    stream: 0,
    sequence: 0,
    payloadProtocol: 0,
    data: new Uint8Array(4),
  };
  const handshake = [
    tcp({ ...client, flags: syn, seq: 100 }),
    tcp({ ...server, flags: syn | ack, seq: 500, ack: 101 }),
    tcp({ ...client, flags: ack, seq: 101, ack: 501 }),
  ];
  const cases: readonly (readonly [
    string,
    readonly Uint8Array[],
    readonly boolean[],
    (readonly boolean[])?,
  ])[] = [
    ["a SYN-ACK before any SYN", [handshake[1] as Uint8Array], [false]],
    ["a handshake", handshake, [true, true, true]],
    [
      "data far out of the window",
      [...handshake, tcp({ ...client, flags: ack, seq: 0x4000_0000, ack: 501, payload: new Uint8Array(9) })],
      [true, true, true, false],
    ],
    ["an ACK of an unknown connection", [tcp({ ...client, flags: ack, seq: 9, ack: 9 })], [true], [false]],
    [
      "a reply before the request, the request, the reply",
      [reply(), request(), reply()],
      [false, true, true],
    ],
    ["an error about a known flow", [request(), icmpError(request(), "10.0.0.2", 3, 3)], [true, true]],
    ["an error about an unknown flow", [icmpError(request(), "10.0.0.2", 3, 3)], [false]],
    ["SCTP data first", [sctp({ ...client, verificationTag: 1, chunks: [data] })], [false]],
    [
      "SCTP's INIT, INIT ACK, and one with a wrong tag",
      [
        sctp({ ...client, verificationTag: 0, chunks: [init] }),
        sctp({
          ...server,
          verificationTag: initTag,
          chunks: [{ ...init, kind: "init-ack", initiateTag: 9 }],
        }),
        sctp({ ...server, verificationTag: 8, chunks: [{ kind: "cookie-ack" }] }),
      ],
      [true, true, false],
    ],
    [
      "an INIT whose tag is known already, so that its INIT ACK is not one of a collision",
      [
        sctp({ ...client, verificationTag: 0, chunks: [init] }),
        sctp({ ...server, verificationTag: 0, chunks: [{ ...init, initiateTag: 0 }] }),
        sctp({ ...server, verificationTag: initTag, chunks: [{ ...init, kind: "init-ack" }] }),
      ],
      [true, true, true],
    ],
    [
      "INITs that crossed, and an INIT ACK with a third tag",
      [
        sctp({ ...client, verificationTag: 0, chunks: [init] }),
        sctp({ ...server, verificationTag: 0, chunks: [{ ...init, initiateTag: 9 }] }),
        sctp({
          ...server,
          verificationTag: initTag,
          chunks: [{ ...init, kind: "init-ack", initiateTag: 3 }],
        }),
      ],
      [true, true, false],
    ],
    ["a SYN with a wrong checksum", [tcp({ ...client, flags: syn, overrides: { checksum: 1 } })], [false]],
  ];
  for (const [name, packets, loose, strict = loose] of cases)
    for (const tcpLoose of [true, false])
      it(`to ${name}, tcp_loose ${tcpLoose}`, () => {
        const node = new TestNode({ v4: gate }, { tcpLoose });
        expect(packets.map((packet) => passes(node, packet))).toEqual(tcpLoose ? loose : strict);
      });
});

describe("an entry's life", () => {
  it("ends to the nanosecond: 30 s for a request, 120 s for a stream that answers after two seconds", () => {
    const node = new TestNode();
    expect(stateOf(node, request())).toBe(CtState.new);
    node.clock.ns = 30 * second - 1;
    expect(node.datapath.conntrack.size).toBe(1);
    node.clock.ns++;
    expect(node.datapath.conntrack.size).toBe(0);
    expect(stateOf(node, request())).toBe(CtState.new);
    node.clock.ns += second;
    expect(stateOf(node, reply())).toBe(CtState.established);
    node.clock.ns += 2 * second;
    node.pass(request());
    node.clock.ns += 119 * second;
    expect(node.datapath.conntrack.list()[0]?.status).toBe(
      CtStatus.confirmed | CtStatus.seenReply | CtStatus.assured,
    );
    node.clock.ns += second;
    expect(stateOf(node, reply())).toBe(CtState.new);
  });

  it("of TCP follows its state", () => {
    const node = new TestNode();
    const seconds = (): number =>
      ((node.datapath.conntrack.list()[0]?.expiresNs ?? 0) - node.clock.ns) / second;
    node.pass(tcp({ ...client, flags: syn, seq: 100 }));
    expect(seconds()).toBe(120);
    node.clock.ns = 50 * second;
    node.pass(tcp({ ...client, flags: syn, seq: 100 }));
    expect(seconds()).toBe(70); // a SYN sent again prolongs nothing
    node.pass(tcp({ ...server, flags: syn | ack, seq: 500, ack: 101 }));
    expect(seconds()).toBe(60);
    node.pass(tcp({ ...client, flags: ack, seq: 101, ack: 501 }));
    expect(seconds()).toBe(432_000);
    node.pass(tcp({ ...client, flags: ack, seq: 101, ack: 501, payload: new Uint8Array(1) }));
    expect(seconds()).toBe(300); // not acknowledged yet
    node.pass(tcp({ ...server, flags: ack, seq: 501, ack: 102 }));
    node.pass(tcp({ ...client, flags: fin | ack, seq: 102, ack: 501 }));
    expect(seconds()).toBe(120);
    node.pass(tcp({ ...client, flags: rst, seq: 103 }));
    expect(seconds()).toBe(10);
  });

  it("ends at once with a reset that answers its first packet", () => {
    const node = new TestNode();
    node.pass(tcp({ ...client, flags: syn, seq: 100 }));
    node.pass(tcp({ ...server, flags: rst | ack, seq: 0, ack: 101 }));
    expect(node.datapath.conntrack.size).toBe(0);
  });

  it("begins anew with a SYN on the ports of a closed connection", () => {
    const node = new TestNode();
    openTcp(node);
    node.pass(tcp({ ...client, flags: fin | ack, seq: 101, ack: 501 }));
    node.pass(tcp({ ...server, flags: fin | ack, seq: 501, ack: 102 }));
    node.pass(tcp({ ...client, flags: ack, seq: 102, ack: 502 }));
    expect(stateOf(node, tcp({ ...client, flags: syn, seq: 9000 }))).toBe(CtState.new);
    expect(node.datapath.conntrack.size).toBe(1);
  });

  it("leaves nothing behind when the first packet is dropped", () => {
    const node = new TestNode({ v4: gate });
    expect(passes(node, reply())).toBe(false);
    expect(node.datapath.conntrack.size).toBe(0);
  });
});

describe("the list", () => {
  it("reads as conntrack -L -o extended prints it", () => {
    const node = new TestNode();
    openTcp(node);
    node.pass(request({ sport: 9, dport: 53 }));
    expect(node.datapath.conntrack.list().map((entry) => formatEntry(entry, 0))).toEqual([
      "ipv4     2 tcp      6 432000 ESTABLISHED src=10.0.0.1 dst=10.0.0.2 sport=4000 dport=80 src=10.0.0.2 dst=10.0.0.1 sport=80 dport=4000 [ASSURED] mark=0 use=1",
      "ipv4     2 udp      17 30 src=10.0.0.1 dst=10.0.0.2 sport=9 dport=53 [UNREPLIED] src=10.0.0.2 dst=10.0.0.1 sport=53 dport=9 mark=0 use=1",
    ]);
  });

  it("counts packets and bytes of both directions", () => {
    const node = new TestNode();
    node.pass(request({ payload: new Uint8Array(10) }));
    node.pass(reply());
    node.pass(reply());
    const [entry] = node.datapath.conntrack.list();
    expect([entry?.packets, entry?.bytes]).toEqual([
      [1, 2],
      [38, 56],
    ]);
  });
});

describe("zones", () => {
  it("keep equal flows apart, in one direction alone if so asked", () => {
    const rules = restoreRuleset(
      `*raw
-A PREROUTING -i azv1 -j CT --zone 7
COMMIT
`,
      "zones",
    );
    const node = new TestNode({ v4: rules });
    expect(stateOf(node, request())).toBe(CtState.new);
    expect(node.pass(reply(), forwardPath, { iif: 4 }).ctState).toBe(CtState.new); // zone 0 knows of nothing
    expect(stateOf(node, reply())).toBe(CtState.established);
    expect(node.datapath.conntrack.list().map(({ zone }) => zone)).toEqual([7, 0]);
  });

  it("of the original direction alone let replies come from the default zone", () => {
    const rules = restoreRuleset("*raw\n-A PREROUTING -i azv1 -j CT --zone-orig 7\nCOMMIT\n", "zones");
    const node = new TestNode({ v4: rules });
    expect(stateOf(node, request())).toBe(CtState.new);
    expect(node.pass(request(), forwardPath, { iif: 4 }).ctState).toBe(CtState.new); // another zone's flow
    const other = new TestNode({ v4: rules });
    other.pass(request());
    expect(other.pass(reply(), forwardPath, { iif: 4 }).ctState).toBe(CtState.established);
  });
});

describe("a full table", () => {
  const options = { max: 20, buckets: 1 }; // one chain: every entry is near every other

  it("drops an unassured entry for a new one", () => {
    const node = new TestNode({}, options);
    for (let i = 0; i < 30; i++) expect(passes(node, request({ sport: 1000 + i })), `${i}`).toBe(true);
    expect(node.datapath.conntrack.size).toBeLessThanOrEqual(20);
    expect(stateOf(node, reply({ dport: 1029 }))).toBe(CtState.established); // the newest is there
  });

  it("drops the packet when all entries are assured", () => {
    const node = new TestNode({}, options);
    for (let i = 0; i < 20; i++)
      for (const [packet, flags, seq, acked] of [
        [client, syn, 1, 0],
        [server, syn | ack, 5, 2],
        [client, ack, 2, 6],
      ] as const)
        node.pass(
          tcp({
            ...packet,
            ...(packet === client ? { sport: 1000 + i } : { dport: 1000 + i }),
            flags,
            seq,
            ack: acked,
          }),
        );
    expect(node.datapath.conntrack.size).toBe(20);
    expect(passes(node, request())).toBe(false);
    node.clock.ns = 432_000 * second;
    expect(passes(node, request())).toBe(true); // their lives are over
  });

  it("finds nothing to drop in chains far away", () => {
    const node = new TestNode({}, { max: 20, buckets: 2 ** 24 });
    const passed = Array.from({ length: 60 }, (_, i) => passes(node, request({ sport: 1000 + i })));
    expect(passed.filter(Boolean).length).toBe(20);
  });
});

describe("what a node sends back about a packet", () => {
  it("is RELATED to its connection, and passes where a stranger would be INVALID", () => {
    const rules = restoreRuleset(
      `*filter
:OUTPUT DROP [0:0]
-A FORWARD -p tcp -j REJECT --reject-with tcp-reset
-A OUTPUT -m conntrack --ctstate RELATED -j ACCEPT
COMMIT
`,
      "answers",
    );
    const node = new TestNode({ v4: rules });
    const rejected = node.pass(tcp({ ...client, flags: syn, seq: 1 }));
    const [answer] = rejected.emitted;
    const stranger = node.pass(answer as Uint8Array, [Hook.output], { iif: 0 });
    expect([stranger.verdict, stranger.ctState]).toEqual([Verdict.drop, CtState.invalid]);
    const sent = node.pass(answer as Uint8Array, [Hook.output, Hook.postrouting], {
      iif: 0,
      ...rejected.emittedStates[0],
    });
    expect([sent.verdict, sent.ctState]).toEqual([Verdict.accept, CtState.related]);
  });
});
