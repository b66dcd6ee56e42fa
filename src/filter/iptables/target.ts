/**
 * What a rule does with a packet, as data. Governing source: iptables-extensions(8), TARGET EXTENSIONS.
 */
import type { Cidr, Ip } from "../../addr/index.ts";
import type { RejectKind } from "../verdict.ts";
import type { Range, SetSide } from "./match.ts";

export interface NatRange {
  /** A host prefix; `undefined` keeps the address (`--to-destination :80`). */
  readonly min: Cidr | undefined;
  readonly max: Cidr | undefined;
  readonly ports?: Range;
  /** Base of a shifted range (`6000-6100/5000`, DNAT only). */
  readonly portBase?: number;
}

interface NatFlags {
  readonly randomly?: boolean;
  readonly randomFully?: boolean;
  readonly persistent?: boolean;
}

export type NatTarget =
  | ({ readonly kind: "DNAT"; readonly to: NatRange } & NatFlags)
  | ({ readonly kind: "SNAT"; readonly to: NatRange } & NatFlags)
  | ({ readonly kind: "MASQUERADE"; readonly ports?: Range } & NatFlags)
  | ({ readonly kind: "REDIRECT"; readonly ports?: Range } & NatFlags)
  | { readonly kind: "NETMAP"; readonly to: Cidr };

export interface LogTarget {
  readonly kind: "LOG";
  readonly prefix: string;
  readonly level: number;
  /** In the order that iptables-save prints them. */
  readonly flags?: readonly LogFlag[];
}

export type LogFlag = "tcp-sequence" | "tcp-options" | "ip-options" | "uid" | "macdecode";

export interface NflogTarget {
  readonly kind: "NFLOG";
  readonly prefix: string;
  readonly group: number;
  readonly range?: number;
  readonly size?: number;
  readonly threshold?: number;
}

export interface SetTarget {
  readonly kind: "SET";
  readonly action: "add" | "del" | "map";
  readonly set: string;
  readonly flags: readonly SetSide[];
  readonly exist?: boolean;
  /** Seconds. */
  readonly timeout?: number;
  readonly mapMark?: boolean;
  readonly mapPrio?: boolean;
  readonly mapQueue?: boolean;
}

/** Helpers are not modelled, and refused. */
export interface CtTarget {
  readonly kind: "CT";
  readonly events?: readonly string[];
  readonly expEvents?: readonly string[];
  /** `mark`: the packet's mark is the zone. */
  readonly zone?: number | "mark";
  /** The zone counts in this direction alone. */
  readonly zoneDirection?: "orig" | "reply";
}

export type Target =
  | { readonly kind: "ACCEPT" }
  | { readonly kind: "DROP" }
  | { readonly kind: "RETURN" }
  | { readonly kind: "REJECT"; readonly with: RejectKind }
  | { readonly kind: "jump"; readonly chain: string }
  | { readonly kind: "goto"; readonly chain: string }
  /** `--set-xmark value/mask`: mark = (mark & ~mask) ^ value. */
  | { readonly kind: "MARK"; readonly value: number; readonly mask: number }
  | { readonly kind: "CONNMARK"; readonly action: "set"; readonly value: number; readonly mask: number }
  | {
      readonly kind: "CONNMARK";
      readonly action: "save" | "restore";
      readonly nfMask: number;
      readonly ctMask: number;
    }
  | LogTarget
  | NflogTarget
  | { readonly kind: "TRACE" }
  | {
      readonly kind: "NFQUEUE";
      readonly from: number;
      readonly to: number;
      readonly bypass?: boolean;
      readonly cpuFanout?: boolean;
    }
  | NatTarget
  /** To a proxy's socket on the node; address 0 means that of the interface. */
  | {
      readonly kind: "TPROXY";
      readonly port: number;
      readonly ip: Ip;
      readonly value: number;
      readonly mask: number;
    }
  /** `flavour`: which of the two spellings (`-j NOTRACK`, default `-j CT --notrack`). */
  | { readonly kind: "NOTRACK"; readonly flavour?: "NOTRACK" }
  | CtTarget
  | SetTarget
  | { readonly kind: "TTL"; readonly action: "set" | "inc" | "dec"; readonly value: number }
  /** tos = (tos & ~mask) ^ value. */
  | { readonly kind: "TOS"; readonly value: number; readonly mask: number }
  | { readonly kind: "DSCP"; readonly value: number }
  | { readonly kind: "TCPMSS"; readonly mss: number | "clamp" }
  | { readonly kind: "CLASSIFY"; readonly major: number; readonly minor: number }
  | { readonly kind: "CHECKSUM" }
  | { readonly kind: "AUDIT"; readonly type: "accept" | "drop" | "reject" };

export type TargetOf<K extends Target["kind"]> = Extract<Target, { readonly kind: K }>;
