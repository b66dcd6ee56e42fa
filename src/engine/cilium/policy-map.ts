/**
 * What an endpoint's policy map holds of its policy. A policy with more entries than the map takes overflows it: some of
 * them are missing then, or, with lockdown, everything is denied. Which are missing is arbitrary in the real agent (it
 * adds them in the order of a Go map); here a hash of the key chooses, so that equal policies lose the same.
 * Governing source: cilium/cilium pkg/endpoint/bpf.go (applyPolicyMapChanges, lockdown), pkg/maps/policymap/policymap.go.
 */
import { hashText, type Origin } from "../../base/index.ts";
import type { MapEntry, MissReason } from "../../filter/bpf/index.ts";
import { policyKeyOffsets } from "./layouts.ts";
import type { EndpointPolicy, PolicyEntry } from "./policy/entry.ts";
import { policyKeyEntry } from "./policy/key.ts";
import type { CiliumVariant } from "./variant.ts";

/** Frozen; one list for one policy. */
export function policyMapContent(policy: EndpointPolicy, variant: CiliumVariant): readonly MapEntry[] {
  const { generation } = variant;
  return Object.freeze(fittingEntries(policy, variant).map((entry) => policyKeyEntry(entry, generation)));
}

/** What it means that neither the peer nor anyone has an entry: the policies that isolate. */
export function policyMapMisses({ defaultDeny }: EndpointPolicy): readonly MissReason[] {
  const { direction: offset } = policyKeyOffsets;
  return Object.freeze([
    ...defaultDeny.ingress.map((origin) => ({ offset, byte: 0, origin })),
    ...defaultDeny.egress.map((origin) => ({ offset, byte: 1, origin })),
  ]);
}

/** The entries that find room; in key order. */
export function fittingEntries(
  { entries }: EndpointPolicy,
  { policyMapMax, lockdown }: CiliumVariant,
): readonly PolicyEntry[] {
  if (entries.length <= policyMapMax) return entries;
  if (lockdown) return lockedDown;
  const byLot = entries.map((entry) => ({ entry, lot: hashText(keyText(entry)) }));
  byLot.sort((a, b) => a.lot - b.lot);
  const kept = new Set(byLot.slice(0, policyMapMax).map(({ entry }) => entry));
  return entries.filter((entry) => kept.has(entry));
}

function keyText({ identity, direction, protocol, port, portPrefix }: PolicyEntry): string {
  return `${identity} ${direction} ${protocol} ${port}/${portPrefix}`;
}

const lockdownOrigin: Origin = { kind: "engine", name: "cilium", path: "lockdown", role: "deny" };

const lockedDown: readonly PolicyEntry[] = (["ingress", "egress"] as const).map(
  (direction): PolicyEntry => ({
    identity: 0,
    direction,
    protocol: 0,
    port: 0,
    portPrefix: 0,
    deny: true,
    redirect: 0,
    origin: { ...lockdownOrigin, direction },
  }),
);
