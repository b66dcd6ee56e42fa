/**
 * Targets of table nat as translations of one packet on one node. Source: kernel net/netfilter/xt_nat.c, xt_MASQUERADE.c,
 * nf_nat_masquerade.c, nf_nat_redirect.c, xt_NETMAP.c.
 */
import { type Ip, maskWord } from "../../addr/index.ts";
import { type PacketBatch, rowAddress } from "../../packet/index.ts";
import type { NodeFacts } from "../datapath.ts";
import type { NatChoice } from "../netfilter/index.ts";
import { addressOf } from "./source-address.ts";
import type { NatTarget } from "./target.ts";

/** `drop`: there is no address to translate to. */
export function natChoice(
  target: NatTarget,
  manip: "src" | "dst",
  facts: NodeFacts,
  batch: PacketBatch,
  row: number,
): NatChoice | "drop" {
  const flags = {
    randomly: "randomly" in target && target.randomly === true,
    randomFully: "randomFully" in target && target.randomFully === true,
    persistent: "persistent" in target && target.persistent === true,
  };
  switch (target.kind) {
    case "DNAT":
    case "SNAT": {
      const { min, max, ports, portBase } = target.to;
      return { manip, min: min?.words, max: max?.words, ports, basePort: portBase, ...flags };
    }
    case "MASQUERADE":
    case "REDIRECT": {
      const own =
        target.kind === "MASQUERADE"
          ? addressOf(facts, batch.state.oif[row]!, rowAddress(batch, row, "dst"))
          : redirectAddress(facts, batch, row);
      if (own === undefined) return "drop";
      return { manip, min: own.words, max: own.words, ports: target.ports, ...flags };
    }
    case "NETMAP": {
      const { words, prefix } = target.to;
      const own = rowAddress(batch, row, manip).words;
      const mapped = words.map((word, i) => (word | (own[i]! & ~maskWord(prefix, i))) >>> 0);
      return { manip, min: mapped, max: mapped, ports: undefined, ...flags };
    }
  }
}

/** The node itself: its loopback for its own packets, else the first address of the interface that they came in on. */
function redirectAddress(facts: NodeFacts, batch: PacketBatch, row: number): Ip | undefined {
  const family = batch.family[row] === 6 ? 6 : 4;
  const iif = batch.state.iif[row]!;
  if (iif === 0) return family === 4 ? { family, words: [0x7f000001] } : { family, words: [0, 0, 0, 1] };
  return facts.interfaces
    .find(({ index }) => index === iif)
    ?.addresses.find((address) => address.family === family);
}
