/**
 * The two programs of a pod's host-side interface (bpf/bpf_lxc.c): `cil_from_container` judges what the pod sends by its
 * egress policy, `cil_to_container` what it is sent by its ingress policy. With endpoint routes and legacy host routing, as
 * on AKS, packets cross the node's stack between the two, and the mark carries the sender's identity there.
 */
import type { Instruction } from "../../../filter/bpf/index.ts";
import { r0, r1, r2, r3, r6, r8, r10 } from "../../../filter/bpf/index.ts";
import { ConnectionFlag, connectionFields, TupleFlag } from "../layouts.ts";
import { MapPlace } from "../maps.ts";
import { emitAsk, emitClock, emitConnectionMap, emitConntrack, emitCreate } from "./conntrack.ts";
import {
  type Direction,
  Emission,
  emitRedirect,
  emitStart,
  emitToNode,
  type FamilyEmission,
  Frame,
  type ProgramVariant,
  Skb,
  TcCode,
} from "./emission.ts";
import {
  Config,
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
import { emitRewrite } from "./rewrite.ts";
import { emitBackend, emitReverseNat, emitServiceLookup } from "./service.ts";

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
  emitPodService(e);
  emitConnectionMap(e);
  const places = { isNew: e.at("new"), established: e.at("established"), forward: e.at("forward") };
  const reply = e.at("reply");
  emitConntrack(e, "egress", { ...places, reply, related: places.forward });
  b.label(reply);
  emitReply(e, places.forward);
  // the key is turned now: the packet's destination stands as its source
  emitJudged(e, "egress", places, () => emitIdentityOf(e, e.tupleAt("saddr"), Frame.destinationIdentity));
  b.label(places.forward);
  emitIdentityMark(e);
  b.load("w", r1, r10, Frame.newFlags)
    .alu("and", r1, ConnectionFlag.loopback)
    .jump("jeq", r1, 0, "pass")
    .load("w", r1, r6, Skb.ifindex); // back to the pod that it came from
  emitRedirect(e);
}

/** The Service that the pod speaks to, if it does; a pod that is its own backend sees itself under another address. */
function emitPodService(e: FamilyEmission): void {
  const { b } = e;
  const done = e.at("no service");
  emitServiceLookup(e, true, done);
  emitBackend(e);
  const other = e.at("no loopback");
  e.unlessEqual([r10, Frame.address], [r10, e.tupleAt("saddr")], [r1, r2], other);
  b.store("w", r10, Frame.newFlags, ConnectionFlag.loopback);
  b.label(other);
  emitRewrite(e, "destination");
  b.load("h", r1, r10, Frame.port)
    .store("w", r10, Frame.policyPort, r1)
    .load("w", r1, r10, Frame.newFlags)
    .jump("jeq", r1, 0, done);
  b.loadMapValue(r2, MapPlace.config, e.family === 4 ? Config.loopback4 : Config.loopback6);
  e.copyAddress(r10, Frame.address, r2, 0, r1);
  b.load("h", r1, r10, e.tupleAt("dport")).store("w", r10, Frame.port, r1);
  emitRewrite(e, "source");
  b.label(done);
}

/** The pod answers: what came by way of another frontend goes back as from it, past the node's routing. */
function emitReply(e: FamilyEmission, forward: string): void {
  const { b } = e;
  const nodePort = e.at("reply of a node port");
  b.load("h", r1, r8, connectionFields.flags)
    .jump("jset", r1, ConnectionFlag.nodePort, nodePort)
    .alu("and", r1, ConnectionFlag.loopback)
    .store("w", r10, Frame.newFlags, r1)
    .goto(forward)
    .label(nodePort)
    .load("h", r1, r8, connectionFields.revNat)
    .store("w", r10, Frame.revNat, r1);
  emitReverseNat(e);
  const away = e.at("off the node");
  b.loadMapValue(r8, MapPlace.config, e.family === 4 ? Config.node4 : Config.node6);
  e.unlessEqual([r10, e.tupleAt("daddr")], [r8, 0], [r1, r2], away);
  emitToNode(e);
  b.label(away).loadMapValue(r1, MapPlace.config, Config.uplink).load("w", r1, r1, 0);
  emitRedirect(e);
}

function emitToContainer(e: FamilyEmission): void {
  const { b } = e;
  emitParse(e);
  b.store("w", r10, Frame.revNat, 0).store("w", r10, Frame.newFlags, 0);
  emitClock(e);
  emitConnectionMap(e);
  const places = { isNew: e.at("unknown"), established: e.at("established"), forward: "pass" };
  const reply = e.at("reply");
  emitConntrack(e, "ingress", { ...places, reply, related: "pass" });
  b.label(reply);
  emitToClient(e);
  b.label(places.isNew);
  emitOutgoingEntry(e);
  emitJudged(e, "ingress", { ...places, isNew: e.at("new") }, () => {
    emitEndpointLookup(e, e.tupleAt("saddr"));
    b.jump("jeq", r0, 0, e.drop(Reason.endpointNotReady));
    emitTakeEndpoint(e, Frame.destinationIdentity);
    emitSourceIdentity(e, e.tupleAt("daddr"));
  });
}

/** An answer on its way into the client's pod: from the frontend that the client asked, were it the pod itself. */
function emitToClient(e: FamilyEmission): void {
  const { b } = e;
  const straight = e.at("client is another");
  b.load("h", r1, r8, connectionFields.revNat)
    .jump("jeq", r1, 0, "pass")
    .store("w", r10, Frame.revNat, r1)
    .load("h", r1, r8, connectionFields.flags)
    .alu("and", r1, ConnectionFlag.loopback)
    .jump("jeq", r1, 0, straight);
  e.copyAddress(r10, Frame.address, r10, e.tupleAt("saddr"), r1);
  b.load("h", r1, r10, e.tupleAt("sport")).store("w", r10, Frame.port, r1);
  emitRewrite(e, "destination");
  b.label(straight);
  emitReverseNat(e);
  b.goto("pass");
}

/** What the same connection was when it left a pod or entered the node: of a Service, or the pod's own. */
function emitOutgoingEntry(e: FamilyEmission): void {
  const { b } = e;
  const flags = e.tupleAt("flags");
  const done = e.at("new");
  b.load("b", r1, r10, flags).alu("xor", r1, TupleFlag.in).store("b", r10, flags, r1);
  emitAsk(e);
  b.load("b", r1, r10, flags)
    .alu("xor", r1, TupleFlag.in)
    .store("b", r10, flags, r1)
    .jump("jeq", r0, 0, done)
    .load("h", r1, r0, connectionFields.flags)
    .alu("and", r1, ConnectionFlag.loopback | ConnectionFlag.nodePort)
    .jump("jeq", r1, 0, done)
    .store("w", r10, Frame.newFlags, r1)
    .load("h", r1, r0, connectionFields.revNat)
    .store("w", r10, Frame.revNat, r1);
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
  const create = e.at("create");
  b.label(places.isNew)
    .store("w", r10, Frame.isNew, 1)
    .load("w", r1, r10, Frame.newFlags)
    .jump("jset", r1, ConnectionFlag.loopback, create) // no policy between a pod and itself
    .goto(judge)
    .label(places.established)
    .store("w", r10, Frame.isNew, 0)
    .load("h", r1, r8, connectionFields.flags)
    .jump("jset", r1, ConnectionFlag.loopback, places.forward)
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
  b.label(create);
  emitConnectionMap(e);
  emitCreate(e, direction);
  if (places.forward === "pass") b.goto("pass");
}
