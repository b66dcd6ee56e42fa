/**
 * The answer to who asks for a Service without a backend (`service-no-backend-response: reject`, the default since 1.16;
 * bpf/lib/lb.h, generate_icmp4_reply): the packet becomes an ICMP error about itself, port unreachable, from the address
 * that was asked, and leaves by the interface that it came from. At a pod's that is the way to the pod: its ingress policy
 * is asked about the error, which belongs to no connection that it knows (cilium #33041). ICMPv6 errors quote as few bytes
 * as those of IPv4; Cilium's quote up to 1,232.
 */
import { type Register, r0, r1, r2, r3, r4, r5, r6, r8, r10 } from "../../../filter/bpf/index.ts";
import { type FamilyEmission, Frame, Helper, linkBytes, Protocol, Skb } from "./emission.ts";
import { emitRedirect } from "./node.ts";
import { Reason } from "./reasons.ts";

/** Of the frame's length, whatever the packet's is. */
const quotedMax = 64;
const icmpBytes = 8;
/** Of what is sent; Linux's default. */
const hopLimit = 64;

/** Where to go with a packet to a Service without a backend: before 1.16 such are dropped. */
export function withoutBackend(e: FamilyEmission): string {
  return e.variant.version === "1.14" ? e.drop(Reason.noBackend) : e.at("no backend");
}

/** What stands at that label; the key's addresses stand as the packet's do. Never goes on behind itself. */
export function emitWithoutBackend(e: FamilyEmission): void {
  if (e.variant.version === "1.14") return;
  const { b } = e;
  b.label(e.at("no backend"));
  const ipBytes = e.family === 4 ? 20 : 40;
  const [link, ip] = [Frame.answer + 2, Frame.answer + 16]; // so that the IP header is aligned
  const icmp = ip + ipBytes;
  const whole = e.fresh("short frame");
  b.load("w", r8, r6, Skb.len).jump("jle", r8, quotedMax, whole).mov(r8, quotedMax).label(whole);
  emitLoad(e, 0, Frame.pseudo, linkBytes);
  for (const [to, from] of [
    [link, Frame.pseudo + 6],
    [link + 6, Frame.pseudo],
  ] as const)
    for (const at of [0, 2, 4]) b.load("h", r1, r10, from + at).store("h", r10, to + at, r1);
  b.load("h", r1, r10, Frame.pseudo + 12).store("h", r10, link + 12, r1);
  emitResize(e, Helper.changeTail, () => b.mov(r2, quotedMax + linkBytes));
  emitLoad(e, linkBytes, Frame.quoted, quotedMax);
  emitResize(e, Helper.changeHead, () => b.mov(r2, ipBytes + icmpBytes));
  if (e.family === 4) emitHeader4(e, ip);
  else emitHeader6(e, ip);
  b.store("w", r10, icmp, e.family === 4 ? 0x0303 : 0x0401).store("w", r10, icmp + 4, 0);
  emitSum(e, Frame.quoted, quotedMax, 0);
  emitSum(e, icmp, icmpBytes, r0);
  if (e.family === 6) {
    emitSum(e, ip + 8, 32, r0);
    emitSum(e, Frame.pseudo, 8, r0);
  }
  emitFold(e, icmp + 2);
  b.mov(r1, r6)
    .mov(r2, 0)
    .mov(r3, r10)
    .alu("add", r3, link)
    .mov(r4, linkBytes + ipBytes + icmpBytes)
    .mov(r5, 0)
    .callHelper(Helper.storeBytes)
    .jump("jne", r0, 0, e.drop(Reason.writeError));
  emitResize(e, Helper.changeTail, () => b.mov(r2, r8).alu("add", r2, linkBytes + ipBytes + icmpBytes));
  b.load("w", r1, r6, Skb.ifindex);
  emitRedirect(e);
}

function emitHeader4(e: FamilyEmission, ip: number): void {
  const { b } = e;
  b.store("b", r10, ip, 0x45)
    .load("b", r1, r10, Frame.quoted + 1) // the type of service is the packet's
    .store("b", r10, ip + 1, r1)
    .mov(r1, r8)
    .alu("add", r1, 20 + icmpBytes)
    .bigEndian(r1, 16)
    .store("h", r10, ip + 2, r1)
    .store("w", r10, ip + 4, 0)
    .store("w", r10, ip + 8, hopLimit | (Protocol.icmp << 8));
  e.copyAddress(r10, ip + 12, r10, e.tupleAt("daddr"), r1);
  e.copyAddress(r10, ip + 16, r10, e.tupleAt("saddr"), r1);
  emitSum(e, ip, 20, 0);
  emitFold(e, ip + 10);
}

/** And the part of the pseudo header behind the addresses. */
function emitHeader6(e: FamilyEmission, ip: number): void {
  const { b } = e;
  b.store("w", r10, ip, 0x60)
    .mov(r1, r8)
    .alu("add", r1, icmpBytes)
    .bigEndian(r1, 16)
    .store("h", r10, ip + 4, r1)
    .store("b", r10, ip + 6, Protocol.icmpv6)
    .store("b", r10, ip + 7, hopLimit)
    .store("h", r10, Frame.pseudo, 0)
    .store("h", r10, Frame.pseudo + 2, r1)
    .store("w", r10, Frame.pseudo + 4, Protocol.icmpv6 << 24);
  e.copyAddress(r10, ip + 8, r10, e.tupleAt("daddr"), r1);
  e.copyAddress(r10, ip + 24, r10, e.tupleAt("saddr"), r1);
}

/** Packet bytes into the frame. */
function emitLoad(e: FamilyEmission, from: number, to: number, bytes: number): void {
  e.b
    .mov(r1, r6)
    .mov(r2, from)
    .mov(r3, r10)
    .alu("add", r3, to)
    .mov(r4, bytes)
    .callHelper(Helper.loadBytes)
    .jump("jne", r0, 0, e.drop(Reason.invalid));
}

/** `size` puts the helper's argument into r2. */
function emitResize(e: FamilyEmission, helper: number, size: () => void): void {
  e.b.mov(r1, r6);
  size();
  e.b.mov(r3, 0).callHelper(helper).jump("jne", r0, 0, e.drop(Reason.writeError));
}

/** r0 = the sum of frame bytes, added to another. */
function emitSum({ b }: FamilyEmission, at: number, bytes: number, seed: Register | 0): void {
  b.mov(r5, seed)
    .mov(r1, 0)
    .mov(r2, 0)
    .mov(r3, r10)
    .alu("add", r3, at)
    .mov(r4, bytes)
    .callHelper(Helper.checksumDifference);
}

/** Writes the checksum that r0 is the sum of. */
function emitFold({ b }: FamilyEmission, at: number): void {
  for (let step = 0; step < 2; step++)
    b.mov(r1, r0).alu32("rsh", r1, 16).alu("and", r0, 0xffff).alu("add", r0, r1);
  b.alu("xor", r0, 0xffff).store("h", r10, at, r0);
}
