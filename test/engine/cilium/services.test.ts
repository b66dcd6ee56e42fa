/** Services through the programs: which backend a packet gets, what its answer looks like, and where it is refused. */
import { describe, expect, it } from "vitest";
import { MapPlace } from "../../../src/engine/cilium/maps.ts";
import type { ProgramVariant } from "../../../src/engine/cilium/programs/index.ts";
import { serviceEntries } from "../../../src/engine/cilium/services.ts";
import type { MapEntry } from "../../../src/filter/bpf/index.ts";
import { Hook } from "../../../src/filter/index.ts";
import type { Node } from "../../../src/k8s/index.ts";
import { tcp, udp } from "../../../src/packet/index.ts";
import { printPacket } from "../../../src/wire/index.ts";
import { ip, nodeAddress } from "../../filter/node.ts";
import { cluster, node, type RawObject, type SliceEndpoint, service, slice } from "../platform/cluster.ts";
import { emptyService6, LoneNode, type Passage, podA, podB, type RawPolicy, variants } from "./lone-node.ts";

const clusterIP = "10.0.0.20";
const client = "203.0.113.9";
const elsewhere = "10.0.1.7";
const loopback = 1;
const uplink = 2;

interface World {
  readonly spec?: RawObject;
  readonly status?: RawObject;
  readonly backends: readonly SliceEndpoint[];
  readonly protocol?: "UDP";
  readonly policyA?: readonly RawPolicy[];
  readonly policyB?: readonly RawPolicy[];
  readonly variant?: ProgramVariant;
}

function lone({ spec = {}, status = {}, backends, protocol, ...policies }: World): LoneNode {
  const hasNodePort = spec["type"] === undefined ? {} : { nodePort: 30_080 };
  const state = cluster([
    node("n1", nodeAddress),
    node("n2", "192.0.2.2"),
    service("s", { ports: [{ port: 80, targetPort: 8080, ...hasNodePort }], ...spec }, status),
    { ...slice("s", 8080, backends), ports: [{ port: 8080, protocol: protocol ?? "TCP" }] },
  ]);
  const { shared, own } = serviceEntries(state);
  const mine = own(state.nodes.get("n1") as Node);
  const entries: Record<number, readonly MapEntry[]> = {};
  for (const place of Object.values(MapPlace))
    entries[place] = [...(shared.get(place) ?? []), ...(mine.get(place) ?? [])];
  return new LoneNode({ entries, ...policies });
}

const onB: SliceEndpoint = { ip: podB, on: "n1" };
const far: SliceEndpoint = { ip: elsewhere, on: "n2" };
const nodePort = { type: "NodePort" };
const syn = (src: string, sport: number, dst: string, dport: number): Uint8Array =>
  tcp({ src: ip(src), dst: ip(dst), sport, dport, flags: 2, seq: 7 });
const synAck = (src: string, sport: number, dst: string, dport: number): Uint8Array =>
  tcp({ src: ip(src), dst: ip(dst), sport, dport, flags: 0x12, seq: 9, ack: 8 });
/** `printPacket` says of wrong checksums that they are. */
const ends = ({ bytes }: Passage): string => {
  const line = printPacket(bytes);
  expect(line).not.toMatch(/bad|wrong|incorrect/i);
  return /IP6? (\S+ > [^\s,]+):/.exec(line)?.[1] ?? line;
};

