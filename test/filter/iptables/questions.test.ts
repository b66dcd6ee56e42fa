/** Law: what rules state of new connections is what the walk finds, and replies to what is accepted pass. */
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import type { Ip } from "../../../src/addr/index.ts";
import { createPrng, type Prng, type Way, waysOfNode } from "../../../src/base/index.ts";
import { createHookResults, Hook, Verdict } from "../../../src/filter/index.ts";
import { hostEntry, type IpsetRepr } from "../../../src/filter/ipset/index.ts";
import {
  type Chain,
  CtStateBit,
  type IpsetRestoreOp,
  type IptablesDatapath,
  linkIptables,
  type Match,
  type Rule,
  type Ruleset,
} from "../../../src/filter/iptables/index.ts";
import { ports as drawnPorts, worlds } from "../../../src/harness/fuzz/table-world.ts";
import { drawTables } from "../../../src/harness/fuzz/tables.ts";
import { EmulatedNode } from "../../../src/harness/kernel/index.ts";
import { append, clearBatch, createBatch, decodeRow, rowBytes } from "../../../src/packet/index.ts";
import { readIp } from "../../../src/sim/index.ts";
import { type ConnectionAttempt, firstPacket, replyTo } from "../../../src/sim/judge.ts";
import { type Answer, answerOf } from "../../questions.ts";
import { isSoak } from "../../runs.ts";
import { addresses, ports, ruleset, sets } from "../arbitraries.ts";
import { emptyV4, emptyV6, ip, linkContext, TestNode } from "../node.ts";

const timeout = isSoak ? 3_600_000 : 60_000;

const protocols = ["TCP", "UDP", "SCTP", "ICMP"] as const;
type Protocol = (typeof protocols)[number];

interface Connection {
  readonly way: Way;
  readonly src: Ip;
  readonly dst: Ip;
  readonly protocol: Protocol;
  readonly port: number;
  readonly sourcePort: number;
}

const ownAddresses = ["192.0.2.1", "2001:db8::1", "::1"].map(ip);

function isOwn({ family, words }: Ip): boolean {
  if (family === 4 && (words[0] ?? 0) >>> 24 === 127) return true;
  return ownAddresses.some((own) => own.family === family && own.words.every((word, i) => word === words[i]));
}

function asked(
  datapath: IptablesDatapath,
  { way, src, dst, protocol, port }: Connection,
): Answer | undefined {
  const hooks = datapath.questions().ways[way];
  const numbers = { TCP: 6, UDP: 17, SCTP: 132, ICMP: src.family === 4 ? 1 : 58 };
  return hooks && answerOf(hooks, { src, dst, protocol: numbers[protocol], port }, isOwn);
}

function packetOf({ src, dst, protocol, port, sourcePort }: Connection): Uint8Array {
  const attempt: ConnectionAttempt = { from: "", src, dst, protocol, port, sourcePort };
  return firstPacket(attempt);
}

const echo = { 4: 8, 6: 128 } as const;

function reversed(way: Way): Way {
  const back = way.split("-").reverse().join("-");
  return waysOfNode.find((one) => one === back) ?? way;
}

/** What a packet of one of the ways finds on the way: the bytes that come out, or nothing. */
type Walk = (way: Way, bytes: Uint8Array) => Uint8Array | undefined;

interface Counts {
  accept: number;
  drop: number;
  ask: number;
  unstated: number;
  masqueraded: number;
}

function compare(datapath: IptablesDatapath, walk: Walk, connection: Connection, counts: Counts): void {
  const answer = asked(datapath, connection);
  counts[answer?.verdict ?? "unstated"]++;
  if (answer === undefined || answer.verdict === "ask") return;
  const out = walk(connection.way, packetOf(connection));
  expect({ verdict: out === undefined ? "drop" : "accept" }).toEqual({ verdict: answer.verdict });
  if (out === undefined) return;
  const source = readIp(out)?.src;
  if (answer.isMasqueraded) {
    counts.masqueraded++;
    expect(ownAddresses).toContainEqual(source);
  } else expect(source).toEqual(connection.src);
  const reply = replyTo(out);
  expect(reply && walk(reversed(connection.way), reply)).toBeDefined();
}

