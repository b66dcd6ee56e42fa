/**
 * Policy map keys and values as bytes, per generation of the map. A key is a prefix of bits: identity and direction
 * always, then the protocol, then as many bits of the port as its block has in common.
 * Governing source: cilium/cilium bpf/lib/common.h and policy.h, pkg/maps/policymap/policymap.go, pkg/policy/types/entry.go.
 */
import type { MapEntry } from "../../../filter/bpf/index.ts";
import { policyKeyBytes, policyValueBytes } from "../layouts.ts";
import type { MapGeneration } from "../variant.ts";
import type { PolicyEntry } from "./entry.ts";

/** Bits of a key before the protocol: identity and direction. */
const staticBits = 40;
const protocolBits = 8;

/** Higher wins; a listener of priority p has 128 - p. */
const denyPrecedence = 0xffff_ffff;
const allowPrecedence = 0xffff_ff00;

export function policyKeyEntry(entry: PolicyEntry, generation: MapGeneration): MapEntry {
  const { identity, direction, protocol, port, portPrefix, origin } = entry;
  const key = new Uint8Array(policyKeyBytes);
  const view = new DataView(key.buffer);
  const prefix = protocol === 0 ? 0 : protocolBits + portPrefix;
  view.setUint32(0, staticBits + prefix, true);
  view.setUint32(4, identity, true);
  view.setUint8(8, direction === "egress" ? 1 : 0);
  view.setUint8(9, protocol);
  view.setUint16(10, port);
  return { key, value: policyValue(entry, prefix, generation), origin };
}

function policyValue(entry: PolicyEntry, prefix: number, generation: MapGeneration): Uint8Array {
  const { deny, protocol, portPrefix, redirect } = entry;
  const value = new Uint8Array(policyValueBytes[generation]);
  if (generation === "G1") {
    value[2] = (deny ? 1 : 0) | (protocol === 0 ? 2 : 0) | (portPrefix === 0 ? 4 : 0);
    return value;
  }
  value[2] = (deny ? 1 : 0) | (prefix << 3);
  const priority = redirect === 0 ? 0 : 128 - redirect;
  if (generation === "G2") value[4] = priority;
  else new DataView(value.buffer).setUint32(4, deny ? denyPrecedence : allowPrecedence + priority, true);
  return value;
}
