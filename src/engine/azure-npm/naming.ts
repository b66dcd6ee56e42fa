/**
 * Kernel names of NPM's sets and chains. Until 2026-07-30 the decimal FNV-1a-32 of the readable name; since then
 * base-36 digits of its SHA-256 (azure-container-networking npm/util, change #4611).
 */
import { createHash } from "node:crypto";
import { hashText } from "../../base/index.ts";

export type NamingEra = "fnv" | "sha256";

export const setPrefix = "azure-npm-";

/** At most 31 characters, the kernel's limit for set names. */
export function kernelSetName(era: NamingEra, readable: string): string {
  if (era === "fnv") return `${setPrefix}${hashText(readable)}`;
  return `${setPrefix}${sha256(readable).toString(36).padStart(20, "0").slice(0, 20)}`;
}

/** The part of a policy chain's name after `AZURE-NPM-INGRESS-`; `policyKey` is `namespace/name`. */
export function chainDigest(era: NamingEra, policyKey: string): string {
  if (era === "fnv") return String(hashText(policyKey));
  return (sha256(policyKey) % 36n ** 10n).toString(36).padStart(10, "0");
}

function sha256(text: string): bigint {
  return BigInt(`0x${createHash("sha256").update(text).digest("hex")}`);
}
