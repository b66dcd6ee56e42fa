/** The document of `podwire replay`: what became of every packet of a capture, and of every flow. */
import type { Disposition } from "../../sim/index.ts";
import type { TraceOriginDocument } from "../documents.ts";

/**
 * Why a packet was not judged: no IP in the frame, neither address known, no single receiver, no tables for its family
 * in a dump, a fragment whose datagram is not complete yet, seen before.
 */
export type Unjudged = "not-ip" | "unknown-address" | "not-unicast" | "no-tables" | "held" | "copy";

export type ReplayVerdict = "accept" | "drop" | "reject" | "none";

export interface ReplayRuleDocument {
  readonly node: string;
  readonly hook: string;
  readonly table: string;
  readonly chain: string;
  /** 1-based number in its chain. */
  readonly number: number;
  readonly text: string;
  readonly origin?: TraceOriginDocument;
  /**
   * What a map answered on which a program decided: the entry of a policy, where one was asked. Absent where connection
   * tracking lets packets of a flow pass, and where there are no maps.
   */
  readonly lookup?: ReplayLookupDocument;
  /** What the program told user space about it, such as a drop's reason. */
  readonly report?: string;
}

/** One question to a map. */
export interface ReplayLookupDocument {
  readonly node: string;
  readonly map: string;
  /** Key and answer; `none` where there is no entry. */
  readonly text: string;
  /** The policy behind the entry, or behind its absence. */
  readonly origin?: TraceOriginDocument;
}

export interface ReplayPacketDocument {
  /** In the capture, from 0. */
  readonly index: number;
  /** Present where several engines judge one capture. */
  readonly engine?: string;
  /** Since 1970, to the precision of a double; `time` is exact. */
  readonly timestampNs: number;
  /** Seconds since 1970 with nine decimals. */
  readonly time: string;
  readonly line: string;
  /** Of the hook that decided; `none` where nothing was judged. */
  readonly verdict: ReplayVerdict;
  readonly disposition: Disposition | Unjudged;
  /** The rule that stopped it, or the last that let it pass; null where a chain's policy or nothing decided. */
  readonly rule: ReplayRuleDocument | null;
  /** Number of its flow. */
  readonly flow?: number;
  /** Of a copy: the packet that it is a copy of, and whose verdict it bears. */
  readonly copyOf?: number;
}

export interface ReplayFlowDocument {
  readonly flow: number;
  readonly engine?: string;
  readonly protocol: string;
  /** Address and port of the side that sent first, and the pod or node behind it. */
  readonly client: string;
  readonly server: string;
  readonly from?: string;
  readonly to?: string;
  /** `mixed`: some of its packets passed. */
  readonly verdict: "allow" | "deny" | "mixed";
  readonly packets: number;
  readonly delivered: number;
  /** Of captured frames. */
  readonly bytes: number;
  readonly firstPacket: number;
  readonly lastPacket: number;
  /** First packet that did not pass, with its rule and the policies behind it. */
  readonly denied?: {
    readonly packet: number;
    readonly disposition: Disposition;
    readonly rule: ReplayRuleDocument | null;
    readonly because: readonly TraceOriginDocument[];
  };
}

export interface ReplayCounts {
  packets: number;
  judged: number;
  delivered: number;
  denied: number;
  /** Judged, neither delivered nor denied: no route, malformed, lost. */
  failed: number;
  notIp: number;
  unknownAddress: number;
  notUnicast: number;
  noTables: number;
  /** Fragments; the one that completes its datagram is judged. */
  held: number;
  copies: number;
  flows: number;
}

/** What stands around packets and flows. */
export interface ReplaySummaryDocument {
  readonly engines: readonly ReplayEngineDocument[];
  /** Of every engine together where there are several. */
  readonly counts: ReplayCounts;
  readonly interrupted?: true;
  /** The capture is damaged: what stands here is what was read before. */
  readonly fault?: { readonly offset: number; readonly message: string };
}

export interface ReplayEngineDocument {
  readonly engine: string;
  readonly engineVersion: string;
  /** Its own, where there are several engines. */
  readonly counts?: ReplayCounts;
}

/** What `replay` prints. */
export interface ReplayDocument extends ReplaySummaryDocument {
  readonly schema: "podwire/replay/v1";
  readonly version: string;
  readonly seed: number;
  readonly packets: readonly ReplayPacketDocument[];
  readonly flows: readonly ReplayFlowDocument[];
}
