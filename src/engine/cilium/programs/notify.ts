/**
 * What the datapath tells user space (bpf/lib/drop.h, bpf/lib/policy_log.h): an event for each drop, and one for each
 * policy verdict that drops or opens a connection. Events carry no packet bytes: `len_cap` is 0.
 */
import { r0, r1, r2, r3, r4, r5, r6, r10 } from "../../../filter/bpf/index.ts";
import { DropField, EventField, EventType, VerdictField } from "../events.ts";
import { MapPlace } from "../maps.ts";
import {
  type Direction,
  type Emission,
  type FamilyEmission,
  Frame,
  Helper,
  Skb,
  TcCode,
} from "./emission.ts";

/** Of every event. */
const eventBytes = 36;
const eventVersion = 1;

/** The end of every program: one block a reason, then the event and the drop. */
export function emitDrops(emission: Emission): void {
  const { b } = emission;
  for (const reason of emission.reasons) b.label(`drop ${reason}`).mov(r1, reason).goto("drop");
  if (emission.reasons.length === 0) return;
  b.label("drop").store("b", r10, Frame.event + EventField.subtype, r1);
  emitHeader(emission, EventType.drop);
  b.load("w", r1, r10, Frame.sourceIdentity)
    .store("w", r10, Frame.event + DropField.sourceIdentity, r1)
    .load("w", r1, r10, Frame.destinationIdentity)
    .store("w", r10, Frame.event + DropField.destinationIdentity, r1)
    .store("dw", r10, Frame.event + 24, 0)
    .load("w", r1, r6, Skb.ifindex)
    .store("w", r10, Frame.event + DropField.ifindex, r1);
  emitOutput(emission);
  b.mov(r0, TcCode.shot).exit();
}

/**
 * The verdict on a connection's packet: r3 holds it as `VerdictField.verdict`; overwrites r0 to r5. The endpoint's peer is
 * the destination of what leaves it.
 */
export function emitVerdictEvent(e: FamilyEmission, direction: Direction): void {
  const { b } = e;
  const at = (offset: number): number => Frame.event + offset;
  b.store("w", r10, at(VerdictField.verdict), r3).store("b", r10, at(EventField.subtype), 0);
  emitHeader(e.whole, EventType.policyVerdict);
  const peer = direction === "egress" ? Frame.destinationIdentity : Frame.sourceIdentity;
  b.load("w", r1, r10, peer)
    .store("w", r10, at(VerdictField.remoteIdentity), r1)
    .load("h", r1, r10, Frame.policyPort)
    .bigEndian(r1, 16)
    .store("h", r10, at(VerdictField.port), r1)
    .load("b", r1, r10, e.tupleAt("protocol"))
    .store("b", r10, at(VerdictField.protocol), r1)
    .load("w", r1, r10, Frame.matchType)
    .alu("lsh", r1, 3)
    .alu("or", r1, (direction === "egress" ? 2 : 1) | (e.family === 6 ? 4 : 0))
    .store("b", r10, at(VerdictField.flags), r1)
    .store("w", r10, at(28), 0)
    .store("w", r10, at(32), 0);
  emitOutput(e.whole);
}

/** Reports what policy denies, then drops for the reason. */
export function emitDeny(e: FamilyEmission, direction: Direction, reason: number): void {
  e.b.mov(r3, -reason);
  emitVerdictEvent(e, direction);
  e.b.goto(e.drop(reason));
}

function emitHeader({ b }: Emission, type: number): void {
  const at = (offset: number): number => Frame.event + offset;
  b.store("b", r10, at(EventField.type), type)
    .load("h", r1, r10, Frame.endpoint)
    .store("h", r10, at(EventField.endpoint), r1)
    .store("w", r10, at(4), 0)
    .load("w", r1, r6, Skb.len)
    .store("w", r10, at(EventField.originalLength), r1)
    .store("w", r10, at(12), eventVersion << 16);
}

function emitOutput({ b }: Emission): void {
  b.mov(r1, r6)
    .loadMap(r2, MapPlace.events)
    .loadConstant(r3, 0xffff_ffffn) // on this processor
    .mov(r4, r10)
    .alu("add", r4, Frame.event)
    .mov(r5, eventBytes)
    .callHelper(Helper.perfOutput);
}
