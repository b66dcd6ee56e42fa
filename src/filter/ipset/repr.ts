/**
 * ipsets as data, in the words of ipset(8). A `IpsetRepr` is frozen and may be shared by many nodes; `LiveSets`
 * (this folder) holds the typed storage that tables look up and that operations change.
 * Governing source: kernel net/netfilter/ipset, ipset(8).
 */
import type { Cidr, Ip } from "../../addr/index.ts";

export type IpsetType = "hash:ip" | "hash:net" | "hash:ip,port" | "hash:net,port" | "list:set";

/** One member. Which fields are used is fixed by the set's type. */
export interface IpsetEntry {
  /** `hash:ip*`: prefix 32/128. `hash:net*`: 1..32 / 1..128 (the kernel holds no /0). */
  readonly net?: Cidr;
  /** IP protocol number and port, for `...,port` types. */
  readonly protocol?: number;
  readonly port?: number;
  /** `list:set`: the member set's name. */
  readonly set?: string;
  readonly nomatch?: boolean;
}

export interface IpsetRepr {
  readonly name: string;
  readonly type: IpsetType;
  readonly family: 4 | 6;
  readonly hashsize: number; // default 1024
  readonly maxelem: number; // default 65536 (list:set: `size`, default 8)
  readonly entries: readonly IpsetEntry[];
  /** Human name behind a hashed one, for traces (`podlabel-app:client`). */
  readonly title?: string;
}

export function hostEntry(ip: Ip): IpsetEntry {
  return { net: { family: ip.family, words: ip.words, prefix: ip.family === 4 ? 32 : 128 } };
}
