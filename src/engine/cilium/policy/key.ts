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
  const prefix = protocol === 0 ? 0 : protocolBits + portPrefix;
  const prefixLength = staticBits + prefix;
  // a DataView for each key costs more than the rest of it
  key[0] = prefixLength;
  key[4] = identity;
  key[5] = identity >>> 8;
  key[6] = identity >>> 16;
  key[7] = identity >>> 24;
  key[8] = direction === "egress" ? 1 : 0;
  key[9] = protocol;
  key[10] = port >>> 8;
  key[11] = port;
  return { key, value: sharedValue(entry, prefix, generation), origin };
}

/** There are few values and many keys: equal values are one array, which nobody changes. */
const known: Readonly<Record<MapGeneration, Map<number, Uint8Array>>> = {
  G1: new Map(),
  G2: new Map(),
  G3: new Map(),
};

function sharedValue({ deny, redirect }: PolicyEntry, prefix: number, generation: MapGeneration): Uint8Array {
  const key = (prefix << 8) | (redirect << 1) | Number(deny);
  let value = known[generation].get(key);
  if (value === undefined) {
    value = policyValue(prefix, deny, redirect, generation);
    known[generation].set(key, value);
  }
  return value;
}

function policyValue(prefix: number, deny: boolean, redirect: number, generation: MapGeneration): Uint8Array {
  const value = new Uint8Array(policyValueBytes[generation]);
  if (generation === "G1") {
    const isAnyProtocol = prefix < protocolBits;
    const isAnyPort = prefix <= protocolBits;
    value[2] = (deny ? 1 : 0) | (isAnyProtocol ? 2 : 0) | (isAnyPort ? 4 : 0);
    return value;
  }
  value[2] = (deny ? 1 : 0) | (prefix << 3);
  const priority = redirect === 0 ? 0 : 128 - redirect;
  if (generation === "G2") value[4] = priority;
  else new DataView(value.buffer).setUint32(4, deny ? denyPrecedence : allowPrecedence + priority, true);
  return value;
}
