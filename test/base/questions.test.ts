import { describe, expect, test } from "vitest";
import { type Ip, parseCidr, parseIp } from "../../src/addr/index.ts";
import type { AddressMap, DecisionChain, DecisionRule } from "../../src/base/index.ts";
import { type AskedConnection, answerOf, mappedTo } from "../questions.ts";

const own = "192.0.2.1";

function ip(text: string): Ip {
  const value = parseIp(text);
  if (value === undefined) throw new Error(`not an address: ${text}`);
  return value;
}

function map(entries: Readonly<Record<string, number>>, more: Partial<AddressMap> = {}): AddressMap {
  return {
    entries: Object.entries(entries).map(([text, value]) => {
      const block = parseCidr(text);
      if (block === undefined) throw new Error(`not a prefix: ${text}`);
      return [block, value] as const;
    }),
    ...more,
  };
}

const isOwn = (address: Ip): boolean => address.words[0] === ip(own).words[0];

function chain(rules: readonly DecisionRule[], atEnd: DecisionChain["atEnd"] = "return"): DecisionChain {
  return { name: "chain", rules, atEnd };
}

function ask(rules: readonly DecisionRule[], change: Partial<AskedConnection> = {}): string {
  const connection = { src: ip("10.0.0.1"), dst: ip("10.0.0.2"), protocol: 6, port: 80, ...change };
  return answerOf([{ hook: 3, chain: chain(rules, "accept") }], connection, isOwn).verdict;
}

const drop = { kind: "drop" } as const;

describe("an address map", () => {
  test("gives the value of the longest block, and 0 where none holds the address", () => {
    const nets = map({ "10.0.0.0/8": 1, "10.1.0.0/16": 2, "10.1.2.3/32": 0 });
    const values = ["10.9.9.9", "10.1.9.9", "10.1.2.3", "11.0.0.1"].map((text) =>
      mappedTo(nets, ip(text), isOwn),
    );
    expect(values).toEqual([1, 2, 0, 0]);
  });

  test("gives the node's own addresses `own`, whatever its entries say, and asks its base for what it does not hold", () => {
    const base = map({ "10.0.0.0/8": 1, "11.0.0.0/8": 5 });
    const top = map({ "10.1.0.0/16": 0, [`${own}/32`]: 4 }, { own: 3, base });
    const values = [own, "10.1.1.1", "10.2.1.1", "11.1.1.1", "12.1.1.1"].map((text) =>
      mappedTo(top, ip(text), isOwn),
    );
    expect(values).toEqual([3, 0, 1, 5, 0]);
  });
});

describe("a chain", () => {
  test("is read in order, and every condition of a rule must hold", () => {
    const source = [{ map: map({ "10.0.0.1/32": 1 }), value: 1 }];
    const services = [{ protocol: 6, first: 80, last: 90 }];
    expect(ask([{ source, services, action: drop }])).toBe("drop");
    expect(ask([{ source, services, action: drop }], { port: 91 })).toBe("accept");
    expect(ask([{ source, services, action: drop }], { src: ip("10.0.0.9") })).toBe("accept");
    expect(ask([{ destination: [{ map: map({}), value: 0, not: true }], action: drop }])).toBe("accept");
    expect(ask([{ family: 6, action: drop }])).toBe("accept");
    expect(ask([{ action: { kind: "accept" } }, { action: drop }])).toBe("accept");
    expect(ask([{ action: { kind: "ask" } }, { action: drop }])).toBe("ask");
  });

  test("comes back from a jump, and from a goto to where the last jump was", () => {
    const inner = chain([{ action: { kind: "return" } }, { action: { kind: "accept" } }]);
    expect(ask([{ action: { kind: "jump", chain: inner } }, { action: drop }])).toBe("drop");
    expect(ask([{ action: { kind: "goto", chain: inner } }, { action: drop }])).toBe("accept");
    const outer = chain([{ action: { kind: "goto", chain: inner } }, { action: { kind: "ask" } }]);
    expect(ask([{ action: { kind: "jump", chain: outer } }, { action: drop }])).toBe("drop");
    expect(ask([{ action: { kind: "jump", chain: chain([], "drop") } }])).toBe("drop");
  });

  test("changes the mark, which later chains still see", () => {
    const set: DecisionRule = { action: { kind: "mark", keep: ~0xf, flip: 3 } };
    const asks: DecisionRule = { marks: [{ mask: 0xf, value: 3 }], action: drop };
    expect(ask([asks])).toBe("accept");
    expect(ask([set, asks])).toBe("drop");
    const hooks = [[set], [asks]].map((rules, hook) => ({ hook, chain: chain(rules, "accept") }));
    const connection = { src: ip("10.0.0.1"), dst: ip("10.0.0.2"), protocol: 6, port: 80 };
    expect(answerOf(hooks, connection, isOwn)).toEqual({ verdict: "drop", hook: 1, isMasqueraded: false });
  });

  test("chooses by an address's value, and goes on where there is none of that value", () => {
    const choose: DecisionRule = {
      action: {
        kind: "choose",
        end: "source",
        map: map({ "10.0.0.1/32": 7 }),
        chains: new Map([[7, chain([])]]),
      },
    };
    expect(ask([choose, { action: drop }])).toBe("accept");
    expect(ask([choose, { action: drop }], { src: ip("10.0.0.3") })).toBe("drop");
  });

  test("masquerades what it accepts", () => {
    const connection = { src: ip("10.0.0.1"), dst: ip("10.0.0.2"), protocol: 6, port: 80 };
    const rules: readonly DecisionRule[] = [{ action: { kind: "masquerade" } }, { action: drop }];
    const answer = answerOf([{ hook: 5, chain: chain(rules, "accept") }], connection, isOwn);
    expect(answer).toEqual({ verdict: "accept", hook: undefined, isMasqueraded: true });
  });
});
