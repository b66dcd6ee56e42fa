/**
 * What became of a packet that the real kernel was given, read from what came out. Order matters: first "is it the same
 * packet", then "is it an answer to it"; the other way round, a forwarded ICMP error would be taken for a REJECT.
 * Sources of the answers: kernel net/ipv4/netfilter/nf_reject_ipv4.c, net/ipv6/netfilter/nf_reject_ipv6.c.
 */
import { RejectKind } from "../../filter/index.ts";
import { IpProtocol, TcpFlag } from "../../wire/index.ts";

/** A packet that left by a device (`out`) or that the node's own stack accepted (`local`, seen at the end of INPUT). */
export interface KernelOutput {
  readonly kind: "out" | "local";
  /** The device that it left by; of a local packet the one that it came in by. */
  readonly interface: string;
  readonly mark: number;
  readonly bytes: Uint8Array;
}

export interface KernelFate {
  /**
   * `forwarded`: the packet itself left by a device (sent from inside: likewise). `delivered`: the node's stack accepted
   * it. `rejected`: a TCP reset or an "unreachable" came back. `answered`: another ICMP error did, such as time exceeded.
   */
  readonly verdict: "forwarded" | "delivered" | "rejected" | "answered" | "dropped";
  /** Of `rejected`. */
  readonly rejectWith: RejectKind | undefined;
  /** The output that the verdict is about; `undefined` for `dropped`. */
  readonly output: KernelOutput | undefined;
  /** Everything that came out, in order: fragments, answers, packets that passed over loopback on their way. */
  readonly outputs: readonly KernelOutput[];
}

const dropped: KernelFate = { verdict: "dropped", rejectWith: undefined, output: undefined, outputs: [] };

export function readFate(sent: Uint8Array, outputs: readonly KernelOutput[]): KernelFate {
  if (outputs.length === 0) return dropped;
  const own = outputs.filter((output) => isSamePacket(sent, output.bytes));
  const delivered = own.find((output) => output.kind === "local");
  if (delivered !== undefined)
    return { verdict: "delivered", rejectWith: undefined, output: delivered, outputs };
  const [forwarded] = own;
  if (forwarded !== undefined)
    return { verdict: "forwarded", rejectWith: undefined, output: forwarded, outputs };
  for (const output of outputs) {
    const rejectWith = rejectKindOf(output.bytes);
    if (rejectWith !== undefined) return { verdict: "rejected", rejectWith, output, outputs };
  }
  return { verdict: "answered", rejectWith: undefined, output: outputs[0], outputs };
}

interface Transport {
  readonly protocol: number;
  /** Offset of the transport header; the packet's length for a later fragment. */
  readonly at: number;
}

/**
 * A packet on its way keeps its protocol, and the kind of thing that it says. NAT changes addresses and ports, so they
 * tell nothing; the kernel answers no reset with a reset and no ICMP error with one.
 */
function isSamePacket(sent: Uint8Array, out: Uint8Array): boolean {
  if (byte(sent, 0) >>> 4 !== byte(out, 0) >>> 4) return false;
  const [a, b] = [transportOf(sent), transportOf(out)];
  if (a.protocol !== b.protocol) return false;
  if (b.at >= out.length) return true;
  // a fragment without its header says nothing of its kind: an error or a reset that goes back to its source is an answer
  if (a.at >= sent.length) return !(goesBack(sent, out) && isComplaint(b, out));
  switch (a.protocol) {
    case IpProtocol.icmp:
    case IpProtocol.icmpv6:
      return byte(sent, a.at) === byte(out, b.at);
    case IpProtocol.tcp:
      return (byte(sent, a.at + 13) & TcpFlag.rst) === (byte(out, b.at + 13) & TcpFlag.rst);
    default:
      return true;
  }
}

function goesBack(sent: Uint8Array, out: Uint8Array): boolean {
  const [src, dst, size] = byte(sent, 0) >>> 4 === 4 ? [12, 16, 4] : [8, 24, 16];
  return Array.from({ length: size }, (_, i) => byte(sent, src + i) === byte(out, dst + i)).every(Boolean);
}

function isComplaint({ protocol, at }: Transport, bytes: Uint8Array): boolean {
  if (protocol === IpProtocol.tcp) return (byte(bytes, at + 13) & TcpFlag.rst) !== 0;
  if (protocol === IpProtocol.icmpv6) return byte(bytes, at) < 128;
  return protocol === IpProtocol.icmp && [3, 5, 11, 12].includes(byte(bytes, at));
}

const kindsV4: Readonly<Record<number, RejectKind>> = {
  0: RejectKind.netUnreachable,
  1: RejectKind.hostUnreachable,
  2: RejectKind.protoUnreachable,
  3: RejectKind.portUnreachable,
  9: RejectKind.netProhibited,
  10: RejectKind.hostProhibited,
  13: RejectKind.adminProhibited,
};
const kindsV6: Readonly<Record<number, RejectKind>> = {
  0: RejectKind.noRoute,
  1: RejectKind.adminProhibited,
  3: RejectKind.addrUnreachable,
  4: RejectKind.portUnreachable,
  5: RejectKind.policyFail,
  6: RejectKind.rejectRoute,
};

/** What REJECT sends for a kind, read back; `undefined` for any other packet. */
function rejectKindOf(bytes: Uint8Array): RejectKind | undefined {
  const { protocol, at } = transportOf(bytes);
  const [type, code] = [byte(bytes, at), byte(bytes, at + 1)];
  if (protocol === IpProtocol.tcp)
    return byte(bytes, at + 13) & TcpFlag.rst ? RejectKind.tcpReset : undefined;
  if (protocol === IpProtocol.icmp) return type === 3 ? kindsV4[code] : undefined;
  return protocol === IpProtocol.icmpv6 && type === 1 ? kindsV6[code] : undefined;
}

/** Extension headers that stand in front of the transport header (RFC 8200 section 4). */
const extensions: readonly number[] = [0, 43, 44, 60];

function transportOf(bytes: Uint8Array): Transport {
  if (byte(bytes, 0) >>> 4 === 4) {
    const isLaterFragment = (((byte(bytes, 6) & 31) << 8) | byte(bytes, 7)) !== 0;
    return { protocol: byte(bytes, 9), at: isLaterFragment ? bytes.length : (byte(bytes, 0) & 15) * 4 };
  }
  let protocol = byte(bytes, 6);
  let at = 40;
  while (extensions.includes(protocol) && at < bytes.length) {
    const isFragment = protocol === 44;
    const offset = isFragment ? ((byte(bytes, at + 2) << 8) | byte(bytes, at + 3)) >>> 3 : 0;
    protocol = byte(bytes, at);
    if (offset !== 0) return { protocol, at: bytes.length };
    at += isFragment ? 8 : (byte(bytes, at + 1) + 1) * 8;
  }
  return { protocol, at };
}

function byte(bytes: Uint8Array, at: number): number {
  return bytes[at] ?? 0;
}
