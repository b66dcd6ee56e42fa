/**
 * Blocks with exceptions as rules have them. From 1.17 on a rule selects what is in the block and in no exception; before,
 * agents worked out which blocks the exceptions leave of it, and selected those.
 * Governing source: cilium/cilium pkg/policy/api/cidr.go (CIDRRuleSlice; ComputeResultantCIDRSet), pkg/ip/ip.go (RemoveCIDRs).
 */
import { type Cidr, cidrCovers } from "../../../addr/index.ts";
import type { CiliumVariant } from "../variant.ts";
import type { RulePeer } from "./rule.ts";

export interface CidrSet {
  readonly cidr: Cidr;
  readonly except: readonly Cidr[];
}

export function cidrSetPeers(
  { cidr, except }: CidrSet,
  path: string,
  { cidrHoles }: CiliumVariant,
): readonly RulePeer[] {
  const sets = cidrHoles
    ? [{ cidr, except }]
    : remainder(cidr, except).map((one) => ({ cidr: one, except: [] }));
  return sets.map((set) => ({ kind: "cidr", field: "cidr-set", path, ...set }));
}

/** The fewest blocks that hold exactly what exceptions leave of a block, in the order of addresses. */
export function remainder(cidr: Cidr, except: readonly Cidr[]): readonly Cidr[] {
  if (except.some((hole) => cidrCovers(hole, cidr))) return [];
  const inside = except.filter((hole) => cidrCovers(cidr, hole));
  return inside.length === 0 ? [cidr] : halves(cidr).flatMap((half) => remainder(half, inside));
}

function halves({ family, words, prefix }: Cidr): readonly Cidr[] {
  const upper = words.map((word, i) =>
    i === prefix >> 5 ? (word | (0x8000_0000 >>> (prefix & 31))) >>> 0 : word,
  );
  return [words, upper].map((half) => ({ family, words: half, prefix: prefix + 1 }));
}
