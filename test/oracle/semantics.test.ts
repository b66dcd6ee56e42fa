/** What a policy says, question by question (rows.ts). */
import { describe, expect, it } from "vitest";
import { base, blocks, decision, lists, operators, peers, ports, types } from "./rows.ts";
import { policy, world } from "./world.ts";

describe.each([
  { section: "the decision", rows: decision },
  { section: "policyTypes", rows: types },
  { section: "lists that are missing, null or empty", rows: lists },
  { section: "peers", rows: peers },
  { section: "operators", rows: operators },
  { section: "ports", rows: ports },
  { section: "ipBlock", rows: blocks },
])("$section", ({ rows }) => {
  it.each(rows)("$what", ({ policies, allowed = [], denied = [] }) => {
    const { ask } = world([...base, ...policies]);
    for (const question of allowed) expect(ask(question), question).toBe("allow");
    for (const question of denied) expect(ask(question), question).toBe("deny");
    expect(allowed.length + denied.length).toBeGreaterThan(0);
  });
});

describe("a denied answer", () => {
  it("names the sides that deny", () => {
    const all = { podSelector: {}, policyTypes: ["Ingress", "Egress"] };
    const { answer } = world([...base, policy("x/p", all)]);
    expect(answer("x/web > x/db TCP 80")).toEqual({ verdict: "deny", by: "both" });
    expect(answer("x/web > y/web TCP 80")).toEqual({ verdict: "deny", by: "egress" });
    expect(answer("y/web > x/web TCP 80")).toEqual({ verdict: "deny", by: "ingress" });
    expect(answer("y/web > z/job TCP 80")).toEqual({ verdict: "allow", by: undefined });
  });
});
