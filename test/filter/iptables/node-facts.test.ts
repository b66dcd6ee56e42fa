/** What tables ask of their node is asked anew when the node changes. */
import { expect, it } from "vitest";
import { createHookResults, Hook, type NodeInterface, Verdict } from "../../../src/filter/index.ts";
import { linkIptables, restoreRuleset } from "../../../src/filter/iptables/index.ts";
import { append, createBatch, decodeRow, tcp } from "../../../src/packet/index.ts";
import { emptyV6, ip, linkContext } from "../node.ts";

it("an interface rule holds for an interface that comes after the rules were linked", () => {
  const context = linkContext();
  const interfaces: NodeInterface[] = [...context.facts.interfaces];
  const facts = { ...context.facts, interfaces, generation: 0 };
  const v4 = restoreRuleset("*filter\n-A FORWARD -i late+ -j DROP\nCOMMIT\n", "t");
  const datapath = linkIptables({ v4, v6: emptyV6, sets: new Map() }, { ...context, facts });
  const verdict = (): number => {
    const batch = createBatch(1);
    append(batch, tcp({ src: ip("10.0.0.1"), dst: ip("10.0.0.2"), sport: 4000, dport: 80, flags: 2 }));
    decodeRow(batch, 0);
    batch.state.iif[0] = 9;
    const out = createHookResults(1);
    datapath.run(Hook.forward, batch, 0, 1, out);
    return out.verdict[0] ?? -1;
  };
  expect(verdict()).toBe(Verdict.accept);
  interfaces.push({ index: 9, name: "late0", isLoopback: false, addresses: [] });
  facts.generation++;
  expect(verdict()).toBe(Verdict.drop);
});
