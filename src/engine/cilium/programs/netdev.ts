/**
 * The two programs of the node's own interface (bpf/bpf_host.c, bpf/lib/nodeport.h). `cil_from_netdev` translates what
 * outsiders send to node ports, external and load balancer addresses: a backend on this node sees the client, one on
 * another node sees this node, which takes the answer and gives it back. `cil_to_netdev` translates what the node's own
 * processes send to Services: Cilium does so at their sockets (cgroup programs), which are not emulated, so that here the
 * packet is translated on its way out, by the uplink or over loopback, and handed to the pod or the process of this node
 * that is the backend.
 */
import { type Instruction, r0, r1, r2, r3, r6, r8, r10 } from "../../../filter/bpf/index.ts";
import {
  ConnectionFlag,
  connectionFields,
  ServiceFlag,
  serviceFields,
  sourceRangeKeyBytes,
} from "../layouts.ts";
import { MapPlace } from "../maps.ts";
import { emitAsk, emitClock, emitConnectionMap, emitPlainEntry } from "./conntrack.ts";
import {
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
import { Config, emitEndpointLookup, emitMarkIsHost, Identity } from "./identity.ts";
import { emitDrops } from "./notify.ts";
import { emitParse } from "./parse.ts";
import { Reason } from "./reasons.ts";
import { emitRewrite } from "./rewrite.ts";
import { emitBackend, emitReverseNat, emitServiceLookup } from "./service.ts";
import { emitReverseSnat, emitSnat } from "./snat.ts";

export function fromNetdev(variant: ProgramVariant): readonly Instruction[] {
  return program(variant, emitFromNetdev);
}

export function toNetdev(variant: ProgramVariant): readonly Instruction[] {
  return program(variant, emitToNetdev);
}

function program(variant: ProgramVariant, emit: (e: FamilyEmission) => void): readonly Instruction[] {
  const emission = new Emission(variant, true);
  const { b } = emission;
  emitStart(emission);
  emit(emission.of(4));
  b.label("v6 start");
  emit(emission.of(6));
  b.label("other protocol").label("pass").mov(r0, TcCode.ok).exit();
  emitDrops(emission);
  return b.build();
}

function emitFromNetdev(e: FamilyEmission): void {
  const { b } = e;
  const noService = e.at("no service");
  emitParse(e);
  b.store("w", r10, Frame.sourceIdentity, e.family === 4 ? Identity.world4 : Identity.world6);
  emitServiceLookup(e, false, noService);
  b.load("b", r1, r8, serviceFields.flags)
    .alu("and", r1, ServiceFlag.nodePort | ServiceFlag.externalIp | ServiceFlag.loadBalancer)
    .jump("jeq", r1, 0, "pass"); // a cluster address is nothing that outsiders reach
  emitClock(e);
  emitSourceRange(e);
  emitBackend(e);
  emitRewrite(e, "destination");
  emitNodePortEntry(e);
  const remote = e.at("remote backend");
  emitEndpointLookup(e, e.tupleAt("daddr"));
  b.jump("jne", r0, 0, "pass");
  emitUnlessNode(e, "daddr", remote);
  b.goto("pass").label(remote);
  emitSnat(e);
  emitToUplink(e);
  b.label(noService);
  emitUnlessNode(e, "daddr", "pass");
  emitClock(e);
  const ownConnection = e.at("own connection");
  emitReverseSnat(e, ownConnection);
  // the frontend that the client asked stands in the connection's entry
  emitOutgoingNodePort(e, "pass");
  emitReverseNat(e);
  emitToUplink(e);
  b.label(ownConnection);
  emitOutgoingNodePort(e, "pass");
  emitReverseNat(e);
  emitToNode(e);
}

function emitToNetdev(e: FamilyEmission): void {
  const { b } = e;
  const noService = e.at("no service");
  emitParse(e);
  emitUnlessNode(e, "saddr", "pass");
  b.store("w", r10, Frame.sourceIdentity, Identity.host);
  emitClock(e);
  emitMarkIsHost(e, noService);
  emitServiceLookup(e, true, noService);
  emitBackend(e);
  emitRewrite(e, "destination");
  emitNodePortEntry(e);
  emitEndpointLookup(e, e.tupleAt("daddr"));
  const [notHere, elsewhere] = [e.at("no pod's"), e.at("elsewhere")];
  b.jump("jeq", r0, 0, notHere).load("w", r1, r0, 0);
  emitRedirect(e);
  b.label(notHere);
  emitUnlessNode(e, "daddr", elsewhere);
  emitToNode(e);
  b.label(elsewhere)
    .loadMapValue(r1, MapPlace.config, Config.uplink)
    .load("w", r1, r1, 0)
    .load("w", r2, r6, Skb.ifindex)
    .jump("jeq", r1, r2, "pass");
  emitRedirect(e);
  b.label(noService);
  emitOutgoingNodePort(e, "pass");
  emitReverseNat(e);
  b.goto("pass");
}

/** Goes to the label unless one of the packet's addresses is the node's. */
function emitUnlessNode(e: FamilyEmission, end: "saddr" | "daddr", label: string): void {
  e.b.loadMapValue(r3, MapPlace.config, e.family === 4 ? Config.node4 : Config.node6);
  e.unlessEqual([r10, e.tupleAt(end)], [r3, 0], [r1, r2], label);
}

/** Load balancer addresses may admit some clients only; r8 names the Service. */
function emitSourceRange(e: FamilyEmission): void {
  const { b } = e;
  const done = e.at("in range");
  b.load("b", r1, r8, serviceFields.flags).alu("and", r1, ServiceFlag.sourceRange).jump("jeq", r1, 0, done);
  e.clear(Frame.value, sourceRangeKeyBytes(e.family));
  b.store("w", r10, Frame.value, 32 + e.addressBytes * 8)
    .load("h", r1, r8, serviceFields.revNat)
    .store("h", r10, Frame.value + 4, r1);
  e.copyAddress(r10, Frame.value + 8, r10, e.tupleAt("saddr"), r1);
  e.lookup(e.place("sourceRanges4", "sourceRanges6"), Frame.value);
  b.jump("jeq", r0, 0, e.drop(Reason.notInSourceRange)).label(done);
}

/** The translated connection's entry, by which the programs after this one know its frontend. */
function emitNodePortEntry(e: FamilyEmission): void {
  e.b.store("w", r10, Frame.newFlags, ConnectionFlag.nodePort);
  emitConnectionMap(e);
  emitPlainEntry(e);
}

/** `Frame.revNat` = the frontend of the connection that the packet answers; goes to the label without one. */
function emitOutgoingNodePort(e: FamilyEmission, otherwise: string): void {
  const { b } = e;
  emitConnectionMap(e);
  emitAsk(e); // the key stands turned: as an outgoing connection's from the other end
  b.jump("jeq", r0, 0, otherwise)
    .load("h", r1, r0, connectionFields.flags)
    .alu("and", r1, ConnectionFlag.nodePort)
    .jump("jeq", r1, 0, otherwise)
    .load("h", r1, r0, connectionFields.revNat)
    .store("w", r10, Frame.revNat, r1)
    .load("w", r1, r10, Frame.now)
    .alu("add", r1, 60)
    .store("w", r0, connectionFields.lifetime, r1);
}

function emitToUplink(e: FamilyEmission): void {
  e.b.loadMapValue(r1, MapPlace.config, Config.uplink).load("w", r1, r1, 0);
  emitRedirect(e);
}
