/**
 * The two programs of the node's own interface (bpf/bpf_host.c, bpf/lib/nodeport.h). `cil_from_netdev` translates what
 * outsiders send to node ports, external and load balancer addresses: a backend on this node sees the client, one on
 * another node sees this node, which takes the answer and gives it back. `cil_to_netdev` translates what the node's own
 * processes send to Services: Cilium does so at their sockets (cgroup programs), which are not emulated, so that here the
 * packet is translated on its way out, by the uplink or over loopback, and handed to the pod or the process of this node
 * that is the backend.
 */
import { type Instruction, r0, r1, r8, r10 } from "../../../filter/bpf/index.ts";
import {
  ConnectionFlag,
  connectionFields,
  ServiceFlag,
  serviceFields,
  sourceRangeKeyBytes,
} from "../layouts.ts";
import { emitAsk, emitClock, emitConnectionMap, emitPlainEntry } from "./conntrack.ts";
import { type FamilyEmission, Frame, type ProgramVariant } from "./emission.ts";
import { emitHostEgressToUplink, emitHostIcmp6, emitHostIngress, emitUnparsed } from "./host.ts";
import { emitEndpointLookup, emitMarkIsHost, Identity } from "./identity.ts";
import { emitIfUplink, emitRedirect, emitToNode, emitToUplink, emitUnlessNode } from "./node.ts";
import { emitParse } from "./parse.ts";
import { emitProgram } from "./program.ts";
import { Reason } from "./reasons.ts";
import { emitRewrite } from "./rewrite.ts";
import { emitBackend, emitReverseNat, emitServiceLookup } from "./service.ts";
import { emitReverseSnat, emitSnat } from "./snat.ts";
import { emitWithoutBackend, withoutBackend } from "./unreachable.ts";

export function fromNetdev(variant: ProgramVariant): readonly Instruction[] {
  return emitProgram(variant, "node", emitFromNetdev);
}

export function toNetdev(variant: ProgramVariant): readonly Instruction[] {
  return emitProgram(variant, "node", emitToNetdev);
}

function emitFromNetdev(e: FamilyEmission): void {
  const { b } = e;
  const { hostFirewall } = e.variant;
  const noService = e.at("no service");
  const toStack = hostFirewall ? e.at("to the stack") : "pass";
  emitParse(e);
  if (hostFirewall) emitHostIcmp6(e);
  b.store("w", r10, Frame.sourceIdentity, e.family === 4 ? Identity.world4 : Identity.world6);
  if (hostFirewall) emitClock(e);
  emitServiceLookup(e, false, noService);
  b.load("b", r1, r8, serviceFields.flags)
    .alu("and", r1, ServiceFlag.nodePort | ServiceFlag.externalIp | ServiceFlag.loadBalancer)
    .jump("jeq", r1, 0, toStack); // a cluster address is nothing that outsiders reach
  if (!hostFirewall) emitClock(e);
  emitSourceRange(e);
  emitBackend(e, withoutBackend(e));
  emitRewrite(e, "destination");
  if (hostFirewall) emitBackendPort(e);
  emitNodePortEntry(e);
  const remote = e.at("remote backend");
  emitEndpointLookup(e, e.tupleAt("daddr"));
  b.jump("jne", r0, 0, "pass");
  emitUnlessNode(e, "daddr", remote);
  b.goto(toStack).label(remote);
  emitSnat(e);
  emitToUplink(e);
  b.label(noService);
  emitUnlessNode(e, "daddr", toStack);
  if (!hostFirewall) emitClock(e);
  const ownConnection = e.at("own connection");
  emitReverseSnat(e, ownConnection);
  // the frontend that the client asked stands in the connection's entry
  emitOutgoingNodePort(e, toStack);
  emitReverseNat(e);
  emitToUplink(e);
  b.label(ownConnection);
  emitOutgoingNodePort(e, toStack);
  emitReverseNat(e);
  emitToNode(e);
  emitWithoutBackend(e);
  if (!hostFirewall) return;
  b.label(toStack);
  emitHostIngress(e, { elsewhere: "pass", passed: "pass" });
  emitUnparsed(e, "daddr");
}

function emitToNetdev(e: FamilyEmission): void {
  const { b } = e;
  const { hostFirewall } = e.variant;
  const noService = e.at("no service");
  const onward = hostFirewall ? noService : "pass";
  emitParse(e);
  if (hostFirewall) {
    emitHostIcmp6(e);
    emitClock(e);
  }
  emitUnlessNode(e, "saddr", onward);
  b.store("w", r10, Frame.sourceIdentity, Identity.host);
  if (!hostFirewall) emitClock(e);
  emitMarkIsHost(e, noService);
  emitServiceLookup(e, true, noService);
  emitBackend(e, e.drop(Reason.noBackend)); // at their sockets processes would be refused
  emitRewrite(e, "destination");
  if (hostFirewall) emitBackendPort(e);
  emitNodePortEntry(e);
  emitEndpointLookup(e, e.tupleAt("daddr"));
  const [notHere, elsewhere] = [e.at("no pod's"), e.at("elsewhere")];
  b.jump("jeq", r0, 0, notHere).load("w", r1, r0, 0);
  emitRedirect(e);
  b.label(notHere);
  emitUnlessNode(e, "daddr", elsewhere);
  emitToNode(e);
  b.label(elsewhere);
  emitIfUplink(e, onward);
  emitRedirect(e);
  b.label(noService);
  if (hostFirewall) emitHostEgressToUplink(e, "pass");
  emitOutgoingNodePort(e, "pass");
  emitReverseNat(e);
  b.goto("pass");
  if (hostFirewall) emitUnparsed(e, "saddr");
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

/** Policy for the node sees the backend. */
function emitBackendPort({ b }: FamilyEmission): void {
  b.load("h", r1, r10, Frame.port).store("w", r10, Frame.policyPort, r1);
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
