/**
 * From packet to connection key (bpf/lib/conntrack.h, bpf/lib/ipv4.h, bpf/lib/ipv6.h). Addresses stand in the key as in
 * the packet, ports the other way round: so the key that is asked first is the reverse one. Fragments after the first
 * have their ports from the table that the first one filled.
 */
import { r0, r1, r2, r3, r4, r5, r6, r7, r10 } from "../../../filter/bpf/index.ts";
import { fragmentKeyOffsets, TupleFlag } from "../layouts.ts";
import { type FamilyEmission, Frame, Helper, linkBytes, Protocol, Skb, tcpMark } from "./emission.ts";
import { Reason } from "./reasons.ts";

/** Key, TCP flags, ICMP type, policy port and r7; goes on behind itself, or drops. */
export function emitParse(e: FamilyEmission): void {
  const { b } = e;
  b.load("w", r2, r6, Skb.data).load("w", r3, r6, Skb.dataEnd);
  if (e.family === 4) emitHeader4(e);
  else emitHeader6(e);
  emitTransport(e);
}

function emitHeader4(e: FamilyEmission): void {
  const { b } = e;
  b.mov(r4, r2)
    .alu("add", r4, linkBytes + 20)
    .jump("jgt", r4, r3, e.headless());
  e.copyAddress(r10, e.tupleAt("saddr"), r2, linkBytes + 12, r4);
  e.copyAddress(r10, e.tupleAt("daddr"), r2, linkBytes + 16, r4);
  b.load("b", r7, r2, linkBytes)
    .alu("and", r7, 0xf)
    .alu("lsh", r7, 2)
    .alu("add", r7, linkBytes)
    .load("b", r5, r2, linkBytes + 9)
    .store("b", r10, e.tupleAt("protocol"), r5)
    .store("b", r10, e.tupleAt("flags"), 0)
    .load("h", r4, r2, linkBytes + 6)
    .alu("and", r4, 0xff3f) // more fragments, or an offset: network order read as the machine's
    .jump("jne", r4, 0, e.at("fragment"));
}

/** Extension headers that are stepped over: hop-by-hop, routing, destination options, authentication; at most four. */
function emitHeader6(e: FamilyEmission): void {
  const { b } = e;
  b.mov(r4, r2)
    .alu("add", r4, linkBytes + 40)
    .jump("jgt", r4, r3, e.headless());
  e.copyAddress(r10, e.tupleAt("saddr"), r2, linkBytes + 8, r4);
  e.copyAddress(r10, e.tupleAt("daddr"), r2, linkBytes + 24, r4);
  b.load("b", r5, r2, linkBytes + 6)
    .store("b", r10, e.tupleAt("flags"), 0)
    .mov(r7, linkBytes + 40);
  const done = e.at("headers done");
  for (let step = 0; step < 4; step++) {
    const skip = e.fresh("extension");
    b.jump("jeq", r5, Protocol.tcp, done)
      .jump("jeq", r5, Protocol.udp, done)
      .jump("jeq", r5, 44, e.at("fragment"))
      .jump("jeq", r5, 0, skip)
      .jump("jeq", r5, 43, skip)
      .jump("jeq", r5, 60, skip)
      .jump("jeq", r5, 51, skip)
      .goto(done)
      .label(skip)
      .mov(r4, r2)
      .alu("add", r4, r7)
      .mov(r1, r4)
      .alu("add", r1, 8)
      .jump("jgt", r1, r3, e.unparsed(Reason.invalidExtension))
      .load("b", r0, r4, 1);
    const options = e.fresh("options");
    const sized = e.fresh("sized");
    b.jump("jne", r5, 51, options) // an authentication header counts words, the others eight bytes
      .alu("add", r0, 2)
      .alu("lsh", r0, 2)
      .goto(sized)
      .label(options)
      .alu("add", r0, 1)
      .alu("lsh", r0, 3)
      .label(sized)
      .load("b", r5, r4, 0)
      .alu("add", r7, r0);
  }
  b.label(done).store("b", r10, e.tupleAt("protocol"), r5);
}

/** r2 packet, r3 its end, r5 protocol, r7 the header's offset. */
function emitTransport(e: FamilyEmission): void {
  const { b } = e;
  const done = e.at("parsed");
  b.alu("add", r2, r7).jump("jeq", r5, Protocol.tcp, e.at("tcp"));
  b.store("w", r10, Frame.tcpFlags, 0);
  b.jump("jeq", r5, Protocol.udp, e.at("ports"));
  if (e.variant.sctp) b.jump("jeq", r5, Protocol.sctp, e.at("ports"));
  b.jump("jne", r5, e.family === 4 ? Protocol.icmp : Protocol.icmpv6, e.unparsed(Reason.unknownTransport));
  emitIcmp(e, done);
  b.label(e.at("ports")).mov(r4, r2).alu("add", r4, 4).jump("jgt", r4, r3, e.unparsed(Reason.invalidHeader));
  b.goto(e.at("read ports"));
  b.label(e.at("tcp"))
    .mov(r4, r2)
    .alu("add", r4, 14)
    .jump("jgt", r4, r3, e.unparsed(Reason.invalidHeader))
    .load("b", r4, r2, 13)
    .alu("or", r4, tcpMark)
    .store("w", r10, Frame.tcpFlags, r4);
  b.label(e.at("read ports"))
    .load("w", r4, r2, 0)
    .store("w", r10, e.tupleAt("dport"), r4)
    .alu("rsh", r4, 16)
    .store("w", r10, Frame.policyPort, r4)
    .goto(done);
  emitFragment(e, done);
  // by way of the frame: what a verifier knows of each way here is one thing afterwards
  b.label(done).store("w", r10, Frame.address, r7).load("w", r7, r10, Frame.address);
}

