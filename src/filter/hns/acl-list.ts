/**
 * The ACLs of one endpoint, direction and layer in the order in which they are asked, and the first that a packet meets.
 * A long list is asked through bits: for an address seen before, the ACLs whose address conditions on that side hold are
 * known; of those of both sides the first is looked for whose protocol and ports fit, too. The law: bits = one by one.
 */
import type { PacketBatch } from "../../packet/index.ts";
import type { AclAction, AclConditions, AclDirection } from "./acl.ts";
import { Condition, failedCondition, sideOf } from "./match.ts";
import type { HnsSets } from "./sets.ts";

/** An ACL, or a tier's rule, as it is asked. */
export interface OrderedAcl {
  readonly conditions: AclConditions;
  readonly action: AclAction;
  readonly priority: number;
  /** Number in the datapath's provenance. */
  readonly rule: number;
}

/** Told each ACL that was tried, and the condition that failed. */
export type AclTried = (rule: number, failed: number) => void;

/** Shorter lists are asked one by one. */
const bitsFrom = 16;
/** Addresses remembered for each side; then all are forgotten. */
const rememberedMax = 65_536;

export class AclList {
  readonly #direction: AclDirection;
  readonly #acls: readonly OrderedAcl[];
  readonly #words: number;
  readonly #known = { src: new Map<number, Uint32Array>(), dst: new Map<number, Uint32Array>() };

  /** In the order given among equal priorities. */
  constructor(direction: AclDirection, acls: readonly OrderedAcl[]) {
    this.#direction = direction;
    this.#acls = [...acls].sort((a, b) => a.priority - b.priority);
    this.#words = (acls.length + 31) >>> 5;
  }

  get length(): number {
    return this.#acls.length;
  }

  /** The sets have changed. */
  forget(): void {
    this.#known.src.clear();
    this.#known.dst.clear();
  }

  first(sets: HnsSets, batch: PacketBatch, row: number, tried?: AclTried): OrderedAcl | undefined {
    if (tried !== undefined || this.#acls.length < bitsFrom || batch.family[row] !== 4)
      return this.#firstByOne(sets, batch, row, tried);
    const src = this.#bits("src", sets, batch, row);
    const dst = this.#bits("dst", sets, batch, row);
    for (let word = 0; word < this.#words; word++)
      for (let bits = src[word]! & dst[word]!; bits !== 0; bits &= bits - 1) {
        const acl = this.#acls[(word << 5) + 31 - Math.clz32(bits & -bits)]!;
        if (failedCondition(acl.conditions, this.#direction, sets, batch, row) === Condition.none) return acl;
      }
    return undefined;
  }

  #firstByOne(sets: HnsSets, batch: PacketBatch, row: number, tried?: AclTried): OrderedAcl | undefined {
    for (const acl of this.#acls) {
      const failed = failedCondition(acl.conditions, this.#direction, sets, batch, row);
      tried?.(acl.rule, failed);
      if (failed === Condition.none) return acl;
    }
    return undefined;
  }

  /** ACLs that ask nothing of this side which its address does not meet. */
  #bits(side: "src" | "dst", sets: HnsSets, batch: PacketBatch, row: number): Uint32Array {
    const known = this.#known[side];
    const address = batch[side][row * 4]!;
    let bits = known.get(address);
    if (bits !== undefined) return bits;
    bits = new Uint32Array(this.#words);
    for (const [place, { conditions }] of this.#acls.entries())
      if (this.#sideHolds(conditions, side, sets, batch, row)) bits[place >>> 5]! |= 1 << (place & 31);
    if (known.size >= rememberedMax) known.clear();
    known.set(address, bits);
    return bits;
  }

  #sideHolds(
    acl: AclConditions,
    side: "src" | "dst",
    sets: HnsSets,
    batch: PacketBatch,
    row: number,
  ): boolean {
    const own = (list: "local" | "remote") =>
      acl[list === "local" ? "localAddresses" : "remoteAddresses"].filter(
        ({ kind }) => sideOf(kind, list, this.#direction) === side,
      );
    const part = { ...acl, protocols: [], localPorts: [], remotePorts: [] };
    const conditions = { ...part, localAddresses: own("local"), remoteAddresses: own("remote") };
    return failedCondition(conditions, this.#direction, sets, batch, row) === Condition.none;
  }
}
