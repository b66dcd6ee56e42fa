/** Verdict vocabularies: one inside a table (`RuleVerdict`, each kind's own), one of a hook (`Verdict`). */

/** Of a hook on a packet. */
export const Verdict = {
  accept: 0,
  drop: 1,
  reject: 2,
  redirect: 3,
  stolen: 4,
} as const;
export type Verdict = (typeof Verdict)[keyof typeof Verdict];

export const verdictName: readonly string[] = ["accept", "drop", "reject", "redirect", "stolen"];

/**
 * Where a redirected packet enters an interface: handed to it to send (through what is attached to its egress), as if it
 * had come in by it, or past all that is attached (XDP, and the peer in a pod's namespace).
 */
export const RedirectWay = { transmit: 0, receive: 1, bypass: 2 } as const;
export type RedirectWay = (typeof RedirectWay)[keyof typeof RedirectWay];

/** What a REJECT sends back. Numbers go into `HookResults.detail`. */
export const RejectKind = {
  netUnreachable: 0,
  hostUnreachable: 1,
  protoUnreachable: 2,
  portUnreachable: 3,
  netProhibited: 4,
  hostProhibited: 5,
  adminProhibited: 6,
  tcpReset: 7,
  /** ICMPv6 */
  noRoute: 8,
  addrUnreachable: 9,
  policyFail: 10,
  rejectRoute: 11,
} as const;
export type RejectKind = (typeof RejectKind)[keyof typeof RejectKind];