/** Half of all rule sets, in which most ways can be stated. */
function letRepliesPass(rules: Ruleset): Ruleset {
  const { filter } = rules.tables;
  if (filter === undefined || filter.chains.some((chain) => chain.rules.length === 4)) return rules;
  const established: Rule = {
    matches: [{ kind: "ctstate", states: CtStateBit.ESTABLISHED }],
    target: { kind: "ACCEPT" },
  };
  const chains = filter.chains.map((chain) =>
    chain.policy === undefined ? chain : { ...chain, rules: [established, ...chain.rules] },
  );
  return { ...rules, tables: { ...rules.tables, filter: { ...filter, chains } } };
}

describe("rules of table filter", () => {
  /** Pods are behind azv1 and azv22, the wire behind eth0. */
  const interfaces = { pod: [3, 4], wire: [2, 2], node: [0, 0] } as const;
  const batch = createBatch(1, 2048);
  const out = createHookResults(1);

  const walkOf =
    (datapath: IptablesDatapath): Walk =>
    (way, bytes) => {
      clearBatch(batch);
      append(batch, bytes);
      decodeRow(batch, 0);
      const [from, to] = way.split("-") as ["pod" | "wire" | "node", "pod" | "wire" | "node"];
      const hooks =
        from === "node"
          ? [Hook.output, Hook.postrouting]
          : to === "node"
            ? [Hook.prerouting, Hook.input]
            : [Hook.prerouting, Hook.forward, Hook.postrouting];
      batch.state.iif[0] = interfaces[from][0];
      for (const hook of hooks) {
        batch.state.oif[0] = hook === Hook.prerouting ? 0 : interfaces[to][1];
        datapath.run(hook, batch, 0, 1, out);
        clearBatch(out.emitted);
        out.events.length = 0;
        if (out.verdict[0] !== Verdict.accept) return undefined;
      }
      return rowBytes(batch, 0).slice();
    };

  it.each([4, 6] as const)("are stated as they decide (IPv%i)", { timeout }, (family) => {
    const counts: Counts = { accept: 0, drop: 0, ask: 0, unstated: 0, masqueraded: 0 };
    const connection = fc.record({
      way: fc.constantFrom(...waysOfNode),
      src: fc.constantFrom(...addresses[family].map(ip)),
      dst: fc.constantFrom(...addresses[family].map(ip)),
      protocol: fc.constantFrom(...protocols),
      port: fc.constantFrom(...ports),
      sourcePort: fc.constantFrom(1024, 8000, 40_000, 65_535),
    });
    fc.assert(
      fc.property(
        ruleset(family),
        sets(family),
        fc.array(connection, { minLength: 10, maxLength: 30 }),
        (rules, ipsets, connections) => {
          const open = letRepliesPass(rules);
          const v4 = family === 4 ? open : emptyV4;
          const v6 = family === 6 ? open : emptyV6;
          const datapath = linkIptables({ v4, v6, sets: ipsets }, linkContext());
          const walk = walkOf(datapath);
          for (const one of connections) {
            datapath.forgetFlows();
            const port = one.protocol === "ICMP" ? echo[family] : one.port;
            compare(datapath, walk, { ...one, port }, counts);
          }
        },
      ),
      { numRuns: isSoak ? 2_000 : 40 },
    );

    expect(Math.min(counts.accept, counts.drop, counts.ask)).toBeGreaterThan(10);
  });
});

