/**
 * The policy lookup of each generation (bpf/lib/policy.h): the endpoint's map is asked for the peer's identity (L) and for
 * any (W), and the generation's order picks one. Up to 1.16 the more specific entry wins and a deny is but a flag of the
 * winner; in 1.17 and 1.18 a deny wins, then the proxy's priority, then the longer prefix; from 1.19 on one precedence
 * stands for all of that. Authentication (`auth_type`) is not looked at: AKS has no mutual authentication.
 */
import { type Register, r0, r1, r2, r3, r4, r5, r8, r9, r10 } from "../../../filter/bpf/index.ts";
import { MatchType } from "../events.ts";
import { policyKeyOffsets as keyAt } from "../layouts.ts";
import { MapPlace } from "../maps.ts";
import { type Direction, type FamilyEmission, Frame, Helper, Protocol } from "./emission.ts";
import { Reason } from "./reasons.ts";

const entryAt = { proxyPort: 0, flags: 2, priority: 4, precedence: 4 } as const;
const deny = 1;
/** In G1's flags. */
const anyProtocol = 2;
const anyPort = 4;

export interface PolicyTargets {
  /** An entry allows: `Frame.proxyPort` and `Frame.matchType` are set. */
  readonly allowed: string;
  /** An entry denies; the match type is set. */
  readonly denied: string;
  /** No entry fits. */
  readonly missed: string;
}

/** Judges the packet by the endpoint's policy for one direction; never goes on behind itself. */
export function emitPolicy(e: FamilyEmission, direction: Direction, targets: PolicyTargets): void {
  const { b } = e;
  const [useWild, useExact, second] = [e.fresh("use W"), e.fresh("use L"), e.fresh("look for W")];
  b.store("w", r10, Frame.matchType, MatchType.none);
  emitAlwaysAllowed(e, targets.allowed);
  b.loadMap(r1, MapPlace.policies)
    .mov(r2, r10)
    .alu("add", r2, Frame.endpoint)
    .callHelper(Helper.lookup)
    .jump("jeq", r0, 0, e.drop(Reason.endpointNotReady))
    .mov(r9, r0)
    .store("w", r10, Frame.key + keyAt.prefix, 64)
    .load("w", r1, r10, direction === "egress" ? Frame.destinationIdentity : Frame.sourceIdentity)
    .store("w", r10, Frame.key + keyAt.identity, r1)
    .store("b", r10, Frame.key + keyAt.direction, direction === "egress" ? 1 : 0)
    .load("b", r1, r10, e.tupleAt("protocol"))
    .store("b", r10, Frame.key + keyAt.protocol, r1)
    .load("h", r1, r10, Frame.policyPort)
    .store("h", r10, Frame.key + keyAt.port, r1);
  emitAsk(e);
  b.mov(r8, r0).jump("jeq", r8, 0, second);
  emitShortcut(e, useExact);
  b.label(second).store("w", r10, Frame.key + keyAt.identity, 0);
  emitAsk(e);
  const onlyExact = e.fresh("no W");
  b.jump("jeq", r0, 0, onlyExact).jump("jeq", r8, 0, useWild);
  emitChoice(e, useWild, useExact);
  b.label(onlyExact).jump("jeq", r8, 0, targets.missed).goto(useExact);
  emitUse(
    e,
    { label: useWild, entry: r0, matches: [MatchType.all, MatchType.protocolOnly, MatchType.l4Only] },
    targets,
  );
  emitUse(
    e,
    { label: useExact, entry: r8, matches: [MatchType.l3Only, MatchType.l3Protocol, MatchType.l3L4] },
    targets,
  );
}

/** "Fragmentation needed" (type 3, code 4) passes whatever the policy: path MTU discovery would break. */
function emitAlwaysAllowed(e: FamilyEmission, allowed: string): void {
  if (e.family === 6) return;
  const { b } = e;
  const other = e.fresh("no frag needed");
  b.load("b", r1, r10, e.tupleAt("protocol"))
    .jump("jne", r1, Protocol.icmp, other)
    .load("w", r1, r10, Frame.icmp)
    .jump("jne", r1, 0x0403, other)
    .store("w", r10, Frame.proxyPort, 0)
    .goto(allowed)
    .label(other);
}

