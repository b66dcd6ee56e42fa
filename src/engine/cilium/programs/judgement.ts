/**
 * Policy on a connection's packets (bpf/bpf_lxc.c, bpf/lib/host_firewall.h): asked for every packet of the connection's
 * own direction, whether the connection is known or not; what it allows to begin gets an entry.
 */
import { r1, r3, r10 } from "../../../filter/bpf/index.ts";
import { emitConnectionMap, emitCreate } from "./conntrack.ts";
import { type Direction, type FamilyEmission, Frame } from "./emission.ts";
import { emitDeny, emitVerdictEvent } from "./notify.ts";
import { emitPolicy } from "./policy.ts";
import { Reason } from "./reasons.ts";

export interface Judged {
  readonly direction: Direction;
  /** Where `emitConntrack` goes with a connection's first packet, and with one of a connection that is known (r8). */
  readonly isNew: string;
  readonly established: string;
  /** Where what may pass goes on. */
  readonly forward: string;
  /** Puts the endpoint and its peer's identity into the frame; the key is turned. */
  readonly identify: () => void;
  /** Goes to the label with what no policy is asked about. */
  readonly exempt?: (state: "new" | "established", label: string) => void;
}

/** Goes on behind itself only where `forward` stands there. */
export function emitJudged(e: FamilyEmission, judged: Judged): void {
  const { b } = e;
  const { direction, isNew, established, forward, identify, exempt } = judged;
  const [judge, allowed, denied, missed, create] = ["judge", "allowed", "denied", "missed", "create"].map(
    (name) => e.fresh(name),
  ) as [string, string, string, string, string];
  b.label(isNew).store("w", r10, Frame.isNew, 1);
  exempt?.("new", create);
  b.goto(judge).label(established).store("w", r10, Frame.isNew, 0);
  exempt?.("established", forward);
  b.label(judge);
  identify();
  emitPolicy(e, direction, { allowed, denied, missed });
  b.label(denied);
  emitDeny(e, direction, Reason.deniedByRule);
  b.label(missed);
  emitDeny(e, direction, Reason.policyDenied);
  b.label(allowed)
    .load("w", r1, r10, Frame.isNew)
    .jump("jeq", r1, 0, forward)
    .load("w", r3, r10, Frame.proxyPort)
    .bigEndian(r3, 16);
  emitVerdictEvent(e, direction);
  b.label(create);
  emitConnectionMap(e);
  emitCreate(e, direction);
}
