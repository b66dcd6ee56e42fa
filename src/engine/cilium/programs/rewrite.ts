/**
 * Changing one end of a packet (bpf/lib/nat.h, bpf/lib/l4.h): address and port with their checksums, in the packet and in
 * the key. SCTP keeps its port: its checksum covers the whole packet. A later fragment has no port to change.
 */
import { r0, r1, r2, r3, r4, r5, r6, r7, r8, r9, r10 } from "../../../filter/bpf/index.ts";
import { type FamilyEmission, Frame, Helper, linkBytes, Protocol } from "./emission.ts";
import { Reason } from "./reasons.ts";

/** Flags of l4_csum_replace. */
const pseudoHeader = 0x10;
const mangledZero = 0x20;

/**
 * Gives the packet's source or destination the address and port in the frame. The key must stand as the packet does, not
 * turned; it is changed too. Overwrites r0 to r5, r8 and r9.
 */
export function emitRewrite(e: FamilyEmission, side: "source" | "destination"): void {
  const { b } = e;
  const isSource = side === "source";
  const oldAddress = e.tupleAt(isSource ? "saddr" : "daddr");
  const oldPort = e.tupleAt(isSource ? "dport" : "sport"); // ports stand turned
  const [tcp, udp, icmp, transport, network] = ["tcp", "udp", "icmp", "transport", "network"].map((name) =>
    e.fresh(`rewrite ${name}`),
  ) as [string, string, string, string, string];
  b.load("w", r1, r10, Frame.laterFragment)
    .jump("jne", r1, 0, network)
    .load("b", r1, r10, e.tupleAt("protocol"))
    .jump("jeq", r1, Protocol.tcp, tcp)
    .jump("jeq", r1, Protocol.udp, udp);
  if (e.family === 6) b.jump("jeq", r1, Protocol.icmpv6, icmp);
  b.goto(network);
  b.label(tcp).mov(r8, 16).mov(r9, 0).goto(transport);
  b.label(udp).mov(r8, 6).mov(r9, mangledZero);
  b.label(transport).alu("add", r8, r7);
  emitPort(e, oldPort, isSource ? 0 : 2);
  if (e.family === 6) {
    const address = e.fresh("rewrite pseudo header");
    b.goto(address).label(icmp).mov(r8, 2).alu("add", r8, r7).mov(r9, 0).label(address);
  }
  emitPseudoHeader(e, oldAddress);
  b.label(network);
  emitAddress(e, oldAddress, isSource);
  e.copyAddress(r10, oldAddress, r10, Frame.address, r1);
  b.load("h", r1, r10, Frame.port).store("h", r10, oldPort, r1);
}

/** r8: where the checksum is, r9: its flags. */
function emitPort(e: FamilyEmission, oldPort: number, at: number): void {
  const { b } = e;
  b.mov(r1, r6)
    .mov(r2, r8)
    .load("h", r3, r10, oldPort)
    .load("h", r4, r10, Frame.port)
    .mov(r5, r9)
    .alu("or", r5, 2)
    .callHelper(Helper.l4Checksum)
    .jump("jne", r0, 0, e.drop(Reason.writeError));
  emitStore(e, () => b.mov(r2, r7).alu("add", r2, at), Frame.port, 2);
}

function emitPseudoHeader(e: FamilyEmission, oldAddress: number): void {
  const { b } = e;
  if (e.family === 4)
    b.load("w", r3, r10, oldAddress)
      .load("w", r4, r10, Frame.address)
      .mov(r5, r9)
      .alu("or", r5, pseudoHeader | 4);
  else
    b.mov(r1, r10)
      .alu("add", r1, oldAddress)
      .mov(r2, 16)
      .mov(r3, r10)
      .alu("add", r3, Frame.address)
      .mov(r4, 16)
      .mov(r5, 0)
      .callHelper(Helper.checksumDifference)
      .mov(r3, 0)
      .mov(r4, r0)
      .mov(r5, r9)
      .alu("or", r5, pseudoHeader);
  b.mov(r1, r6).mov(r2, r8).callHelper(Helper.l4Checksum).jump("jne", r0, 0, e.drop(Reason.writeError));
}

function emitAddress(e: FamilyEmission, oldAddress: number, isSource: boolean): void {
  const { b } = e;
  if (e.family === 4)
    b.mov(r1, r6)
      .mov(r2, linkBytes + 10)
      .load("w", r3, r10, oldAddress)
      .load("w", r4, r10, Frame.address)
      .mov(r5, 4)
      .callHelper(Helper.l3Checksum)
      .jump("jne", r0, 0, e.drop(Reason.writeError));
  const at = linkBytes + (e.family === 4 ? (isSource ? 12 : 16) : isSource ? 8 : 24);
  emitStore(e, () => b.mov(r2, at), Frame.address, e.addressBytes);
}

function emitStore(e: FamilyEmission, offset: () => void, from: number, bytes: number): void {
  e.b.mov(r1, r6);
  offset();
  e.b
    .mov(r3, r10)
    .alu("add", r3, from)
    .mov(r4, bytes)
    .mov(r5, 0)
    .callHelper(Helper.storeBytes)
    .jump("jne", r0, 0, e.drop(Reason.writeError));
}