function emitAsk({ b }: FamilyEmission): void {
  b.mov(r1, r9).mov(r2, r10).alu("add", r2, Frame.key).callHelper(Helper.lookup);
}

/** Where L alone decides. */
function emitShortcut(e: FamilyEmission, useExact: string): void {
  const { b } = e;
  switch (e.variant.generation) {
    case "G1":
      return;
    case "G2":
      b.load("b", r1, r8, entryAt.flags).jump("jset", r1, deny, useExact);
      return;
    case "G3":
      b.load("w", r1, r8, entryAt.precedence).jump32("jeq", r1, 0xffff_ffff, useExact);
  }
}

/** Both were found: r8 is L, r0 is W. */
function emitChoice(e: FamilyEmission, useWild: string, useExact: string): void {
  const { b } = e;
  switch (e.variant.generation) {
    case "G1":
      emitLadder(e, useWild, useExact);
      return;
    case "G2":
      b.load("b", r1, r0, entryAt.flags)
        .jump("jset", r1, deny, useWild)
        .load("b", r2, r0, entryAt.priority)
        .load("b", r3, r8, entryAt.priority);
      break;
    case "G3":
      b.load("b", r1, r0, entryAt.flags)
        .load("w", r2, r0, entryAt.precedence)
        .load("w", r3, r8, entryAt.precedence);
  }
  b.jump("jgt", r2, r3, useWild)
    .jump("jlt", r2, r3, useExact)
    .load("b", r4, r8, entryAt.flags)
    .alu("rsh", r1, 3)
    .alu("rsh", r4, 3)
    .jump("jgt", r1, r4, useWild)
    .goto(useExact);
}

/** Port, protocol, nothing; on each rung L before W. */
function emitLadder(e: FamilyEmission, useWild: string, useExact: string): void {
  const { b } = e;
  const [anyL, rungL, anyW, rungW] = ["L any", "L rung", "W any", "W rung"].map((name) => e.fresh(name)) as [
    string,
    string,
    string,
    string,
  ];
  b.load("b", r1, r8, entryAt.flags)
    .load("b", r2, r0, entryAt.flags)
    .alu("and", r1, anyProtocol | anyPort)
    .alu("and", r2, anyProtocol | anyPort)
    .alu("rsh", r1, 1)
    .alu("rsh", r2, 1)
    .jump("jset", r1, anyProtocol >> 1, anyL)
    .goto(rungL)
    .label(anyL)
    .mov(r1, 3)
    .label(rungL)
    .jump("jset", r2, anyProtocol >> 1, anyW)
    .goto(rungW)
    .label(anyW)
    .mov(r2, 3)
    .label(rungW)
    .jump("jlt", r2, r1, useWild)
    .goto(useExact);
}

interface Use {
  readonly label: string;
  readonly entry: Register;
  /** Match types for entries of any protocol, of a protocol, of ports. */
  readonly matches: readonly [number, number, number];
}

function emitUse(e: FamilyEmission, { label, entry, matches }: Use, targets: PolicyTargets): void {
  const { b } = e;
  const typed = e.fresh("typed");
  b.label(label).load("b", r1, entry, entryAt.flags).mov(r2, matches[0]);
  if (e.variant.generation === "G1")
    b.jump("jset", r1, anyProtocol, typed)
      .mov(r2, matches[1])
      .jump("jset", r1, anyPort, typed)
      .mov(r2, matches[2]);
  else
    b.mov(r3, r1)
      .alu("rsh", r3, 3)
      .jump("jeq", r3, 0, typed)
      .mov(r2, matches[1])
      .jump("jle", r3, 8, typed)
      .mov(r2, matches[2]);
  b.label(typed)
    .store("w", r10, Frame.matchType, r2)
    .jump("jset", r1, deny, targets.denied)
    .load("h", r5, entry, entryAt.proxyPort)
    .store("w", r10, Frame.proxyPort, r5)
    .goto(targets.allowed);
}
