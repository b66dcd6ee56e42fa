/**
 * How the listings of Cilium's versions differ. Governing sources: cilium/cilium cilium-dbg/cmd/bpf_policy_get.go,
 * pkg/maps/{policymap,ipcache,lxcmap}; where each was read, docs/cilium.md says.
 */
import type { CiliumVersion } from "../variant.ts";

export interface ListingForms {
  /** What stands for "any identity" in the table of a policy map. */
  readonly anyIdentity: "reserved:unknown" | "ANY";
  /** A policy map's table has the column of cookies, its JSON the field. */
  readonly hasCookie: boolean;
  /** A block of ports is printed with its prefix, not as a range. */
  readonly isPortInHex: boolean;
  /** The ipcache's lines name flags. */
  readonly hasIpcacheFlags: boolean;
  /** An endpoint's line names the interface above its own. */
  readonly hasParentInterface: boolean;
}

const of114: ListingForms = {
  anyIdentity: "reserved:unknown",
  hasCookie: false,
  isPortInHex: true,
  hasIpcacheFlags: false,
  hasParentInterface: false,
};
const of116: ListingForms = { ...of114, isPortInHex: false, hasIpcacheFlags: true };
const of118: ListingForms = { ...of116, anyIdentity: "ANY", hasParentInterface: true };

export const listingForms: Readonly<Record<CiliumVersion, ListingForms>> = {
  "1.14": of114,
  "1.16": of116,
  "1.17": of116,
  "1.18": of118,
  "1.19": { ...of118, hasCookie: true },
};
