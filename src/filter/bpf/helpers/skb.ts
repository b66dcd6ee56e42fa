/** Helpers on socket buffers (net/core/filter.c): loads and stores, checksums, room, and where a packet goes. */
import { hashText } from "../../../base/index.ts";
import type { Helper } from "../machine-options.ts";
import { Errno } from "../maps/shape.ts";
import { ethernetHeaderBytes, type PacketBuffer, packetBytesMax } from "../packet-buffer.ts";
import type { BpfMachine } from "../vm.ts";
import { contextArgument, hasOtherFlags, memoryArgument, u32 } from "./arguments.ts";
import { addSums, foldTo16, replaceByDifference, replaceHalf, replaceWord, sumOf } from "./checksum.ts";
import type { HelperEnvironment } from "./environment.ts";

const tcShot = 2;
const tcRedirect = 7;

/** Flags of the checksum helpers. */
const ChecksumFlag = {
  fieldMask: 0xf,
  pseudoHeader: 0x10,
  mangledZero: 0x20,
  markEnforce: 0x40,
  ipv6: 0x80,
} as const;

/** Values of skb->pkt_type that programs may see and set. */
const packetTypeMax = 3;

export function skbHelpers(environment: HelperEnvironment): readonly (readonly [number, Helper])[] {
  const onPacket =
    (run: (machine: BpfMachine, packet: PacketBuffer) => number): Helper =>
    (machine) =>
      machine.setResult(run(machine, contextArgument(machine, 1, environment)));
  return [
    [9, onPacket(storeBytes)],
    [26, onPacket(loadBytes)],
    [68, onPacket(loadBytesRelative)],
    [10, onPacket((machine, packet) => replaceChecksum(machine, packet, false))],
    [11, onPacket((machine, packet) => replaceChecksum(machine, packet, true))],
    [28, checksumDifference],
    [40, onPacket(() => -Errno.ENOTSUPP)], // csum_update: no packet here has a whole-packet checksum from its device
    [32, onPacket(changeType)],
    [38, onPacket(changeTail)],
    [39, onPacket((machine, packet) => (u32(machine, 2) <= packet.length ? 0 : -Errno.ENOMEM))],
    [43, onPacket(changeHead)],
    [34, onPacket((_, packet) => flowHash(packet))],
    [13, onPacket((machine, packet) => cloneRedirect(machine, packet, environment))],
    [23, (machine) => redirect(machine, environment, "redirect", 1)],
    [152, (machine) => redirect(machine, environment, "neigh", 0)],
    [155, (machine) => redirect(machine, environment, "peer", 0)],
  ];
}

function storeBytes(machine: BpfMachine, packet: PacketBuffer): number {
  const size = u32(machine, 4);
  const from = memoryArgument(machine, 3, size);
  if (hasOtherFlags(machine, 5, 3)) return -Errno.EINVAL;
  const at = packet.at(u32(machine, 2), size);
  if (at < 0) return -Errno.EFAULT;
  packet.memory.bytes.copyWithin(at, from, from + size);
  return 0;
}

/** Bytes that cannot be had are zeroes in the program's memory. */
function loadBytes(machine: BpfMachine, packet: PacketBuffer): number {
  return copyOut(machine, packet, packet.at(u32(machine, 2), u32(machine, 4)));
}

function loadBytesRelative(machine: BpfMachine, packet: PacketBuffer): number {
  const offset = u32(machine, 2);
  const header = u32(machine, 5);
  const start = header === 0 ? packet.networkOffset - ethernetHeaderBytes : packet.networkOffset;
  const isGood = offset <= 0xffff && header <= 1;
  return copyOut(machine, packet, isGood ? packet.at(start + offset, u32(machine, 4)) : -1);
}

function copyOut(machine: BpfMachine, { memory }: PacketBuffer, from: number): number {
  const size = u32(machine, 4);
  const to = memoryArgument(machine, 3, size, true);
  if (from < 0) memory.bytes.fill(0, to, to + size);
  else memory.bytes.copyWithin(to, from, from + size);
  return from < 0 ? -Errno.EFAULT : 0;
}

