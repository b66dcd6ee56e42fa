/**
 * The host firewall (bpf/lib/host_firewall.h, bpf/bpf_host.c): the node is an endpoint of its own, whose policy is asked of
 * what is addressed to one of its addresses and of what its processes send. Where a packet is asked about: at the uplink
 * both ways, and, with endpoint routes, at the pods' interfaces, for what goes between the node and its own pods. What
 * only passes the node is none of its business, nor is what the node sends to itself. Answers and errors of known
 * connections pass as everywhere.
 *
 * A packet that bears the node's address without its mark is a pod's that was masqueraded: it needs no policy, but an
 * entry, without which its answer would be taken for a stranger's (cilium #13049, #35694).
 */
import { r1, r2, r6, r10 } from "../../../filter/bpf/index.ts";
import { MapPlace } from "../maps.ts";
import { emitConnectionMap, emitConntrack } from "./conntrack.ts";
import { type FamilyEmission, Frame, Protocol, Skb } from "./emission.ts";
import { Config, emitIdentityOf, Identity, MarkMagic } from "./identity.ts";
import { emitJudged } from "./judgement.ts";
import { emitIfUplink } from "./node.ts";
import { Reason } from "./reasons.ts";

export interface HostTargets {
  /** The packet is not one of the node. */
  readonly elsewhere: string;
  readonly passed: string;
}

/** What is addressed to the node: the key stands as the packet does, and is overwritten. */
export function emitHostIngress(e: FamilyEmission, { elsewhere, passed }: HostTargets): void {
  emitIdentityOf(e, e.tupleAt("daddr"), Frame.destinationIdentity);
  emitUnlessHost(e, Frame.destinationIdentity, elsewhere);
  emitTakeHost(e);
  const [isNew, established] = [e.fresh("new to the host"), e.fresh("known to the host")];
  emitConnectionMap(e);
  emitConntrack(e, "ingress", { isNew, established, reply: passed, related: passed });
  emitJudged(e, {
    direction: "ingress",
    isNew,
    established,
    forward: passed,
    // the key is turned: the packet's source stands as its destination
    identify: () => emitIdentityOf(e, e.tupleAt("daddr"), Frame.sourceIdentity),
  });
  e.b.goto(passed);
}

/** What a process of the node sends to a pod of its own; the mark has said so. Goes on behind itself, with the key. */
export function emitHostEgressToPod(e: FamilyEmission): void {
  const passed = e.fresh("the node may");
  e.b.store("w", r10, Frame.sourceIdentity, Identity.host);
  emitHostEgress(e, passed);
  e.b.label(passed);
}

/** What leaves by the uplink with an address of the node's; goes on behind itself, with the key. */
export function emitHostEgressToUplink(e: FamilyEmission, elsewhere: string): void {
  const { b } = e;
  const [leaves, own, passed] = [e.fresh("leaves"), e.fresh("the node's own"), e.fresh("the node may")];
  emitIfUplink(e, leaves);
  b.goto(passed)
    .label(leaves)
    .load("w", r1, r6, Skb.mark)
    .alu("and", r1, MarkMagic.mask)
    .jump("jeq", r1, MarkMagic.translated, passed);
  emitIdentityOf(e, e.tupleAt("saddr"), Frame.sourceIdentity);
  emitUnlessHost(e, Frame.sourceIdentity, elsewhere);
  b.load("w", r1, r6, Skb.mark)
    .alu("and", r1, MarkMagic.mask)
    .jump("jeq", r1, MarkMagic.host, own)
    .store("w", r10, Frame.sourceIdentity, 0)
    .label(own);
  emitHostEgress(e, passed);
  b.label(passed);
}

/** `Frame.sourceIdentity` is the host's, or 0 for what was masqueraded. */
function emitHostEgress(e: FamilyEmission, passed: string): void {
  const [isNew, established, judged] = ["new of the host", "known of the host", "judged"].map((name) =>
    e.fresh(name),
  ) as [string, string, string];
  emitTakeHost(e);
  e.saveKey();
  emitConnectionMap(e);
  emitConntrack(e, "egress", { isNew, established, reply: judged, related: judged });
  emitJudged(e, {
    direction: "egress",
    isNew,
    established,
    forward: judged,
    identify: () => emitIdentityOf(e, e.tupleAt("saddr"), Frame.destinationIdentity),
    exempt: (_, label) => e.b.load("w", r1, r10, Frame.sourceIdentity).jump("jeq", r1, 0, label),
  });
  e.b.label(judged);
  e.restoreKey();
  e.b.goto(passed);
}

/** Types of ICMPv6 that nodes cannot do without: errors, and neighbours, routers and listeners finding one another. */
export const neededIcmp6: readonly (readonly [first: number, last: number])[] = [
  [1, 4],
  [130, 136],
  [141, 143],
  [148, 149],
  [151, 153],
];

/** At the uplink ICMPv6 is told apart by RFC 4890: what is needed passes, echoes are policy's, all else is dropped. */
export function emitHostIcmp6(e: FamilyEmission): void {
  if (e.family === 4) return;
  const { b } = e;
  const done = e.fresh("no icmp to decide");
  const forbidden = e.drop(Reason.forbiddenIcmp);
  b.load("b", r1, r10, e.tupleAt("protocol"))
    .jump("jne", r1, Protocol.icmpv6, done)
    .load("w", r1, r10, Frame.icmp)
    .alu("and", r1, 0xff)
    .jump("jeq", r1, 128, done)
    .jump("jeq", r1, 129, done);
  for (const [first, last] of neededIcmp6) b.jump("jlt", r1, first, forbidden).jump("jle", r1, last, "pass");
  b.goto(forbidden).label(done);
}

/** What cannot be parsed is dropped where it is the node's (by its `end`), and passes where it is not. */
export function emitUnparsed(e: FamilyEmission, end: "saddr" | "daddr"): void {
  const { b } = e;
  const common = e.at("unparsed");
  for (const reason of e.unparsedReasons)
    b.label(e.at(`unparsed ${reason}`))
      .store("w", r10, Frame.reason, reason)
      .goto(common);
  const identity = end === "saddr" ? Frame.sourceIdentity : Frame.destinationIdentity;
  b.label(common);
  if (end === "saddr") {
    const leaves = e.fresh("leaves");
    emitIfUplink(e, leaves);
    b.goto("pass").label(leaves);
  }
  emitIdentityOf(e, e.tupleAt(end), identity);
  emitUnlessHost(e, identity, "pass");
  emitEndpoint(e);
  b.load("w", r1, r10, Frame.reason).goto("drop");
}

function emitUnlessHost({ b }: FamilyEmission, identityAt: number, label: string): void {
  b.load("w", r1, r10, identityAt).jump("jne", r1, Identity.host, label);
}

/** The node's endpoint speaks from here on, of a connection that belongs to no Service. */
function emitTakeHost(e: FamilyEmission): void {
  emitEndpoint(e);
  e.b.store("w", r10, Frame.revNat, 0).store("w", r10, Frame.newFlags, 0);
}

function emitEndpoint({ b }: FamilyEmission): void {
  b.loadMapValue(r2, MapPlace.config, Config.hostEndpoint)
    .load("h", r1, r2, 0)
    .store("w", r10, Frame.endpoint, r1);
}
