/**
 * The two programs of a pod's host-side interface (bpf/bpf_lxc.c): `cil_from_container` judges what the pod sends by its
 * egress policy, `cil_to_container` what it is sent by its ingress policy. With endpoint routes and legacy host routing, as
 * on AKS, packets cross the node's stack between the two, and the mark carries the sender's identity there.
 */
import { type Instruction, r0, r1, r2, r6, r8, r10 } from "../../../filter/bpf/index.ts";
import { ConnectionFlag, connectionFields, TupleFlag } from "../layouts.ts";
import { MapPlace } from "../maps.ts";
import { emitAsk, emitClock, emitConnectionMap, emitConntrack } from "./conntrack.ts";
import { type FamilyEmission, Frame, type ProgramVariant, Skb } from "./emission.ts";
import { emitHostEgressToPod, emitHostIngress } from "./host.ts";
import {
  Config,
  emitEndpointLookup,
  emitIdentityMark,
  emitIdentityOf,
  emitMarkIsHost,
  emitOwnInterface,
  emitSourceIdentity,
  emitTakeEndpoint,
} from "./identity.ts";
import { emitJudged, type Judged } from "./judgement.ts";
import { emitRedirect, emitToNode, emitToUplink, emitUnlessNode } from "./node.ts";
import { emitParse } from "./parse.ts";
import { emitProgram } from "./program.ts";
import { Reason } from "./reasons.ts";
import { emitRewrite } from "./rewrite.ts";
import { emitBackend, emitReverseNat, emitServiceLookup } from "./service.ts";
import { emitWithoutBackend, withoutBackend } from "./unreachable.ts";

export function fromContainer(variant: ProgramVariant): readonly Instruction[] {
  return emitProgram(variant, "pod", emitFromContainer);
}

export function toContainer(variant: ProgramVariant): readonly Instruction[] {
  return emitProgram(variant, "pod", emitToContainer);
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
  if (e.variant.hostFirewall) e.saveKey();
  emitConnectionMap(e);
  const [isNew, established, forward, reply] = ["new", "established", "forward", "reply"].map((name) =>
    e.at(name),
  ) as [string, string, string, string];
  emitConntrack(e, "egress", { isNew, established, reply, related: forward });
  b.label(reply);
  emitReply(e, forward);
  emitJudged(e, {
    direction: "egress",
    isNew,
    established,
    forward,
    // the key is turned: the packet's destination stands as its source
    identify: () => emitIdentityOf(e, e.tupleAt("saddr"), Frame.destinationIdentity),
    exempt: loopbackExempt(e),
  });
  b.label(forward);
  if (e.variant.hostFirewall) emitToOwnNode(e);
  emitIdentityMark(e);
  b.load("w", r1, r10, Frame.newFlags)
    .alu("and", r1, ConnectionFlag.loopback)
    .jump("jeq", r1, 0, "pass")
    .load("w", r1, r6, Skb.ifindex); // back to the pod that it came from
  emitRedirect(e);
  emitWithoutBackend(e);
}

/** The node itself judges too what its pod may send to it. */
function emitToOwnNode(e: FamilyEmission): void {
  const elsewhere = e.at("not to the node");
  e.restoreKey();
  emitHostIngress(e, { elsewhere, passed: "pass" });
  e.b.label(elsewhere);
}

/** The node itself judges first what it sends to its pod. */
function emitFromOwnNode(e: FamilyEmission): void {
  const other = e.at("not from the node");
  emitMarkIsHost(e, other);
  emitHostEgressToPod(e);
  e.b.label(other);
}

/** The Service that the pod speaks to, if it does; a pod that is its own backend sees itself under another address. */
function emitPodService(e: FamilyEmission): void {
  const { b } = e;
  const done = e.at("no service");
  emitServiceLookup(e, true, done);
  emitBackend(e, withoutBackend(e));
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
  emitUnlessNode(e, "daddr", away);
  emitToNode(e);
  b.label(away);
  emitToUplink(e);
}

function emitToContainer(e: FamilyEmission): void {
  const { b } = e;
  emitParse(e);
  b.store("w", r10, Frame.revNat, 0).store("w", r10, Frame.newFlags, 0);
  emitClock(e);
  if (e.variant.hostFirewall) emitFromOwnNode(e);
  emitConnectionMap(e);
  const [unknown, isNew, established, reply] = ["unknown", "new", "established", "reply"].map((name) =>
    e.at(name),
  ) as [string, string, string, string];
  emitConntrack(e, "ingress", { isNew: unknown, established, reply, related: "pass" });
  b.label(reply);
  emitToClient(e);
  b.label(unknown);
  emitOutgoingEntry(e, isNew);
  emitJudged(e, {
    direction: "ingress",
    isNew,
    established,
    forward: "pass",
    identify: () => {
      emitEndpointLookup(e, e.tupleAt("saddr"));
      b.jump("jeq", r0, 0, e.drop(Reason.endpointNotReady));
      emitTakeEndpoint(e, Frame.destinationIdentity);
      emitSourceIdentity(e, e.tupleAt("daddr"));
    },
    exempt: loopbackExempt(e),
  });
  b.goto("pass");
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
function emitOutgoingEntry(e: FamilyEmission, done: string): void {
  const { b } = e;
  const flags = e.tupleAt("flags");
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

/** No policy stands between a pod and itself. */
function loopbackExempt({ b }: FamilyEmission): NonNullable<Judged["exempt"]> {
  return (state, label) => {
    if (state === "new") b.load("w", r1, r10, Frame.newFlags);
    else b.load("h", r1, r8, connectionFields.flags);
    b.jump("jset", r1, ConnectionFlag.loopback, label);
  };
}
