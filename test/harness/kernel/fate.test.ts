/** What came out of a node under test, read back as what became of the packet. */
import { describe, expect, it } from "vitest";
import { type Ip, parseIp } from "../../../src/addr/index.ts";
import { RejectKind } from "../../../src/filter/index.ts";
import { type KernelOutput, readFate } from "../../../src/harness/kernel/fate.ts";
import { fragment, icmpError, tcp, udp } from "../../../src/packet/index.ts";
import { TcpFlag } from "../../../src/wire/index.ts";

const ip = (text: string): Ip => parseIp(text) as Ip;
const [client, server] = [ip("10.0.0.1"), ip("10.0.1.1")];
const out = (bytes: Uint8Array): KernelOutput => ({ kind: "out", interface: "in0", mark: 0, bytes });
const segment = tcp({
  src: client,
  dst: server,
  sport: 40000,
  dport: 80,
  flags: TcpFlag.ack,
  payload: new Uint8Array(100),
});
const reset = tcp({
  src: server,
  dst: client,
  sport: 80,
  dport: 40000,
  flags: TcpFlag.rst | TcpFlag.ack,
});

/** Of three: without a transport header. */
const laterFragment = fragment(segment, 68)[1] as Uint8Array;

describe("what came out of a node", () => {
  it("is the packet itself when it is of its kind", () => {
    expect(readFate(segment, [out(segment)]).verdict).toBe("forwarded");
    expect(readFate(segment, [{ ...out(segment), kind: "local" }]).verdict).toBe("delivered");
    expect(readFate(reset, [out(reset)]).verdict).toBe("forwarded");
    const error = icmpError(udp({ src: server, dst: client, sport: 1, dport: 2 }), client, 3, 3);
    expect(readFate(error, [out(error)]).verdict).toBe("forwarded");
  });

  it("is an answer when it is a reset or an error about it", () => {
    expect(readFate(segment, [out(reset)])).toMatchObject({
      verdict: "rejected",
      rejectWith: RejectKind.tcpReset,
    });
    expect(readFate(segment, [out(icmpError(segment, server, 3, 13))])).toMatchObject({
      verdict: "rejected",
      rejectWith: RejectKind.adminProhibited,
    });
    expect(readFate(segment, [out(icmpError(segment, server, 11, 0))]).verdict).toBe("answered");
  });

  it("of a later fragment is an answer when it goes back as a reset or an error, else the datagram", () => {
    expect(readFate(laterFragment, [out(reset)]).rejectWith).toBe(RejectKind.tcpReset);
    expect(readFate(laterFragment, [out(segment)]).verdict).toBe("forwarded");
    expect(readFate(laterFragment, [out(laterFragment)]).verdict).toBe("forwarded");
    const large = udp({ src: client, dst: server, sport: 1, dport: 2, payload: new Uint8Array(100) });
    const later = fragment(large, 68)[1] as Uint8Array;
    expect(readFate(later, [out(icmpError(large, server, 3, 3))]).verdict).toBe("rejected");
  });

  it("is nothing for a packet that was dropped", () => {
    expect(readFate(segment, [])).toMatchObject({ verdict: "dropped", outputs: [] });
  });
});
