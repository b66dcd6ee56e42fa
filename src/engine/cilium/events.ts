/**
 * What the datapath's events are made of, for who reads them (bpf/lib/drop.h, bpf/lib/policy_log.h): the words are those of
 * `cilium monitor` and Hubble.
 */
import type { FieldLayout, RecordLayout } from "../../filter/bpf/index.ts";
import { reasonText } from "./programs/reasons.ts";

/** First byte of an event. */
export const EventType = { drop: 1, policyVerdict: 5 } as const;

/** Offsets in the events; what is not named is zero. */
export const EventField = {
  type: 0,
  /** Of a drop: the reason. */
  subtype: 1,
  endpoint: 2,
  originalLength: 8,
  version: 14,
} as const;
export const DropField = { sourceIdentity: 16, destinationIdentity: 20, ifindex: 32 } as const;
export const VerdictField = {
  remoteIdentity: 16,
  /** Negative drop reason, 0, or the proxy's port. */
  verdict: 20,
  port: 24,
  protocol: 26,
  /** Direction (1 in, 2 out), then bit 2 IPv6, bits 3..5 the match type. */
  flags: 27,
} as const;

/** What the winning entry names (bpf/lib/policy.h, POLICY_MATCH_*). */
export const MatchType = {
  none: 0,
  l3Only: 1,
  l3L4: 2,
  l4Only: 3,
  all: 4,
  l3Protocol: 5,
  protocolOnly: 6,
} as const;

const number = (name: string, offset: number, size: number): FieldLayout => ({
  name,
  offset,
  size,
  format: "dec",
});

/** Verdicts are negative drop reasons, or the port of the proxy that the packet goes to. */
const verdictNames: Readonly<Record<number, string>> = {
  0: "allowed",
  ...Object.fromEntries(
    Object.entries(reasonText).map(([reason, text]) => [2 ** 32 - Number(reason), `${text} (${reason})`]),
  ),
};

const matchNames: Readonly<Record<number, string>> = {
  [MatchType.none]: "none",
  [MatchType.l3Only]: "L3-Only",
  [MatchType.l3L4]: "L3-L4",
  [MatchType.l4Only]: "L4-Only",
  [MatchType.all]: "all",
  [MatchType.l3Protocol]: "L3-Proto",
  [MatchType.protocolOnly]: "Proto-Only",
};

export const eventRecords: Readonly<Record<number, RecordLayout>> = {
  [EventType.drop]: {
    name: "drop",
    fields: [
      {
        name: "reason",
        offset: EventField.subtype,
        size: 1,
        format: "enum",
        names: Object.fromEntries(
          Object.entries(reasonText).map(([reason, text]) => [reason, `${text} (${reason})`]),
        ),
      },
      number("endpoint", EventField.endpoint, 2),
      number("sourceIdentity", DropField.sourceIdentity, 4),
      number("destinationIdentity", DropField.destinationIdentity, 4),
      number("ifindex", DropField.ifindex, 4),
    ],
  },
  [EventType.policyVerdict]: {
    name: "policy verdict",
    fields: [
      { name: "verdict", offset: VerdictField.verdict, size: 4, format: "enum", names: verdictNames },
      {
        name: "match",
        offset: VerdictField.flags,
        size: 1,
        format: "enum",
        bits: { shift: 3, count: 3 },
        names: matchNames,
      },
      {
        name: "direction",
        offset: VerdictField.flags,
        size: 1,
        format: "enum",
        bits: { shift: 0, count: 2 },
        names: { 1: "ingress", 2: "egress" },
      },
      number("endpoint", EventField.endpoint, 2),
      number("remoteIdentity", VerdictField.remoteIdentity, 4),
      number("protocol", VerdictField.protocol, 1),
      number("port", VerdictField.port, 2),
    ],
  },
};
