/**
 * Connections as the agent looks after them: entries that have expired go when it next collects garbage (until then they
 * match), and those of an address go before a new endpoint takes it over.
 * Governing source: cilium/cilium pkg/maps/ctmap/ctmap.go (GC), pkg/endpoint/bpf.go (scrubIPsInConntrackTable).
 */
import type { Ip } from "../../addr/index.ts";
import type { BpfMapOp, BpfTables, MapEntry } from "../../filter/bpf/index.ts";
import { connectionFields, tupleOffsets } from "./layouts.ts";
import { MapPlace } from "./maps.ts";

const connectionMaps = [
  [MapPlace.connections4, 4],
  [MapPlace.otherConnections4, 4],
  [MapPlace.connections6, 6],
  [MapPlace.otherConnections6, 6],
] as const;

/** Removal of what expired: lifetimes are in seconds of the node's clock. */
export function expiredConnections(tables: BpfTables, nowNs: number): readonly BpfMapOp[] {
  const now = Math.floor(nowNs / 1e9);
  return removals(tables, ({ value }) => view(value).getUint32(connectionFields.lifetime, true) < now);
}

/** Removal of every connection of one of the addresses. */
export function connectionsOf(tables: BpfTables, ips: readonly Ip[]): readonly BpfMapOp[] {
  return removals(tables, ({ key }, family) => {
    const { daddr, saddr } = tupleOffsets[family];
    return ips.some((ip) => ip.family === family && [daddr, saddr].some((at) => isAddress(key, at, ip)));
  });
}

function removals(
  { maps }: BpfTables,
  isWanted: (entry: MapEntry, family: 4 | 6) => boolean,
): readonly BpfMapOp[] {
  return connectionMaps.flatMap(([place, family]) => {
    const map = maps[place];
    const entries = (map?.entries ?? []).filter((entry) => isWanted(entry, family));
    return entries.map(({ key }): BpfMapOp => ({ kind: "bpf-map", op: "delete", map: map?.name ?? "", key }));
  });
}

function isAddress(key: Uint8Array, at: number, { words }: Ip): boolean {
  return words.every((word, i) => view(key).getUint32(at + 4 * i) === word >>> 0);
}

function view({ buffer, byteOffset, byteLength }: Uint8Array): DataView {
  return new DataView(buffer, byteOffset, byteLength);
}