describe("long runs of rules for one address each", () => {
  const hosts = addresses[4].map(ip);
  const one = fc.record({
    host: fc.constantFrom(...hosts),
    service: fc.option(
      fc.record({
        protocol: fc.constantFrom("tcp" as const, "udp" as const),
        port: fc.constantFrom(...ports),
      }),
    ),
  });

  it("are stated as one map, and as they decide", { timeout }, () => {
    const seen = { accept: 0, drop: 0 };
    fc.assert(
      fc.property(
        fc.array(one, { minLength: 8, maxLength: 16 }),
        fc.constantFrom("source" as const, "destination" as const),
        (drawn, kind) => {
          const rules = drawn.map(({ host, service }): Rule => {
            const matches: Match[] = [{ kind, net: { ...host, prefix: 32 } }];
            if (service !== null) {
              const { protocol, port } = service;
              matches.push({ kind: "protocol", protocol: protocol === "tcp" ? 6 : 17 });
              matches.push({ kind: "transport", protocol }, { kind: "dport", min: port, max: port });
            }
            return { matches, target: { kind: "DROP" } };
          });
          const established: Rule = {
            matches: [{ kind: "ctstate", states: CtStateBit.ESTABLISHED }],
            target: { kind: "ACCEPT" },
          };
          const forward: Chain = { name: "FORWARD", policy: "ACCEPT", rules: [established, ...rules] };
          const v4: Ruleset = { family: 4, tables: { filter: { name: "filter", chains: [forward] } } };
          const node = new TestNode({ v4 });
          const [hook] = node.datapath.questions().ways["pod-pod"] ?? [];
          const maps = hook?.chain.rules.flatMap((rule) => (rule[kind] ?? []).map(({ map }) => map));
          expect(new Set(maps).size).toBe(1);
          for (const host of hosts)
            for (const protocol of ["TCP", "UDP"] as const)
              for (const port of ports) {
                const [src, dst] = kind === "source" ? [host, ip("10.9.9.9")] : [ip("10.9.9.9"), host];
                const connection = { way: "pod-pod", src, dst, protocol, port, sourcePort: 2000 } as const;
                const { verdict } = node.pass(packetOf(connection), [Hook.forward]);
                const walked = verdict === Verdict.accept ? "accept" : "drop";
                seen[walked]++;
                expect(asked(node.datapath, connection)?.verdict).toBe(walked);
              }
        },
      ),
      { numRuns: isSoak ? 2_000 : 8 },
    );
    expect(Math.min(seen.accept, seen.drop)).toBeGreaterThan(20);
  });
});

describe("rules of all tables", () => {
  function draw(random: Prng, i: number): Connection {
    const family = random.pick([4, 6] as const);
    const { inside, outside, node } = worlds[family];
    const way = random.pick(waysOfNode);
    const [src = "", dst = ""] = way
      .split("-")
      .map((place) => random.pick(place === "pod" ? inside : place === "wire" ? outside : [node]));
    const protocol = random.pick(protocols);
    const port = protocol === "ICMP" ? echo[family] : random.pick(drawnPorts);
    return { way, src: ip(src), dst: ip(dst), protocol, port, sourcePort: 10_000 + i };
  }

  /** In mangle and filter all that is established passes. */
  const opened = (text: string): string =>
    text.replaceAll(/^\*(mangle|filter)\n((?::.*\n)*)/gm, (whole, _table, chains: string) =>
      [...chains.matchAll(/^:(INPUT|FORWARD|OUTPUT|PREROUTING|POSTROUTING) /gm)].reduce(
        (lines, [, chain]) => `${lines}-A ${chain} -m conntrack --ctstate ESTABLISHED -j ACCEPT\n`,
        whole,
      ),
    );

  it("are stated as they decide", { timeout }, () => {
    const counts: Counts = { accept: 0, drop: 0, ask: 0, unstated: 0, masqueraded: 0 };
    fc.assert(
      fc.property(fc.nat(), (seed) => {
        const random = createPrng(seed);
        const { v4 = "", v6 = "", sets: ipsets = "" } = drawTables(random.fork("tables"));
        const isOpen = random.below(4) > 0;
        const texts = isOpen ? { v4: opened(v4), v6: opened(v6) } : { v4, v6 };
        const node = new EmulatedNode({ ...texts, sets: ipsets }, "nft");
        const devices = { pod: "in0", wire: "out0", node: "inside" } as const;
        const walk: Walk = (way, bytes) => {
          const from = way.split("-")[0] as keyof typeof devices;
          const { verdict, packets } = node.judge({ from: devices[from], bytes });
          return verdict === "forwarded" || verdict === "delivered" ? packets[0] : undefined;
        };
        for (let i = 0; i < 30; i++) compare(node.datapath, walk, draw(random, i), counts);
      }),
      { numRuns: isSoak ? 2_000 : 25 },
    );

    expect(Math.min(counts.accept, counts.drop, counts.ask, counts.unstated)).toBeGreaterThan(5);
  });
});

