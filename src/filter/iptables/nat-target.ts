/**
 * Targets of table nat as translations of one packet on one node (kernel net/netfilter/xt_nat.c, xt_MASQUERADE.c,
 * nf_nat_masquerade.c).
 */

import { type PacketBatch, rowAddress } from "../../packet/index.ts";
import type { NodeFacts } from "../datapath.ts";
import type { NatChoice } from "../netfilter/index.ts";
import type { Target } from "./ruleset.ts";
import { addressOf } from "./source-address.ts";

export type NatTarget = Extract<Target, { kind: "DNAT" | "SNAT" | "MASQUERADE" }>;

/** `undefined`: the target leaves the packet alone. `drop`: there is no address to translate to. */
export function natChoice(
  target: NatTarget,
  facts: NodeFacts,
  batch: PacketBatch,
  row: number,
): NatChoice | "drop" | undefined {
  switch (target.kind) {
    case "DNAT":
    case "SNAT":
      return {
        manip: target.kind === "DNAT" ? "dst" : "src",
        min: target.to.min.words,
        max: target.to.max.words,
        ports: target.to.ports,
        randomly: false,
        randomFully: target.kind === "SNAT" && (target.randomFully ?? false),
        persistent: false,
      };
    case "MASQUERADE": {
      const own = addressOf(facts, batch.state.oif[row]!, rowAddress(batch, row, "dst"));
      if (own === undefined) return "drop";
      return {
        manip: "src",
        min: own.words,
        max: own.words,
        ports: target.ports,
        randomly: false,
        randomFully: target.randomFully ?? false,
        persistent: false,
      };
    }
  }
}