/** l3_csum_replace and l4_csum_replace: a field's new value from what changed under it. */
function replaceChecksum(machine: BpfMachine, packet: PacketBuffer, isTransport: boolean): number {
  const { fieldMask, pseudoHeader, mangledZero, markEnforce, ipv6 } = ChecksumFlag;
  const allowed = isTransport ? fieldMask | pseudoHeader | mangledZero | markEnforce | ipv6 : fieldMask;
  if (hasOtherFlags(machine, 5, allowed)) return -Errno.EINVAL;
  const offset = u32(machine, 2);
  const at = packet.at(offset, 2);
  if (offset > 0xffff || offset % 2 !== 0 || at < 0) return -Errno.EFAULT;
  const { view } = packet.memory;
  const flags = machine.low(5);
  const field = view.getUint16(at, true);
  if ((flags & mangledZero) !== 0 && (flags & markEnforce) === 0 && field === 0) return 0;
  const [from, to] = [machine.low(3), machine.low(4)];
  let value: number;
  switch (flags & fieldMask) {
    case 0:
      if ((from | machine.high(3)) !== 0) return -Errno.EINVAL;
      value = replaceByDifference(field, to);
      break;
    case 2:
      value = isTransport ? replaceWord(field, from & 0xffff, to & 0xffff) : replaceHalf(field, from, to);
      break;
    case 4:
      value = replaceWord(field, from, to);
      break;
    default:
      return -Errno.EINVAL;
  }
  if ((flags & mangledZero) !== 0 && value === 0) value = 0xffff;
  view.setUint16(at, value, true);
  return 0;
}

/** Difference of two buffers' sums, as 16 bits (kernels since 6.13; before, the upper half was left unfolded). */
function checksumDifference(machine: BpfMachine): void {
  const [fromSize, toSize] = [u32(machine, 2), u32(machine, 4)];
  const from = memoryArgument(machine, 1, fromSize);
  const to = memoryArgument(machine, 3, toSize);
  if (((fromSize | toSize) & 3) !== 0) {
    machine.setResult(-Errno.EINVAL);
    return;
  }
  const { bytes } = machine.memory;
  const seed = machine.low(5) >>> 0;
  let sum = seed;
  if (fromSize > 0 && toSize > 0)
    sum = addSums(sumOf(bytes, to, toSize, seed), ~sumOf(bytes, from, fromSize, 0));
  else if (toSize > 0) sum = sumOf(bytes, to, toSize, seed);
  else if (fromSize > 0) sum = ~sumOf(bytes, from, fromSize, ~seed) >>> 0;
  machine.setResult64(foldTo16(sum), 0);
}

function changeType(machine: BpfMachine, packet: PacketBuffer): number {
  const type = u32(machine, 2);
  if (packet.get("pkt_type") > packetTypeMax || type > packetTypeMax) return -Errno.EINVAL;
  packet.set("pkt_type", type);
  return 0;
}

function changeTail(machine: BpfMachine, packet: PacketBuffer): number {
  const length = u32(machine, 2);
  const isBad = hasOtherFlags(machine, 3, 0) || length > packetBytesMax || length < packet.networkOffset;
  if (isBad) return -Errno.EINVAL;
  const end = packet.data + length;
  if (end > packet.end) packet.memory.bytes.fill(0, packet.end, end);
  packet.end = end;
  packet.sync();
  return 0;
}

function changeHead(machine: BpfMachine, packet: PacketBuffer): number {
  const room = u32(machine, 2);
  const isTooLong = packet.length + room > packetBytesMax;
  if (hasOtherFlags(machine, 3, 0) || isTooLong || packet.data - room < packet.floor) return -Errno.EINVAL;
  packet.data -= room;
  packet.meta = packet.data;
  packet.memory.bytes.fill(0, packet.data, packet.data + room);
  packet.networkOffset += room;
  packet.sync();
  return 0;
}

/** Some number that is a function of the packet's network header and ports: the kernel's is keyed at boot. */
function flowHash(packet: PacketBuffer): number {
  const old = packet.get("hash");
  if (old !== 0) return old;
  const start = packet.data + packet.networkOffset;
  const head = packet.memory.bytes.subarray(
    Math.min(start + 9, packet.end),
    Math.min(start + 24, packet.end),
  );
  const hash = hashText([...head].join()) || 1;
  packet.set("hash", hash);
  return hash;
}

function cloneRedirect(machine: BpfMachine, packet: PacketBuffer, { redirects }: HelperEnvironment): number {
  if (hasOtherFlags(machine, 3, 1)) return -Errno.EINVAL;
  const isIngress = (machine.low(3) & 1) !== 0;
  redirects.push({ ifindex: u32(machine, 2), kind: "clone", ingress: isIngress, packet: packet.copy() });
  return 0;
}

function redirect(
  machine: BpfMachine,
  { redirects }: HelperEnvironment,
  kind: "redirect" | "neigh" | "peer",
  flagsMask: number,
): void {
  const flagsRegister = kind === "neigh" ? 4 : 2;
  if (hasOtherFlags(machine, flagsRegister, flagsMask)) {
    machine.setResult(tcShot);
    return;
  }
  redirects.push({ ifindex: u32(machine, 1), kind, ingress: (machine.low(flagsRegister) & 1) !== 0 });
  machine.setResult(tcRedirect);
}