describe("what a node states", () => {
  const established: Rule = {
    matches: [{ kind: "ctstate", states: CtStateBit.ESTABLISHED }],
    target: { kind: "ACCEPT" },
  };
  const listed: Rule = { matches: [{ kind: "set", set: "list", flags: ["src"] }], target: { kind: "DROP" } };
  const forward: Chain = { name: "FORWARD", policy: "ACCEPT", rules: [established, listed] };
  const v4: Ruleset = { family: 4, tables: { filter: { name: "filter", chains: [forward] } } };
  const set = (name: string, type: IpsetRepr["type"], entries: IpsetRepr["entries"]): IpsetRepr => ({
    name,
    type,
    family: 4,
    hashsize: 1024,
    maxelem: 65_536,
    entries,
  });
  const hosts = set("hosts", "hash:ip", [hostEntry(ip("10.0.0.1"))]);
  const ipsets = new Map([hosts, set("list", "list:set", [{ set: "hosts" }])].map((one) => [one.name, one]));
  const node = (): IptablesDatapath => linkIptables({ v4, v6: emptyV6, sets: ipsets }, linkContext());
  const ask = (datapath: IptablesDatapath, src: string): string | undefined =>
    asked(datapath, {
      way: "pod-pod",
      src: ip(src),
      dst: ip("10.0.0.9"),
      protocol: "TCP",
      port: 80,
      sourcePort: 2000,
    })?.verdict;
  const change = (datapath: IptablesDatapath, ...commands: IpsetRestoreOp["commands"]): void => {
    const op: IpsetRestoreOp = { kind: "ipset-restore", commands };
    expect(datapath.apply(op)).toEqual({ ok: true });
  };

  it("follows its sets, and those of other nodes stay as they are", () => {
    const [changed, other] = [node(), node()];
    expect(["10.0.0.1", "10.0.0.2"].map((src) => ask(changed, src))).toEqual(["drop", "accept"]);
    change(changed, { op: "add", name: "hosts", entry: hostEntry(ip("10.0.0.2")), exist: false });
    expect(["10.0.0.1", "10.0.0.2"].map((src) => ask(changed, src))).toEqual(["drop", "drop"]);
    change(changed, { op: "del", name: "hosts", entry: hostEntry(ip("10.0.0.1")), exist: false });
    expect(["10.0.0.1", "10.0.0.2"].map((src) => ask(changed, src))).toEqual(["accept", "drop"]);
    change(changed, { op: "del", name: "list", entry: { set: "hosts" }, exist: false });
    expect(["10.0.0.1", "10.0.0.2"].map((src) => ask(changed, src))).toEqual(["accept", "accept"]);
    expect(["10.0.0.1", "10.0.0.2"].map((src) => ask(other, src))).toEqual(["drop", "accept"]);
  });

  it("is the same chain on nodes with the same rules and sets", () => {
    const [first, second] = [node(), node()].map((one) => one.questions().ways["pod-pod"]?.[0]?.chain);
    expect(first?.rules).toHaveLength(1);
    expect(second).toBe(first);
  });
});
