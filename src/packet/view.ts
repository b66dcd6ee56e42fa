/** Readable getters over a decoded row: what tests, traces and reports use instead of columns. */
import { formatIpv4, formatWords, type Ip } from "../addr/index.ts";
import { printPacket, printTcpFlags, protocolName } from "../wire/index.ts";
import { type PacketBatch, rowBytes } from "./batch.ts";

/** Getters over one row of a batch. */
export interface PacketView {
  readonly family: number;
  /** `tcp`, `udp`, `sctp`, `icmp`... */
  readonly protocol: string;
  readonly src: string;
  readonly dst: string;
  readonly sport: number;
  readonly dport: number;
  /** tcpdump's letters; `none` for other protocols. */
  readonly flags: string;
  readonly mark: number;
  /** The whole packet as one line. */
  readonly line: string;
}

/** Getters over a row, for people and tests; not for loops over batches. */
export function view(batch: PacketBatch, row: number): PacketView {
  return {
    family: batch.family[row]!,
    protocol: protocolName(batch.protocol[row]!),
    src: addressText(batch, batch.src, row),
    dst: addressText(batch, batch.dst, row),
    sport: batch.sport[row]!,
    dport: batch.dport[row]!,
    flags: printTcpFlags(batch.tcpFlags[row]!),
    mark: batch.state.mark[row]!,
    line: printPacket(rowBytes(batch, row)),
  };
}

function addressText(batch: PacketBatch, column: Uint32Array, row: number): string {
  if (batch.family[row] === 4) return formatIpv4(column[row * 4]!);
  return formatWords(6, [...column.subarray(row * 4, row * 4 + 4)]);
}

/** The row's source or destination as an address. */
export function rowAddress(batch: PacketBatch, row: number, side: "src" | "dst"): Ip {
  const column = side === "src" ? batch.src : batch.dst;
  return batch.family[row] === 6
    ? { family: 6, words: [...column.subarray(row * 4, row * 4 + 4)] }
    : { family: 4, words: [column[row * 4]!] };
}
