/**
 * The maps that addresses look up, as `cilium bpf ipcache list` and `cilium bpf endpoint list` print them: one line a
 * key. The real command prints them in the order of a Go map; here they are sorted, as its JSON is.
 * Governing source: cilium/cilium pkg/maps/ipcache/ipcache.go, pkg/maps/lxcmap/lxcmap.go, cilium-dbg/cmd/helpers.go.
 */
import { formatCidr, formatIp, formatMac, type Ip } from "../../../addr/index.ts";
import type { MapEntry, MapRepr } from "../../../filter/bpf/index.ts";
import type { ListingForms } from "./forms.ts";
import { type GoValue, goTable } from "./go-text.ts";

/** What is printed for a key, by the key. */
export type AddressListing = ReadonlyMap<string, string>;

/** What all nodes know alike is printed once. */
export function ipcacheListing(
  { base = [], entries }: Pick<MapRepr, "base" | "entries">,
  forms: ListingForms,
): AddressListing {
  let shared = printed.get(base)?.get(forms);
  if (shared === undefined) {
    shared = sorted(base.map((entry) => ipcachePair(entry, forms)));
    printed.set(base, new Map([...(printed.get(base) ?? []), [forms, shared]]));
  }
  const all = new Map(shared);
  for (const entry of entries) all.set(...ipcachePair(entry, forms));
  return all.size === shared.size ? all : sorted([...all]); // a key that was there has kept its place
}

const printed = new WeakMap<readonly MapEntry[], ReadonlyMap<ListingForms, AddressListing>>();

function ipcachePair({ key, value }: MapEntry, forms: ListingForms): [string, string] {
  const prefix = viewOf(key).getUint32(0, true) - ipcacheStaticBits;
  const { family, words } = addressAt(key, 8, key[7] === 1 ? 4 : 6);
  return [formatCidr({ family, words, prefix }), ipcacheLine(value, forms)];
}

/** Bits of a key before the address: cluster and family. */
export const ipcacheStaticBits = 32;

/** Bits of the flags. */
export const ipcacheFlags: readonly string[] = ["skiptunnel", "hastunnel", "ipv6tunnel", "remotecluster"];

function ipcacheLine(value: Uint8Array, { hasIpcacheFlags }: ListingForms): string {
  const identity = viewOf(value).getUint32(0, true);
  const tunnel = formatIp(addressAt(value, 4, 4));
  const set = ipcacheFlags.filter((_, bit) => ((value[11] ?? 0) >> bit) & 1);
  const flags = hasIpcacheFlags ? ` flags=${set.length === 0 ? "<none>" : set.join()}` : "";
  return `identity=${identity} encryptkey=${value[10]} tunnelendpoint=${tunnel}${flags}`;
}

/** `interfaceIndex`: the number of an interface on the node. */
export function lxcListing(
  entries: readonly MapEntry[],
  forms: ListingForms,
  interfaceIndex: (name: string) => number | undefined,
): AddressListing {
  return sorted(
    entries.map(({ key, value, interfaceAt }) => {
      const address = formatIp(addressAt(key, 0, key[16] === 1 ? 4 : 6));
      const view = viewOf(value);
      const index =
        interfaceAt === undefined ? view.getUint32(0, true) : (interfaceIndex(interfaceAt.name) ?? 0);
      return [`${address}:${viewOf(key).getUint16(18, true)}`, lxcLine(view, index, forms)];
    }),
  );
}

const hostFlag = 1;

function lxcLine(view: DataView, interfaceIndex: number, { hasParentInterface }: ListingForms): string {
  const flags = view.getUint32(8, true);
  if ((flags & hostFlag) !== 0) return "(localhost)";
  const padded = (number: number, width: number): string => String(number).padEnd(width);
  return [
    `id=${padded(view.getUint16(6, true), 5)}`,
    `sec_id=${padded(view.getUint32(32, true), 5)}`,
    `flags=0x${flags.toString(16).toUpperCase().padStart(4, "0")}`,
    `ifindex=${padded(interfaceIndex, 3)}`,
    `mac=${macAt(view, 16)}`,
    `nodemac=${macAt(view, 24)}`,
    ...(hasParentInterface ? [`parent_ifindex=${padded(view.getUint32(36, true), 3)}`] : []),
  ].join(" ");
}

function macAt(view: DataView, offset: number): string {
  return formatMac(Array.from({ length: 6 }, (_, i) => view.getUint8(offset + i))).toUpperCase();
}

export function addressJson(listing: AddressListing): GoValue {
  return Object.fromEntries([...listing].map(([key, line]) => [key, [line]]));
}

export function addressText(listing: AddressListing, titles: readonly [string, string]): string {
  const rows = [...listing].map((cells) => ({ cells }));
  return goTable([{ cells: [titles[0]], rest: titles[1] }, ...rows], 5);
}

function sorted(pairs: readonly (readonly [string, string])[]): AddressListing {
  return new Map([...pairs].sort(([a], [b]) => (a < b ? -1 : 1)));
}

function viewOf({ buffer, byteOffset, byteLength }: Uint8Array): DataView {
  return new DataView(buffer, byteOffset, byteLength);
}

function addressAt(bytes: Uint8Array, offset: number, family: 4 | 6): Ip {
  const view = viewOf(bytes);
  const words = Array.from({ length: family === 4 ? 1 : 4 }, (_, i) => view.getUint32(offset + 4 * i));
  return { family, words };
}
