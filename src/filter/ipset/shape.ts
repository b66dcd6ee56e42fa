/**
 * What the members of each set type are made of, and what a lookup takes from a packet for each part.
 * Source: kernel net/netfilter/ipset/ip_set_hash_*.c, ip_set_bitmap_*.c, ip_set_getport.c.
 */
import type { IpsetType } from "./repr.ts";

export type Part = "ip" | "net" | "port" | "iface" | "mark";

export interface SetShape {
  /** In the order of the type's name; empty for `list:set`. */
  readonly parts: readonly Part[];
  readonly isBitmap: boolean;
  /** Takes `nomatch` members. */
  readonly hasNet: boolean;
  /** Address words are counted on 4 for IPv6 and 1 for IPv4. */
  readonly addresses: number;
}

const partsOf: { readonly [T in IpsetType]: readonly Part[] } = {
  "hash:ip": ["ip"],
  "hash:net": ["net"],
  "hash:ip,port": ["ip", "port"],
  "hash:net,port": ["net", "port"],
  "hash:ip,port,ip": ["ip", "port", "ip"],
  "hash:ip,port,net": ["ip", "port", "net"],
  "hash:net,iface": ["net", "iface"],
  "hash:net,net": ["net", "net"],
  "hash:net,port,net": ["net", "port", "net"],
  "hash:ip,mark": ["ip", "mark"],
  "bitmap:ip": ["ip"],
  "bitmap:port": ["port"],
  "list:set": [],
};

export const setTypes = Object.keys(partsOf) as readonly IpsetType[];

const shapes = new Map<IpsetType, SetShape>(
  setTypes.map((type) => {
    const parts = partsOf[type];
    return [
      type,
      {
        parts,
        isBitmap: type.startsWith("bitmap:"),
        hasNet: parts.includes("net"),
        addresses: parts.filter((part) => part === "ip" || part === "net").length,
      },
    ];
  }),
);

export function shapeOf(type: IpsetType): SetShape {
  return shapes.get(type) as SetShape;
}

/** Names of the old command line (ipset 4) that the tool still takes. */
const oldNames: Readonly<Record<string, IpsetType>> = {
  iphash: "hash:ip",
  nethash: "hash:net",
  ipporthash: "hash:ip,port",
  ipportiphash: "hash:ip,port,ip",
  ipportnethash: "hash:ip,port,net",
  ipmap: "bitmap:ip",
  portmap: "bitmap:port",
  setlist: "list:set",
};

export function parseSetType(text: string): IpsetType | undefined {
  return (
    setTypes.find((type) => type === text) ?? (Object.hasOwn(oldNames, text) ? oldNames[text] : undefined)
  );
}

/**
 * Which address or port of the packet each dimension of a rule looks at, in one word: bit i for dimension i set where it
 * says `src`, the number of dimensions from bit 8 on.
 */
export function dimensionBits(sides: readonly ("src" | "dst")[]): number {
  return sides.reduce((bits, side, i) => bits | (side === "src" ? 1 << i : 0), sides.length << 8);
}
