/**
 * ipsets as data, in the words of ipset(8). A `IpsetRepr` is frozen and may be shared by many nodes; `LiveSet`
 * (this folder) holds the typed storage that tables look up and that operations change.
 * Governing source: kernel net/netfilter/ipset, ipset(8).
 */
import type { Cidr, Ip } from "../../addr/index.ts";

export type IpsetType =
  | "hash:ip"
  | "hash:net"
  | "hash:ip,port"
  | "hash:net,port"
  | "hash:ip,port,ip"
  | "hash:ip,port,net"
  | "hash:net,iface"
  | "hash:net,net"
  | "hash:net,port,net"
  | "hash:ip,mark"
  | "bitmap:ip"
  | "bitmap:port"
  | "list:set";

/** One member. Which fields are used is fixed by the set's type. */
export interface IpsetEntry {
  /** First address: a host's prefix where the type says ip, 1..32 / 1..128 where it says net (the kernel holds no /0). */
  readonly net?: Cidr;
  /** IP protocol number and port, for `port` dimensions; of ICMP, type * 256 + code. `bitmap:port` has no protocol. */
  readonly protocol?: number;
  readonly port?: number;
  /** Second address, as the first. */
  readonly net2?: Cidr;
  /** `hash:net,iface`: an interface's name. */
  readonly iface?: string;
  /** `hash:ip,mark`. */
  readonly mark?: number;
  /** `list:set`: the member set's name. */
  readonly set?: string;
  readonly nomatch?: boolean;
  /** Seconds left, where the set has time-outs; 0 = for ever, absent = the set's own. */
  readonly timeout?: number;
  readonly packets?: number;
  readonly bytes?: number;
  readonly comment?: string;
  /** What `SET --map-mark` writes: mark = (mark & ~mask) ^ value. */
  readonly skbmark?: readonly [value: number, mask: number];
  /** Major and minor class. */
  readonly skbprio?: readonly [major: number, minor: number];
  readonly skbqueue?: number;
}

/** What a set carries beside its members' keys. */
export interface IpsetOptions {
  /** Default time-out in seconds; its presence gives every member one. */
  readonly timeout?: number;
  readonly counters?: boolean;
  readonly comment?: boolean;
  readonly skbinfo?: boolean;
  /** A full set makes room for a new member by dropping another. */
  readonly forceadd?: boolean;
  /** Prefix length that addresses of `hash:ip` and `bitmap:ip` are cut to. */
  readonly netmask?: number;
  /** `bitmap:*`: the first and last member that it can hold. */
  readonly range?: readonly [first: number, last: number];
}

/** A set as data: what `ipset save` prints. */
export interface IpsetRepr extends IpsetOptions {
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