describe("a pod's packet to a Service", () => {
  it("goes to a backend, and the answer comes from the Service", () => {
    const one = lone({ backends: [onB] });
    const sent = one.from("A", syn(podA, 40_000, clusterIP, 80));
    expect(ends(sent)).toBe(`${podA}.40000 > ${podB}.8080`);
    expect(one.to("B", sent.bytes, sent.mark).verdict).toBe("accept");
    const answer = one.from("B", synAck(podB, 8080, podA, 40_000));
    expect(ends(answer)).toBe(`${podB}.8080 > ${podA}.40000`);
    expect(ends(one.to("A", answer.bytes, answer.mark))).toBe(`${clusterIP}.80 > ${podA}.40000`);
  });

  it("is judged by the backend's port, not by the Service's", () => {
    const to = (port: number): readonly RawPolicy[] => [
      { identity: 0, egress: true, protocol: 6, port },
      { identity: 0 },
    ];
    const sent = (port: number): Passage =>
      lone({ backends: [onB], policyA: to(port) }).from("A", syn(podA, 40_000, clusterIP, 80));
    expect(sent(8080).verdict).toBe("accept");
    expect(sent(80).reason).toBe(133);
  });

  it("is dropped by 1.14 where the Service has no backend", () => {
    const variant = { ...variants.G1, version: "1.14" } as const;
    expect(lone({ variant, backends: [] }).from("A", syn(podA, 1, clusterIP, 80)).reason).toBe(158);
  });

  it("comes back from 1.16 on as an error about itself, which the pod's ingress policy may keep out", () => {
    const local = { internalTrafficPolicy: "Local" };
    for (const world of [{ backends: [] }, { spec: local, backends: [far] }]) {
      const one = lone({ ...world, policyB: [] });
      for (const [pod, address] of [
        ["A", podA],
        ["B", podB],
      ] as const) {
        const { verdict, oif, bytes } = one.from(pod, syn(address, 1, clusterIP, 80));
        expect([verdict, oif]).toEqual(["redirect", pod === "A" ? 3 : 4]);
        expect(printPacket(bytes)).toMatch(
          new RegExp(
            `^IP ${clusterIP} > ${address}: ICMP ${clusterIP} tcp port 80 unreachable, length \\d+$`,
          ),
        );
        expect(one.to(pod, bytes)).toMatchObject(pod === "A" ? { verdict: "accept" } : { reason: 133 });
      }
    }
  });

  it("comes back whatever its length: long ones are quoted in part, short ones are filled up", () => {
    for (const size of [0, 1, 22, 23, 24, 500]) {
      const one = lone({ spec: { ports: [{ port: 80, protocol: "UDP" }] }, backends: [] });
      const asked = udp({
        src: ip(podA),
        dst: ip(clusterIP),
        sport: 5,
        dport: 80,
        payload: new Uint8Array(size).fill(7),
      });
      const { bytes } = one.from("A", asked);
      expect(bytes).toHaveLength(28 + Math.min(64, asked.length + 14));
      expect([...bytes.subarray(28, 28 + 28)]).toEqual([...asked.subarray(0, 28)]);
      expect(printPacket(bytes)).toMatch(/udp port 80 unreachable, length \d+$/);
    }
    const node = new LoneNode({ entries: { [MapPlace.services6]: [emptyService6("fd00::99", 80)] } });
    const { bytes } = node.from("A", syn("fd00::5", 1, "fd00::99", 80));
    expect(printPacket(bytes)).toMatch(
      /^IP6 fd00::99 > fd00::5: ICMP6, .*unreachable.* tcp port 80, length \d+$/,
    );
  });

  it("stays with its backend for as long as its connection is known", () => {
    const many = Array.from({ length: 20 }, (_, i) => ({ ip: `10.0.1.${i + 1}`, on: "n2" }));
    const one = lone({ backends: many });
    const backends = new Set(
      Array.from({ length: 5 }, () => ends(one.from("A", syn(podA, 40_000, clusterIP, 80)))),
    );
    expect(backends.size).toBe(1);
    const others = new Set(
      Array.from(
        { length: 30 },
        (_, i) => ends(one.from("A", syn(podA, 41_000 + i, clusterIP, 80))).split("> ")[1],
      ),
    );
    expect(others.size).toBeGreaterThan(5);
  });

  it("goes where its pod went before, with session affinity and in its time", () => {
    const many = Array.from({ length: 20 }, (_, i) => ({ ip: `10.0.1.${i + 1}`, on: "n2" }));
    const sticky = {
      sessionAffinity: "ClientIP",
      sessionAffinityConfig: { clientIP: { timeoutSeconds: 100 } },
    };
    const one = lone({ spec: sticky, backends: many });
    const target = (sport: number): string | undefined =>
      ends(one.from("A", syn(podA, sport, clusterIP, 80))).split("> ")[1];
    const chosen = new Set(Array.from({ length: 20 }, (_, i) => target(42_000 + i)));
    expect(chosen.size).toBe(1);
    one.clock.ns += 101e9;
    expect(new Set(Array.from({ length: 5 }, (_, i) => target(43_000 + i))).size).toBe(1);
  });

  it("comes back to the pod itself under another address, past every policy, and so does the answer", () => {
    const one = lone({ backends: [{ ip: podA, on: "n1" }], policyA: [] });
    const sent = one.from("A", syn(podA, 40_000, clusterIP, 80));
    expect([sent.verdict, sent.oif, ends(sent)]).toEqual([
      "redirect",
      3,
      `169.254.42.1.40000 > ${podA}.8080`,
    ]);
    expect(one.to("A", sent.bytes).verdict).toBe("accept");
    const answer = one.from("A", synAck(podA, 8080, "169.254.42.1", 40_000));
    expect([answer.verdict, answer.oif]).toEqual(["redirect", 3]);
    expect(ends(one.to("A", answer.bytes))).toBe(`${clusterIP}.80 > ${podA}.40000`);
    const next = one.from(
      "A",
      tcp({ src: ip(podA), dst: ip(clusterIP), sport: 40_000, dport: 80, flags: 16 }),
    );
    expect(one.to("A", next.bytes).verdict).toBe("accept");
  });

  it("over UDP keeps a checksum that is there, and none that is not", () => {
    const dns = { ports: [{ port: 53, targetPort: 8080, protocol: "UDP" }] };
    const one = lone({ spec: dns, backends: [onB], protocol: "UDP" });
    const query = udp({
      src: ip(podA),
      dst: ip(clusterIP),
      sport: 1,
      dport: 53,
      payload: Uint8Array.of(1, 2, 3),
    });
    expect(ends(one.from("A", query))).toBe(`${podA}.1 > ${podB}.8080`);
    query.fill(0, 26, 28);
    const bare = one.from("A", query);
    expect([...bare.bytes.subarray(26, 28)]).toEqual([0, 0]);
  });
});

