/** Traffic between pods: its shapes as documented, the same from a seed however it is taken, and packets that are whole. */
import { describe, expect, it } from "vitest";
import { formatIp } from "../../src/addr/index.ts";
import {
  createTrafficColumns,
  generateCluster,
  Traffic,
  type TrafficColumns,
  type TrafficOptions,
  trafficShapes,
} from "../../src/harness/index.ts";
import { buildCluster, loadObjects } from "../../src/k8s/index.ts";
import { CtState, createBatch, DecodeStatus, rowBytes } from "../../src/packet/index.ts";
import { firstPacket, readIp } from "../../src/sim/index.ts";
import { crc32c, IpProtocol, readCrc32c, sctpChecksumAt } from "../../src/wire/index.ts";

const sizes = { nodes: 4, pods: 60, namespaces: 5, policies: 20 };
const { state } = buildCluster(loadObjects("made", generateCluster("aks-npm-limit", 3, sizes)), {});
const dual = buildCluster(loadObjects("made", generateCluster("aks-npm-limit", 3, sizes)), {
  ipFamilies: ["ipv4", "ipv6"],
  networkPlugin: "azure",
  networkPluginMode: "overlay",
}).state;

function taken(options: TrafficOptions, rows: number): TrafficColumns {
  const columns = createTrafficColumns(rows);
  new Traffic(state, options).fill(columns, 0, rows);
  return columns;
}

/** Source and destination of each row, as the first words of their addresses. */
function pairs({ src, dst, family }: TrafficColumns): readonly (readonly [number, number])[] {
  return Array.from(family, (_, row) => [src[row * 4] ?? 0, dst[row * 4] ?? 0] as const);
}

function share(column: Iterable<number>, value: number): number {
  const all = [...column];
  return all.filter((one) => one === value).length / all.length;
}

describe.each(trafficShapes)("%s", (shape) => {
  it("is the same for a seed whatever the pieces, and another for another", () => {
    const whole = taken({ shape, seed: 5, establishedPercent: 40 }, 300);
    const pieces = createTrafficColumns(300);
    const traffic = new Traffic(state, { shape, seed: 5, establishedPercent: 40 });
    for (const [first, last] of [
      [0, 1],
      [1, 120],
      [120, 300],
    ] as const)
      traffic.fill(pieces, first, last);
    expect(pieces).toEqual(whole);
    expect(taken({ shape, seed: 6, establishedPercent: 40 }, 300)).not.toEqual(whole);
  });

  it("goes between different pods", () => {
    const addresses = new Set(new Traffic(state, { shape, seed: 1 }).ips.map(({ words }) => words[0]));
    expect(addresses.size).toBe(sizes.pods);
    for (const [src, dst] of pairs(taken({ shape, seed: 1 }, 500))) {
      expect(src).not.toBe(dst);
      expect(addresses.has(src) && addresses.has(dst)).toBe(true);
    }
  });

  it.each([4, 6] as const)("law: packets of IPv%d are the columns, with checksums that hold", (family) => {
    const options = { shape, seed: 9, establishedPercent: 30, family };
    const columns = createTrafficColumns(200);
    new Traffic(dual, options).fill(columns, 0, 200);
    const batch = createBatch(200, 128);
    new Traffic(dual, options).fillBatch(batch);
    expect(batch.length).toBe(200);
    expect(new Set(batch.status)).toEqual(new Set([DecodeStatus.ok]));
    for (const name of ["family", "protocol", "src", "dst", "sport", "dport"] as const)
      expect(batch[name]).toEqual(columns[name]);
    expect(batch.state.ctState).toEqual(columns.ctState);
    for (let row = 0; row < batch.length; row++) {
      const ip = readIp(rowBytes(batch, row));
      if (ip === undefined) throw new RangeError("no IP packet");
      if (ip.protocol === IpProtocol.sctp) {
        const cleared = ip.payload.slice().fill(0, sctpChecksumAt, sctpChecksumAt + 4);
        expect(readCrc32c(ip.payload, sctpChecksumAt)).toBe(crc32c(cleared));
        continue;
      }
      const isTcp = ip.protocol === IpProtocol.tcp;
      if (isTcp && columns.ctState[row] === CtState.established) continue;
      const [port, sourcePort] = [columns.dport[row] ?? 0, columns.sport[row] ?? 0];
      const attempt = { from: "", src: ip.src, dst: ip.dst, port, sourcePort } as const;
      expect(rowBytes(batch, row)).toEqual(firstPacket({ ...attempt, protocol: isTcp ? "TCP" : "UDP" }));
    }
  });
});

