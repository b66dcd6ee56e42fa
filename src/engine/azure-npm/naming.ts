/**
 * Kernel names of NPM's sets and chains, and what it knows a policy by. Until 2026-07-30 the decimal FNV-1a-32 of the readable name; since then
 * base-36 digits of its SHA-256 (azure-container-networking npm/util, change #4611). Two readable names can have one
 * kernel name: the older form then mixes both up, the newer one refuses the second.
 */
import { createHash } from "node:crypto";
import { hashText } from "../../base/index.ts";
import type { NetworkPolicy } from "../../k8s/index.ts";

export interface Naming {
  /** At most 31 characters, the kernel's limit for set names. */
  readonly setName: (readable: string) => string;
  /** The part of a policy chain's name after `AZURE-NPM-INGRESS-`; `policyKey` is `namespace/name`. */
  readonly chainDigest: (policyKey: string) => string;
  /** A second owner of a kernel name is refused (fail closed) instead of sharing it. */
  readonly refusesCollisions: boolean;
}

export const setPrefix = "azure-npm-";

export const fnvNaming: Naming = {
  setName: (readable) => `${setPrefix}${hashText(readable)}`,
  chainDigest: (policyKey) => String(hashText(policyKey)),
  refusesCollisions: false,
};

export const sha256Naming: Naming = {
  setName: (readable) => `${setPrefix}${sha256(readable).toString(36).padStart(20, "0").slice(0, 20)}`,
  chainDigest: (policyKey) => (sha256(policyKey) % 36n ** 10n).toString(36).padStart(10, "0"),
  refusesCollisions: true,
};

/** What NPM compares of a policy: all that it is translated from. */
export function specText({ podSelector, policyTypes, ingress, egress }: NetworkPolicy): string {
  return JSON.stringify([podSelector, policyTypes, ingress, egress]);
}

function sha256(text: string): bigint {
  return BigInt(`0x${createHash("sha256").update(text).digest("hex")}`);
}