describe("an outsider's packet to a node port", () => {
  const arrive = (one: LoneNode, bytes: Uint8Array): Passage => one.pass(Hook.tcIngress, uplink, bytes, 0);

  it("goes to a backend here with its own address, and the answer leaves as from the node port", () => {
    const one = lone({ spec: nodePort, backends: [onB] });
    const sent = arrive(one, syn(client, 5000, nodeAddress, 30_080));
    expect([sent.verdict, ends(sent)]).toEqual(["accept", `${client}.5000 > ${podB}.8080`]);
    expect(one.to("B", sent.bytes).verdict).toBe("accept");
    const answer = one.from("B", synAck(podB, 8080, client, 5000));
    expect([answer.verdict, answer.oif, ends(answer)]).toEqual([
      "redirect",
      uplink,
      `${nodeAddress}.30080 > ${client}.5000`,
    ]);
  });

  it("goes to a backend elsewhere as from the node, and the answer finds its way back", () => {
    const one = lone({ spec: nodePort, backends: [far] });
    const sent = arrive(one, syn(client, 5000, nodeAddress, 30_080));
    expect([sent.verdict, sent.oif]).toEqual(["redirect", uplink]);
    const line = ends(sent);
    const port = Number(/192\.0\.2\.1\.(\d+) > 10\.0\.1\.7\.8080/.exec(line)?.[1]);
    expect(port).toBeGreaterThanOrEqual(0x8000);
    const again = arrive(
      one,
      tcp({ src: ip(client), dst: ip(nodeAddress), sport: 5000, dport: 30_080, flags: 16 }),
    );
    expect(ends(again)).toBe(line);
    const answer = arrive(one, synAck(elsewhere, 8080, nodeAddress, port));
    expect([answer.verdict, answer.oif, ends(answer)]).toEqual([
      "redirect",
      uplink,
      `${nodeAddress}.30080 > ${client}.5000`,
    ]);
  });

  it("has a port of its own where two clients would have the same", () => {
    const one = lone({ spec: nodePort, backends: [far] });
    const ports = [client, "203.0.113.10", "203.0.113.11"].map(
      (from) => ends(arrive(one, syn(from, 40_000, nodeAddress, 30_080))).split(" ")[0],
    );
    expect(ports[0]).toBe(`${nodeAddress}.40000`);
    expect(new Set(ports).size).toBe(3);
  });

  it("reaches only backends here with external policy Local, while pods reach all", () => {
    const spec = { type: "NodePort", externalTrafficPolicy: "Local" };
    const one = lone({ spec, backends: [far] });
    expect(printPacket(arrive(one, syn(client, 5000, nodeAddress, 30_080)).bytes)).toMatch(
      /^IP 192\.0\.2\.1 > 203\.0\.113\.9: ICMP .* tcp port 30080 unreachable/,
    );
    expect(ends(one.from("A", syn(podA, 1, nodeAddress, 30_080)))).toBe(`${podA}.1 > ${elsewhere}.8080`);
  });

  it("to a load balancer's address is refused from outside its source ranges", () => {
    const one = lone({
      spec: { type: "LoadBalancer", loadBalancerSourceRanges: ["198.51.100.0/24"] },
      status: { loadBalancer: { ingress: [{ ip: "20.1.2.3" }] } },
      backends: [onB],
    });
    expect(arrive(one, syn(client, 5000, "20.1.2.3", 80)).reason).toBe(177);
    expect(arrive(one, syn("198.51.100.9", 5000, "20.1.2.3", 80)).verdict).toBe("accept");
    expect(one.from("A", syn(podA, 1, "20.1.2.3", 80)).verdict).toBe("accept");
  });

  it("leaves what no Service has alone", () => {
    const one = lone({ spec: nodePort, backends: [onB] });
    for (const bytes of [syn(client, 1, nodeAddress, 22), syn(client, 1, podB, 8080)]) {
      const passed = arrive(one, bytes);
      expect([passed.verdict, passed.bytes]).toEqual(["accept", bytes]);
    }
  });
});

