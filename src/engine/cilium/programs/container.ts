/**
 * The two programs of a pod's host-side interface (bpf/bpf_lxc.c): `cil_from_container` judges what the pod sends by its
 * egress policy, `cil_to_container` what it is sent by its ingress policy. With endpoint routes and legacy host routing, as
 * on AKS, packets cross the node's stack between the two, and the mark carries the sender's identity there.
 */
import type { Instruction } from "../../../filter/bpf/index.ts";
import { r0, r1, r3, r10 } from "../../../filter/bpf/index.ts";
import { emitClock, emitConnectionMap, emitConntrack, emitCreate } from "./conntrack.ts";
import {
  type Direction,
  Emission,
  emitStart,
  type FamilyEmission,
  Frame,
  type ProgramVariant,
  TcCode,
} from "./emission.ts";
import {
  emitEndpointLookup,
  emitIdentityMark,
  emitIdentityOf,
  emitOwnInterface,
  emitSourceIdentity,
  emitTakeEndpoint,
} from "./identity.ts";
import { emitDeny, emitDrops, emitVerdictEvent } from "./notify.ts";
import { emitParse } from "./parse.ts";
import { emitPolicy } from "./policy.ts";
import { Reason } from "./reasons.ts";

export function fromContainer(variant: ProgramVariant): readonly Instruction[] {
  return program(variant, emitFromContainer);
}

export function toContainer(variant: ProgramVariant): readonly Instruction[] {
  return program(variant, emitToContainer);
}

function program(variant: ProgramVariant, emit: (e: FamilyEmission) => void): readonly Instruction[] {
  const emission = new Emission(variant);
  const { b } = emission;
  emitStart(emission);
  emit(emission.of(4));
  b.label("v6 start");
  emit(emission.of(6));
  b.label("other protocol")
    .jump("jne", r1, 0x0608, emission.drop(Reason.unknownNetwork)) // ARP passes
    .label("pass")
    .mov(r0, TcCode.ok)
    .exit();
  emitDrops(emission);
  return b.build();
}

function emitFromContainer(e: FamilyEmission): void {
  const { b } = e;
  emitParse(e);
  emitEndpointLookup(e, e.tupleAt("saddr"));
  b.jump("jeq", r0, 0, e.drop(Reason.invalidSource));
  emitOwnInterface(e, e.drop(Reason.invalidSource));
  emitTakeEndpoint(e, Frame.sourceIdentity);
  b.store("w", r10, Frame.revNat, 0).store("w", r10, Frame.newFlags, 0);
  emitClock(e);
  emitConnectionMap(e);
  const places = { isNew: e.at("new"), established: e.at("established"), forward: e.at("forward") };
  emitConntrack(e, "egress", { ...places, reply: places.forward, related: places.forward });
  // the key is turned now: the packet's destination stands as its source
  emitJudged(e, "egress", places, () => emitIdentityOf(e, e.tupleAt("saddr"), Frame.destinationIdentity));
  b.label(places.forward);
  emitIdentityMark(e);
  b.goto("pass");
}

function emitToContainer(e: FamilyEmission): void {
  const { b } = e;
  emitParse(e);
  b.store("w", r10, Frame.revNat, 0).store("w", r10, Frame.newFlags, 0);
  emitClock(e);
  emitConnectionMap(e);
  const places = { isNew: e.at("new"), established: e.at("established"), forward: "pass" };
  emitConntrack(e, "ingress", { ...places, reply: "pass", related: "pass" });
  emitJudged(e, "ingress", places, () => {
    emitEndpointLookup(e, e.tupleAt("saddr"));
    b.jump("jeq", r0, 0, e.drop(Reason.endpointNotReady));
    emitTakeEndpoint(e, Frame.destinationIdentity);
    emitSourceIdentity(e, e.tupleAt("daddr"));
  });
}

interface Places {
  readonly isNew: string;
  readonly established: string;
  readonly forward: string;
}

/** Policy on every packet of the connection's own direction; what it allows to begin gets an entry. */
function emitJudged(e: FamilyEmission, direction: Direction, places: Places, identify: () => void): void {
  const { b } = e;
  const [judge, allowed, denied, missed] = [e.at("judge"), e.at("allowed"), e.at("denied"), e.at("missed")];
  b.label(places.isNew)
    .store("w", r10, Frame.isNew, 1)
    .goto(judge)
    .label(places.established)
    .store("w", r10, Frame.isNew, 0)
    .label(judge);
  identify();
  emitPolicy(e, direction, { allowed, denied, missed });
  b.label(denied);
  emitDeny(e, direction, Reason.deniedByRule);
  b.label(missed);
  emitDeny(e, direction, Reason.policyDenied);
  b.label(allowed)
    .load("w", r1, r10, Frame.isNew)
    .jump("jeq", r1, 0, places.forward)
    .load("w", r3, r10, Frame.proxyPort)
    .bigEndian(r3, 16);
  emitVerdictEvent(e, direction);
  emitConnectionMap(e);
  emitCreate(e, direction);
  if (places.forward === "pass") b.goto("pass");
}