/** Echoes have their identifier as a port, errors belong to the connection of their addresses. */
function emitIcmp(e: FamilyEmission, done: string): void {
  const { b } = e;
  const [request, reply] = e.family === 4 ? [8, 0] : [128, 129];
  const errors = e.family === 4 ? [3, 11, 12] : [1, 2, 3, 4];
  b.label(e.at("icmp"))
    .mov(r4, r2)
    .alu("add", r4, 8)
    .jump("jgt", r4, r3, e.unparsed(Reason.invalidHeader))
    .store("w", r10, e.tupleAt("dport"), 0)
    .load("h", r4, r2, 0)
    .store("w", r10, Frame.icmp, r4)
    .alu("and", r4, 0xff)
    .mov(r5, r4)
    .alu("lsh", r5, 8)
    .store("w", r10, Frame.policyPort, r5) // the type in network order
    .jump("jeq", r4, request, e.at("echo request"))
    .jump("jeq", r4, reply, e.at("echo reply"));
  for (const type of errors) b.jump("jeq", r4, type, e.at("icmp error"));
  b.goto(done)
    .label(e.at("echo request"))
    .load("h", r4, r2, 4)
    .store("h", r10, e.tupleAt("dport"), r4)
    .goto(done)
    .label(e.at("echo reply"))
    .load("h", r4, r2, 4)
    .store("h", r10, e.tupleAt("sport"), r4)
    .goto(done)
    .label(e.at("icmp error"))
    .store("b", r10, e.tupleAt("flags"), TupleFlag.related)
    .goto(done);
}

/** The first fragment has ports, and leaves them to the others. */
function emitFragment(e: FamilyEmission, done: string): void {
  const { b } = e;
  b.label(e.at("fragment"));
  if (e.family === 6 && !tracksFragments6(e)) {
    b.goto(e.unparsed(Reason.fragmentsUnsupported));
    return;
  }
  const key = fragmentKeyOffsets(e.family);
  const at = (field: keyof typeof key): number => Frame.key + key[field];
  const later = e.at("later fragment");
  e.clear(Frame.key, key.bytes);
  if (e.family === 4)
    b.load("h", r1, r2, linkBytes + 4)
      .store("h", r10, at("id"), r1)
      .alu("and", r4, 0xff1f); // the offset alone
  else
    b.mov(r4, r2)
      .alu("add", r4, r7)
      .mov(r1, r4)
      .alu("add", r1, 8)
      .jump("jgt", r1, r3, e.unparsed(Reason.invalidExtension))
      .load("b", r5, r4, 0)
      .store("b", r10, e.tupleAt("protocol"), r5)
      .load("w", r1, r4, 4)
      .store("w", r10, at("id"), r1)
      .load("h", r4, r4, 2)
      .alu("and", r4, 0xf8ff)
      .alu("add", r7, 8);
  b.store("b", r10, at("protocol"), r5);
  e.copyAddress(r10, at("saddr"), r10, e.tupleAt("saddr"), r1);
  e.copyAddress(r10, at("daddr"), r10, e.tupleAt("daddr"), r1);
  b.store("w", r10, Frame.tcpFlags, 0)
    .jump("jne", r5, Protocol.tcp, e.at("fragment of no tcp"))
    .store("w", r10, Frame.tcpFlags, tcpMark)
    .goto(e.at("fragment with ports"))
    .label(e.at("fragment of no tcp"))
    .jump("jeq", r5, Protocol.udp, e.at("fragment with ports"));
  if (e.variant.sctp) b.jump("jeq", r5, Protocol.sctp, e.at("fragment with ports"));
  b.jump("jne", r5, e.family === 4 ? Protocol.icmp : Protocol.icmpv6, e.unparsed(Reason.unknownTransport))
    .jump("jne", r4, 0, e.unparsed(Reason.invalid)) // big echoes die on their second fragment (cilium #45339)
    .alu("add", r2, r7)
    .goto(e.at("icmp"))
    .label(e.at("fragment with ports"))
    .jump("jne", r4, 0, later)
    .alu("add", r2, r7)
    .mov(r4, r2)
    .alu("add", r4, 4)
    .jump("jgt", r4, r3, e.unparsed(Reason.invalidHeader))
    .load("w", r4, r2, 0)
    .store("w", r10, Frame.value, r4)
    .store("w", r10, e.tupleAt("dport"), r4)
    .loadMap(r1, e.place("fragments4", "fragments6"))
    .mov(r2, r10)
    .alu("add", r2, Frame.key)
    .mov(r3, r10)
    .alu("add", r3, Frame.value)
    .mov(r4, 0)
    .callHelper(Helper.update)
    .goto(e.at("fragment known"))
    .label(later)
    .store("w", r10, Frame.laterFragment, 1);
  e.lookup(e.place("fragments4", "fragments6"), Frame.key);
  b.jump("jeq", r0, 0, e.unparsed(Reason.fragmentNotFound))
    .load("w", r4, r0, 0)
    .store("w", r10, e.tupleAt("dport"), r4)
    .label(e.at("fragment known"))
    .load("w", r4, r10, e.tupleAt("dport"))
    .alu("rsh", r4, 16)
    .store("w", r10, Frame.policyPort, r4)
    .goto(done);
}

/** IPv6 fragments are tracked from 1.18 on (cilium #38110); before, they are dropped. */
function tracksFragments6({ variant }: FamilyEmission): boolean {
  return variant.version === "1.18" || variant.version === "1.19";
}
