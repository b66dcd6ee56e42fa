/** Which policy a chain's kernel name belongs to, where NPM refuses a second one (since the change of names, #4611). */
import type { SetCache } from "./sets.ts";
import type { TranslatedPolicy } from "./translate.ts";
import type { NpmVariant } from "./versions.ts";

export interface Collision {
  /** The kernel name, or its digest. */
  readonly name: string;
  /** Who has it: a policy's key, or a set's readable name. */
  readonly owner: string;
}

export class ChainOwners {
  readonly #variant: NpmVariant;
  readonly #owners = new Map<string, string>();

  constructor(variant: NpmVariant) {
    this.#variant = variant;
  }

  /** Takes the names that a policy needs, or tells who has one of them. */
  claim(policy: TranslatedPolicy, cache: SetCache): Collision | undefined {
    const { naming } = this.#variant;
    if (!naming.refusesCollisions) return undefined;
    const name = naming.chainDigest(policy.key);
    const owner = this.#owners.get(name);
    if (owner !== undefined && owner !== policy.key) return { name, owner };
    const taken = cache.collision(policy);
    if (taken === undefined) this.#owners.set(name, policy.key);
    return taken;
  }

  release(policyKey: string): void {
    const name = this.#variant.naming.chainDigest(policyKey);
    if (this.#owners.get(name) === policyKey) this.#owners.delete(name);
  }

  clear(): void {
    this.#owners.clear();
  }
}
