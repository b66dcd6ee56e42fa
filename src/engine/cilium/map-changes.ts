/**
 * What an agent does to a node's maps so that they become what they should be, in the order that the real agent keeps:
 * new policy maps and new policy entries come before the ipcache names the identities that they are for, so that an
 * address never has an identity which a policy that selects it does not know; what is no longer wanted goes in the
 * opposite order. A policy map in which old and new do not fit together is cleared of the old first.
 * Governing source: cilium/cilium pkg/endpoint/bpf.go (syncPolicyMap, applyPolicyMapChanges), pkg/ipcache/metadata.go.
 */
import type { BpfMapOp, BpfOp, BpfTables, MapEntry, MapRepr } from "../../filter/bpf/index.ts";
import { firstPolicyPlace, MapPlace } from "./maps.ts";

/** Fixed maps that agents write, first those that others refer to; the rest is the programs' own. */
const written = [
  MapPlace.config,
  MapPlace.backends4,
  MapPlace.backends6,
  MapPlace.reverseNat4,
  MapPlace.reverseNat6,
  MapPlace.sourceRanges4,
  MapPlace.sourceRanges6,
  MapPlace.services4,
  MapPlace.services6,
  MapPlace.ipcache,
  MapPlace.policies,
  MapPlace.lxc,
] as const;

interface Changes {
  readonly name: string;
  readonly upserts: readonly BpfMapOp[];
  readonly deletes: readonly BpfMapOp[];
  /** Old and new content do not fit into the map together. */
  readonly overflows: boolean;
}

/** Operations that make `before` into `after`, the fixed maps being there already. */
export function mapChanges(before: BpfTables, after: BpfTables): readonly BpfOp[] {
  const [old, now] = [policyMaps(before), policyMaps(after)];
  const created = [...now.values()].filter(({ name }) => !old.has(name));
  const kept = [...now.values()].filter(({ name }) => old.has(name));
  const gone = [...old.values()].filter(({ name }) => !now.has(name));
  const policies = kept.map((map) => changesOf(old.get(map.name) ?? map, map));
  const fixed = written.map((place): Changes => {
    const [was, is] = [before.maps[place], after.maps[place]];
    if (was === undefined || is === undefined)
      return { name: "", upserts: [], deletes: [], overflows: false };
    return changesOf(was, is, place === MapPlace.policies ? [before, after] : undefined);
  });
  return [
    ...created.map((map): BpfOp => ({ kind: "bpf-pin", op: "create", map })),
    ...policies.flatMap(({ overflows, upserts, deletes }) =>
      overflows ? [...deletes, ...upserts] : upserts,
    ),
    ...fixed.flatMap(({ upserts }) => upserts),
    ...[...fixed].reverse().flatMap(({ deletes }) => deletes),
    ...policies.flatMap(({ overflows, deletes }) => (overflows ? [] : deletes)),
    ...gone.map((map): BpfOp => ({ kind: "bpf-pin", op: "destroy", map })),
  ];
}

function policyMaps({ maps }: BpfTables): ReadonlyMap<string, MapRepr> {
  return new Map(maps.slice(firstPolicyPlace).map((map) => [map.name, map]));
}

/** `nesting`: the tables that the values of the two maps count in, where they are places of maps. */
function changesOf(
  before: MapRepr,
  after: MapRepr,
  nesting?: readonly [before: BpfTables, after: BpfTables],
): Changes {
  const { name } = after;
  if (nesting === undefined && before.base === after.base && before.entries === after.entries)
    return { name, upserts: [], deletes: [], overflows: false };
  const [old, now] = [byKey(before), byKey(after)];
  const upserts: BpfMapOp[] = [];
  const deletes: BpfMapOp[] = [];
  let added = 0;
  for (const [key, entry] of now) {
    const was = old.get(key);
    if (was === undefined) added++;
    else if (isSame(was, entry, nesting)) continue;
    upserts.push(upsertOf(name, entry, nesting?.[1]));
  }
  for (const [key, entry] of old)
    if (!now.has(key)) deletes.push({ kind: "bpf-map", op: "delete", map: name, key: entry.key });
  return { name, upserts, deletes, overflows: old.size + added > after.maxEntries };
}

function byKey({ base = [], entries }: MapRepr): ReadonlyMap<string, MapEntry> {
  const content = new Map<string, MapEntry>();
  for (const entry of base) content.set(keyText(entry.key), entry);
  for (const entry of entries) content.set(keyText(entry.key), entry);
  return content;
}

function keyText(key: Uint8Array): string {
  return String.fromCharCode(...key);
}

function upsertOf(map: string, { key, value, interfaceAt }: MapEntry, tables?: BpfTables): BpfMapOp {
  const base = { kind: "bpf-map", op: "update", map, key } as const;
  if (tables !== undefined) return { ...base, inner: nameAt(tables, value) };
  return { ...base, value, ...(interfaceAt === undefined ? {} : { interfaceAt }) };
}

function nameAt({ maps }: BpfTables, value: Uint8Array): string {
  return maps[new DataView(value.buffer, value.byteOffset).getUint32(0, true)]?.name ?? "";
}

/** The number of an interface is the node's: entries that name one are alike wherever it stands. */
function isSame(
  a: MapEntry,
  b: MapEntry,
  nesting: readonly [before: BpfTables, after: BpfTables] | undefined,
): boolean {
  if (nesting !== undefined) return nameAt(nesting[0], a.value) === nameAt(nesting[1], b.value);
  if (a.value === b.value) return true;
  const hole = b.interfaceAt?.offset;
  return b.value.every((byte, i) => byte === a.value[i] || (hole !== undefined && i >= hole && i < hole + 4));
}
