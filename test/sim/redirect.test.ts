/** What programs send elsewhere: through the egress of the interface it is handed to, or in by it once more. */
import { describe, expect, it } from "vitest";
import { type Datapath, Hook, type HookResults, RedirectWay, Verdict } from "../../src/filter/index.ts";
import { tcp } from "../../src/packet/index.ts";
import { Network } from "../../src/sim/index.ts";
import { addressOf, ip, smallSpec } from "./small-network.ts";

type Decide = (hook: number, interfaceIndex: number, out: HookResults) => void;

/** A datapath of one function; it remembers where it was asked. */
function datapathOf(decide: Decide): { readonly datapath: Datapath; readonly asked: string[] } {
  const asked: string[] = [];
  const datapath: Datapath = {
    hooks: [Hook.tcIngress, Hook.tcEgress],
    run(hook, { state }, first, last, out) {
      for (let row = first; row < last; row++) {
        const index = (hook === Hook.tcIngress ? state.iif : state.oif)[row] ?? 0;
        asked.push(`${hook === Hook.tcIngress ? "in" : "out"} ${index}`);
        out.verdict[row] = Verdict.accept;
        out.rule[row] = -1;
        decide(hook, index, out);
      }
    },
    apply: () => ({ ok: true }),
    forgetFlows() {},
    questions: () => undefined,
    forgetClients() {},
    describeRule: () => ({ table: "", chain: "", number: 0, text: "", origin: undefined }),
    explainMiss: () => "",
    describePoint: () => "",
  };
  return { datapath, asked };
}

const redirect = (out: HookResults, to: number, way: number): void => {
  out.verdict[0] = Verdict.redirect;
  out.detail[0] = to;
  out.way[0] = way;
};

function fate(decide: Decide, src = "x/a", dst = ip("10.1.1.2")) {
  const network = new Network(smallSpec);
  const { datapath, asked } = datapathOf(decide);
  network.setDatapath("n1", datapath);
  const from = addressOf[src]?.[4] ?? ip("0.0.0.0");
  const end = network.deliver(src, tcp({ src: from, dst, sport: 1, dport: 80, flags: 2 }));
  return { disposition: end.disposition, receiver: end.receiver, asked };
}

describe("a redirected packet", () => {
  it("passes what is attached to the egress of its new interface", () => {
    const end = fate((hook, index, out) => {
      if (hook === Hook.tcIngress && index === 3) redirect(out, 4, RedirectWay.transmit);
    });
    expect(end).toEqual({ disposition: "delivered", receiver: "x/c", asked: ["in 3", "out 4"] });
  });

  it("is denied on its way into the pod behind that interface, not on its way out of the sender", () => {
    const end = fate((hook, index, out) => {
      if (hook === Hook.tcIngress && index === 3) redirect(out, 4, RedirectWay.transmit);
      if (hook === Hook.tcEgress && index === 4) out.verdict[0] = Verdict.drop;
    });
    expect(end.disposition).toBe("denied-ingress");
  });

  it("leaves past all programs when it is handed to the other end", () => {
    const end = fate((hook, index, out) => {
      if (hook === Hook.tcIngress && index === 3) redirect(out, 4, RedirectWay.bypass);
    });
    expect(end.asked).toEqual(["in 3"]);
    expect(end.receiver).toBe("x/c");
  });

  it("starts over where it is put in", () => {
    let times = 0;
    const end = fate((hook, index, out) => {
      if (hook === Hook.tcIngress && index === 3 && times++ === 0) redirect(out, 2, RedirectWay.receive);
    });
    expect(end).toEqual({ disposition: "delivered", receiver: "x/c", asked: ["in 3", "in 2", "out 4"] });
  });

  it("is lost when programs send it round in circles, or to an interface that is not there", () => {
    const circle = fate((hook, _index, out) => {
      if (hook === Hook.tcIngress || hook === Hook.tcEgress) redirect(out, 4, RedirectWay.transmit);
    });
    expect(circle.disposition).toBe("lost");
    expect(fate((_hook, _index, out) => redirect(out, 99, RedirectWay.transmit)).disposition).toBe(
      "no-route",
    );
  });
});

describe("a drop without a rule's direction", () => {
  it("is egress where the pod's packets come in and ingress where they go to it", () => {
    const at = (wanted: number) => (hook: number, _index: number, out: HookResults) => {
      if (hook === wanted) out.verdict[0] = Verdict.drop;
    };
    expect(fate(at(Hook.tcIngress)).disposition).toBe("denied-egress");
    expect(fate(at(Hook.tcEgress)).disposition).toBe("denied-ingress");
    expect(fate(at(Hook.tcEgress), "x/a", ip("10.1.2.1")).disposition).toBe("denied-egress");
  });
});
