/** Helpers on XDP buffers (net/core/filter.c). */

import type { Helper } from "../machine-options.ts";
import { Errno } from "../maps/shape.ts";
import { ethernetHeaderBytes, type PacketBuffer } from "../packet-buffer.ts";
import type { BpfMachine } from "../vm.ts";
import { contextArgument, hasOtherFlags, memoryArgument, u32 } from "./arguments.ts";
import type { HelperEnvironment } from "./environment.ts";

const xdpAborted = 0;
const xdpRedirect = 4;
/** sizeof(struct xdp_frame): kept free at the start of the head-room. */
const xdpFrameBytes = 40;
/** Metadata lengths are a multiple of 4 that fits a byte. */
const metaBytesMax = 252;

export function xdpHelpers(environment: HelperEnvironment): readonly (readonly [number, Helper])[] {
  const onPacket =
    (run: (machine: BpfMachine, packet: PacketBuffer) => number): Helper =>
    (machine) =>
      machine.setResult(run(machine, contextArgument(machine, 1, environment)));
  return [
    [44, onPacket(adjustHead)],
    [54, onPacket(adjustMeta)],
    [65, onPacket(adjustTail)],
    [188, onPacket((_, packet) => packet.length)],
    [189, onPacket((machine, packet) => transfer(machine, packet, false))],
    [190, onPacket((machine, packet) => transfer(machine, packet, true))],
    [
      23,
      (machine) => {
        const hasFlags = hasOtherFlags(machine, 2, 0);
        if (!hasFlags)
          environment.redirects.push({ ifindex: u32(machine, 1), kind: "redirect", ingress: false });
        machine.setResult(hasFlags ? xdpAborted : xdpRedirect);
      },
    ],
  ];
}

function adjustHead(machine: BpfMachine, packet: PacketBuffer): number {
  const offset = machine.low(2);
  const metaBytes = packet.data - packet.meta;
  const data = packet.data + offset;
  if (data < packet.floor + xdpFrameBytes + metaBytes || data > packet.end - ethernetHeaderBytes)
    return -Errno.EINVAL;
  if (metaBytes > 0) packet.memory.bytes.copyWithin(packet.meta + offset, packet.meta, packet.data);
  packet.meta += offset;
  packet.data = data;
  packet.sync();
  return 0;
}

function adjustMeta(machine: BpfMachine, packet: PacketBuffer): number {
  const meta = packet.meta + machine.low(2);
  if (meta < packet.floor + xdpFrameBytes || meta > packet.data) return -Errno.EINVAL;
  const length = packet.data - meta;
  if (length % 4 !== 0 || length > metaBytesMax) return -Errno.EACCES;
  packet.meta = meta;
  packet.sync();
  return 0;
}

function adjustTail(machine: BpfMachine, packet: PacketBuffer): number {
  const end = packet.end + machine.low(2);
  if (end > packet.ceiling || end < packet.data + ethernetHeaderBytes) return -Errno.EINVAL;
  if (end > packet.end) packet.memory.bytes.fill(0, packet.end, end);
  packet.end = end;
  packet.sync();
  return 0;
}

function transfer(machine: BpfMachine, packet: PacketBuffer, isStore: boolean): number {
  const [offset, size] = [u32(machine, 2), u32(machine, 4)];
  const buffer = memoryArgument(machine, 3, size, !isStore);
  if (offset > 0xffff || size > 0xffff) return -Errno.EFAULT;
  const at = packet.at(offset, size);
  if (at < 0) return -Errno.EINVAL;
  if (isStore) packet.memory.bytes.copyWithin(at, buffer, buffer + size);
  else packet.memory.bytes.copyWithin(buffer, at, at + size);
  return 0;
}