describe("shapes", () => {
  it("mix TCP, UDP and SCTP as 80:15:5, most to ports that policies name", () => {
    const { protocol, dport } = taken({ shape: "uniform", seed: 1 }, 20_000);
    expect(share(protocol, IpProtocol.tcp)).toBeCloseTo(0.8, 1);
    expect(Math.abs(share(protocol, IpProtocol.udp) - 0.15)).toBeLessThan(0.01);
    expect(Math.abs(share(protocol, IpProtocol.sctp) - 0.05)).toBeLessThan(0.01);
    const usual = [...dport].filter((port) => [80, 443, 5432, 6379, 8080, 8443, 9090].includes(port));
    expect(usual.length / dport.length).toBeGreaterThan(0.3);
    expect(new Set(dport).size).toBeGreaterThan(1000);
  });

  it("uniform: every ordered pair as often", () => {
    const counts = new Map<string, number>();
    for (const pair of pairs(taken({ shape: "uniform", seed: 1 }, 40_000)))
      counts.set(pair.join(), (counts.get(pair.join()) ?? 0) + 1);
    expect(counts.size).toBe(60 * 59);
    expect(Math.max(...counts.values())).toBeLessThan(40);
  });

  it("zipf: the most popular pod as often as 1 to the harmonic number, the next half as often", () => {
    const counts = new Map<number, number>();
    const all = pairs(taken({ shape: "zipf", seed: 1 }, 40_000));
    for (const [src] of all) counts.set(src, (counts.get(src) ?? 0) + 1);
    const [most = 0, next = 0] = [...counts.values()].sort((a, b) => b - a);
    const harmonic = Array.from({ length: 60 }, (_, i) => 1 / (i + 1)).reduce((sum, one) => sum + one);
    expect(Math.abs(most / all.length - 1 / harmonic)).toBeLessThan(0.01);
    expect(Math.abs(next / most - 0.5)).toBeLessThan(0.05);
  });

  it("mesh: each pod has at most five peers", () => {
    const peers = new Map<number, Set<number>>();
    for (const [src, dst] of pairs(taken({ shape: "mesh", seed: 1 }, 20_000)))
      peers.set(src, (peers.get(src) ?? new Set()).add(dst));
    const counts = [...peers.values()].map((set) => set.size);
    expect([peers.size, Math.max(...counts)]).toEqual([60, 5]);
  });

  it("scan: one pod, every other, port by port", () => {
    const columns = taken({ shape: "scan", seed: 1 }, 59 * 3);
    const all = pairs(columns);
    expect(new Set(all.map(([src]) => src)).size).toBe(1);
    expect([...columns.dport]).toEqual([1, 2, 3].flatMap((port) => Array(59).fill(port)));
    for (const port of [0, 1, 2])
      expect(new Set(all.slice(port * 59, port * 59 + 59).map(([, dst]) => dst)).size).toBe(59);
  });
});

describe("established packets", () => {
  const columns = taken({ shape: "uniform", seed: 2, establishedPercent: 70 }, 5000);

  it("have the share that was asked for", () => {
    expect(Math.abs(share(columns.ctState, CtState.established) - 0.7)).toBeLessThan(0.02);
    expect(share(taken({ shape: "uniform", seed: 2 }, 500).ctState, CtState.new)).toBe(1);
  });

  it("belong to connections whose first packet came before", () => {
    const seen = new Set<string>();
    for (const [row, pair] of pairs(columns).entries()) {
      const tuple = [...pair, columns.protocol[row], columns.sport[row], columns.dport[row]].join();
      if (columns.ctState[row] === CtState.new) seen.add(tuple);
      else expect(seen.has(tuple)).toBe(true);
    }
  });
});

it("a cluster without pods has no traffic", () => {
  const alone = { ...sizes, pods: 1 };
  const { state: lonely } = buildCluster(loadObjects("made", generateCluster("adversarial", 1, alone)), {});
  expect(() => new Traffic(lonely, { shape: "uniform", seed: 1 })).toThrow(/two pods with an IPv4 address/);
  expect(formatIp(new Traffic(dual, { shape: "mesh", seed: 1, family: 6 }).ips[0] as never)).toContain(":");
});
