/** Entries of the maps that say what a node is and who lives where: its configuration, endpoints and identities by address. */
import type { Cidr, Ip } from "../../addr/index.ts";
import type { Origin } from "../../base/index.ts";
import type { MapEntry } from "../../filter/bpf/index.ts";
import { configBytes, ipcacheKeyBytes, ipcacheValueBytes, lxcKeyBytes, lxcValueBytes } from "./layouts.ts";

/** Families as endpoint and ipcache keys have them. */
const familyCode = (family: 4 | 6): number => (family === 4 ? 1 : 2);

export interface NodeConfig {
  /** The interface that leads off the node. */
  readonly uplink: string;
  readonly addresses: readonly Ip[];
  /** Identity of what no other is known of: 2 on a cluster of one family, else 9 and 10. */
  readonly world4: number;
  readonly world6: number;
  /** The node's own endpoint, with host firewall. */
  readonly hostEndpoint?: number;
}

/** `service-no-backend-response` and the like apart: addresses that a pod sees itself under through its own Service. */
export const serviceLoopback4: Ip = { family: 4, words: [0xa9fe_2a01] }; // 169.254.42.1
export const serviceLoopback6: Ip = { family: 6, words: [0xfe80_0000, 0, 0, 1] };

export function configEntry({ uplink, addresses, world4, world6, hostEndpoint = 0 }: NodeConfig): MapEntry {
  const value = new Uint8Array(configBytes);
  const view = new DataView(value.buffer);
  view.setUint32(4, world4, true);
  view.setUint32(8, world6, true);
  const of = (family: 4 | 6): Ip | undefined => addresses.find((ip) => ip.family === family);
  writeAddress(view, 12, of(4));
  writeAddress(view, 16, serviceLoopback4);
  writeAddress(view, 20, of(6));
  writeAddress(view, 36, serviceLoopback6);
  view.setUint16(52, hostEndpoint, true);
  return { key: new Uint8Array(4), value, interfaceAt: { offset: 0, name: uplink } };
}

export interface LocalEndpoint {
  readonly ip: Ip;
  /** Endpoint id, 1..65535. */
  readonly id: number;
  readonly identity: number;
  readonly interface: string;
  readonly origin?: Origin;
}

/** One address of an endpoint in `cilium_lxc`. */
export function lxcEntry({ ip, id, identity, interface: name, origin }: LocalEndpoint): MapEntry {
  const key = new Uint8Array(lxcKeyBytes);
  writeAddress(new DataView(key.buffer), 0, ip);
  key[16] = familyCode(ip.family);
  const value = new Uint8Array(lxcValueBytes);
  const view = new DataView(value.buffer);
  view.setUint16(6, id, true);
  view.setUint32(32, identity, true);
  return { key, value, interfaceAt: { offset: 0, name }, ...(origin === undefined ? {} : { origin }) };
}

/** A prefix and its identity in `cilium_ipcache`. */
export function ipcacheEntry(net: Cidr, identity: number, origin?: Origin): MapEntry {
  const key = new Uint8Array(ipcacheKeyBytes);
  const view = new DataView(key.buffer);
  view.setUint32(0, 32 + net.prefix, true);
  key[7] = familyCode(net.family);
  writeAddress(view, 8, net);
  const value = new Uint8Array(ipcacheValueBytes);
  new DataView(value.buffer).setUint32(0, identity, true);
  return { key, value, ...(origin === undefined ? {} : { origin }) };
}

/** The policy map of an endpoint, by its place in the node's maps. */
export function policyMapEntry(endpoint: number, place: number): MapEntry {
  const [key, value] = [new Uint8Array(4), new Uint8Array(4)];
  new DataView(key.buffer).setUint32(0, endpoint, true);
  new DataView(value.buffer).setUint32(0, place, true);
  return { key, value };
}

export function writeAddress(view: DataView, at: number, ip: Ip | undefined): void {
  ip?.words.forEach((word, i) => {
    view.setUint32(at + 4 * i, word);
  });
}