describe("the node's own packet to a Service", () => {
  const leave = (one: LoneNode, bytes: Uint8Array): Passage => one.pass(Hook.tcEgress, uplink, bytes, 0xc00);

  it("is handed to a pod of the node as the host's, and its answer comes from the Service", () => {
    const one = lone({ backends: [onB], policyB: [{ identity: 1 }] });
    const sent = leave(one, syn(nodeAddress, 6000, clusterIP, 80));
    expect([sent.verdict, sent.oif, ends(sent)]).toEqual([
      "redirect",
      4,
      `${nodeAddress}.6000 > ${podB}.8080`,
    ]);
    expect(one.to("B", sent.bytes, sent.mark).verdict).toBe("accept");
    const answer = one.from("B", synAck(podB, 8080, nodeAddress, 6000));
    expect([answer.verdict, answer.oif, ends(answer)]).toEqual([
      "redirect",
      loopback,
      `${clusterIP}.80 > ${nodeAddress}.6000`,
    ]);
  });

  it("leaves for a backend elsewhere, and its answer comes from the Service", () => {
    const one = lone({ backends: [far] });
    const sent = leave(one, syn(nodeAddress, 6000, clusterIP, 80));
    expect([sent.verdict, ends(sent)]).toEqual(["accept", `${nodeAddress}.6000 > ${elsewhere}.8080`]);
    const answer = one.pass(Hook.tcIngress, uplink, synAck(elsewhere, 8080, nodeAddress, 6000), 0);
    expect([answer.verdict, answer.oif, ends(answer)]).toEqual([
      "redirect",
      loopback,
      `${clusterIP}.80 > ${nodeAddress}.6000`,
    ]);
  });

  it("to a node port of its own comes back to the node as from there, wherever the backend is", () => {
    for (const backend of [onB, far]) {
      const one = lone({ spec: nodePort, backends: [backend], policyB: [{ identity: 1 }] });
      const sent = one.pass(Hook.tcEgress, loopback, syn(nodeAddress, 6000, nodeAddress, 30_080), 0xc00);
      expect([sent.verdict, sent.oif]).toEqual(["redirect", backend === onB ? 4 : uplink]);
      if (backend === onB) expect(one.to("B", sent.bytes, sent.mark).verdict).toBe("accept");
      const answer =
        backend === onB
          ? one.from("B", synAck(podB, 8080, nodeAddress, 6000))
          : one.pass(Hook.tcIngress, uplink, synAck(elsewhere, 8080, nodeAddress, 6000), 0);
      expect([answer.verdict, answer.oif, ends(answer)]).toEqual([
        "redirect",
        loopback,
        `${nodeAddress}.30080 > ${nodeAddress}.6000`,
      ]);
    }
  });
});

describe("who an answer's sender is", () => {
  it("does not make the node's address the host without its mark", () => {
    const one = new LoneNode({ policyB: [{ identity: 1 }] });
    expect(one.to("B", syn(nodeAddress, 1, podB, 80)).reason).toBe(133);
    expect(one.to("B", syn(nodeAddress, 1, podB, 80), 0xc00).verdict).toBe("accept");
  });

  it("finds other nodes and prefixes in the ipcache", () => {
    const prefixes = [
      ["192.0.2.2", 32, 6],
      ["198.51.100.0", 24, 16_777_217],
    ] as const;
    const from = (src: string, identity: number): string =>
      new LoneNode({ prefixes, policyB: [{ identity }] }).to("B", syn(src, 1, podB, 80)).verdict;
    expect(from("192.0.2.2", 6)).toBe("accept");
    expect(from("198.51.100.7", 16_777_217)).toBe("accept");
    expect(from("198.51.101.7", 9)).toBe("accept");
    expect(from("198.51.101.7", 16_777_217)).toBe("drop");
  });
});
