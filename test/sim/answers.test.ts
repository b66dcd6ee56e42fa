/** What a node sends back about a packet belongs to that packet's connection on its whole way out, as over loopback. */
import { expect, it } from "vitest";
import { createPrng } from "../../src/base/index.ts";
import { linkIptables, restoreRuleset } from "../../src/filter/iptables/index.ts";
import { fragment, tcp, udp } from "../../src/packet/index.ts";
import { Network } from "../../src/sim/index.ts";
import { printPacket, TcpFlag } from "../../src/wire/index.ts";
import { smallSpec } from "./small-network.ts";

const rules = `*nat
-A PREROUTING -d 192.0.2.80/32 -p tcp -j DNAT --to-destination 10.1.1.2:80
COMMIT
*filter
:OUTPUT DROP [0:0]
-A FORWARD -d 10.1.1.2/32 -p tcp -j REJECT --reject-with tcp-reset
-A OUTPUT -m conntrack --ctstate RELATED -j ACCEPT
COMMIT
`;

function worldWith(text: string): { readonly network: Network; readonly delivered: string[] } {
  const network = new Network(smallSpec);
  network.setDatapath(
    "n1",
    linkIptables(
      { v4: restoreRuleset(text, "rules"), v6: { family: 6, tables: {} }, sets: new Map() },
      { facts: network.node("n1"), nowNs: () => network.loop.nowNs(), random: createPrng(1) },
    ),
  );
  const delivered: string[] = [];
  network.onDeliver = (receiver, bytes) => delivered.push(`${receiver} ${printPacket(bytes)}`);
  return { network, delivered };
}

it("lets a reset through that only RELATED lets through, from the address that was asked", () => {
  const { network, delivered } = worldWith(rules);
  const syn = { src: "10.1.1.1", dst: "192.0.2.80", sport: 7, dport: 80, flags: TcpFlag.syn, seq: 1 };
  network.send("x/a", tcp(syn));
  network.loop.runUntilIdle();
  expect(delivered).toEqual(["x/a IP 192.0.2.80.80 > 10.1.1.1.7: Flags [R.], seq 0, ack 2, win 0, length 0"]);
});

it("lets an error of expired time through likewise", () => {
  const { network, delivered } = worldWith(rules);
  network.send("x/a", udp({ src: "10.1.1.1", dst: "10.1.2.1", sport: 7, dport: 80, ttl: 1 }));
  network.loop.runUntilIdle();
  expect(delivered.map((line) => line.slice(0, 60))).toEqual([
    expect.stringContaining("x/a IP 10.0.0.1 > 10.1.1.1: ICMP time exceeded"),
  ]);
});

it("delivers a datagram once, with its last fragment", () => {
  const { network, delivered } = worldWith("*filter\n-A FORWARD -m state --state INVALID -j DROP\nCOMMIT\n");
  const whole = udp({
    src: "10.1.1.1",
    dst: "10.1.1.2",
    sport: 7,
    dport: 80,
    payload: new Uint8Array(200),
    dontFragment: false,
  });
  for (const part of fragment(whole, 108, 5)) network.send("x/a", part);
  network.loop.runUntilIdle();
  expect(delivered).toEqual(["x/c IP 10.1.1.1.7 > 10.1.1.2.80: UDP, length 200"]);
  expect(network.counts).toMatchObject({ sent: 3, delivered: 1, dropped: 2, inFlight: 0 });
});
