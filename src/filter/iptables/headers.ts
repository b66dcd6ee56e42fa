/**
 * Transport headers as the kernel's matches see them: `skb_header_pointer` needs so many bytes after the network header
 * and asks nothing else of them, so a header that `decode` calls malformed may still be read here. Source: kernel
 * include/linux/skbuff.h (skb_header_pointer), net/ipv4/ip_input.c (the packet ends at its total length).
 */
import { DecodeStatus, type PacketBatch, packetEnd } from "../../packet/index.ts";
import { walkExtensions } from "../../wire/index.ts";

/** Where a row's transport header begins in `batch.bytes`; -1 in a later fragment or where there is none. */
export function transportStart(batch: PacketBatch, row: number): number {
  const start = batch.offset[row]!;
  const known = batch.transport[row]!;
  if (known !== 0) return start + known;
  const status = batch.status[row];
  if (status !== DecodeStatus.ok && status !== DecodeStatus.malformedTransport) return -1;
  if (batch.family[row] === 4) return start + (batch.bytes[start]! & 15) * 4;
  const walk = walkExtensions(batch.bytes, start, packetEnd(batch, row));
  return walk.ok && walk.value.fragmentOffset === 0 ? start + walk.value.offset : -1;
}

/** As `transportStart`, or -1 when fewer than `sizeBytes` bytes follow. */
export function transportWith(batch: PacketBatch, row: number, sizeBytes: number): number {
  const at = transportStart(batch, row);
  return at >= 0 && at + sizeBytes <= packetEnd(batch, row) ? at : -1;
}

/** Offset of a fragment in bytes; 0 for a whole packet or a first fragment. */
export function fragmentOffset(batch: PacketBatch, row: number): number {
  if (batch.status[row] !== DecodeStatus.laterFragment) return 0;
  const start = batch.offset[row]!;
  const { bytes } = batch;
  if (batch.family[row] === 4) return (((bytes[start + 6]! << 8) | bytes[start + 7]!) & 0x1fff) * 8;
  const walk = walkExtensions(bytes, start, packetEnd(batch, row));
  return walk.ok ? walk.value.fragmentOffset : 0;
}
