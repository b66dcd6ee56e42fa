/** What does it cost to read the header columns of a packet that filters ask for, from its bytes? */
import { hashText } from "../src/base/index.ts";
import {
  append,
  clearBatch,
  createBatch,
  decode,
  icmpEcho,
  type PacketBatch,
  sctp,
  tcp,
  udp,
} from "../src/packet/index.ts";
import { optionsHeader, TcpFlag } from "../src/wire/index.ts";
import type { BenchmarkFile } from "./benchmark.ts";

const ends = (family: 4 | 6, i: number): { src: string; dst: string; sport: number; dport: number } => ({
  src: family === 4 ? `10.0.${i % 7}.${(i % 250) + 1}` : `fd00::${(i % 999) + 1}`,
  dst: family === 4 ? `10.1.0.${(i % 240) + 1}` : `fd00:1::${(i % 777) + 1}`,
  sport: 32_768 + (i % 28_000),
  dport: 80,
});

/** TCP:UDP:SCTP 80:15:5. */
function mixed(family: 4 | 6, i: number): Uint8Array {
  const fields = ends(family, i);
  if (i % 20 < 16) return tcp({ ...fields, flags: TcpFlag.syn, options: [{ kind: "mss", bytes: 1460 }] });
  if (i % 20 < 19) return udp(fields);
  return sctp({ ...fields, verificationTag: 1, chunks: [{ kind: "cookie-ack" }] });
}

const kinds: Readonly<Record<string, (i: number) => Uint8Array>> = {
  "IPv4 mixed": (i) => mixed(4, i),
  "IPv6 mixed": (i) => mixed(6, i),
  "IPv6 extended": (i) => udp({ ...ends(6, i), extensions: [optionsHeader(0), optionsHeader(60)] }),
  "IPv4 echo": (i) => icmpEcho({ ...ends(4, i), identifier: i, sequence: 1 }),
};

function filled(make: (i: number) => Uint8Array, rows: number): PacketBatch {
  const batch = createBatch(rows);
  for (let i = 0; i < rows; i++) append(batch, make(i));
  return batch;
}

/** Mean size of a packet. */
function bytesOf(batch: PacketBatch): number {
  return Math.round(batch.size.reduce((sum, size) => sum + size) / batch.length);
}

export const decodeHeaders: BenchmarkFile = {
  name: "decode",
  question:
    "What does it cost to read a packet's header columns from its bytes, and to copy it into a batch first?",
  prepare(size) {
    const rows = size === "full" ? 1024 : 64;
    const batches = Object.entries(kinds).map(([name, make]) => ({ name, batch: filled(make, rows) }));
    const packets = Array.from({ length: rows }, (_, i) => mixed(4, i));
    const copied = createBatch(rows);
    return {
      unit: `decodes ${rows} packets`,
      cases: [
        ...batches.map(({ name, batch }) => ({ name, run: () => decode(batch) })),
        {
          name: "copy + decode",
          run: () => {
            clearBatch(copied);
            for (const packet of packets) append(copied, packet);
            decode(copied);
          },
        },
      ],
      facts: {
        rows,
        ...Object.fromEntries(batches.map(({ name, batch }) => [`${name}, bytes`, bytesOf(batch)])),
      },
      resultHash: () =>
        hashText(
          [...batches.map(({ batch }) => batch), copied]
            .map(({ status, protocol, src, dst, sport, dport, transport }) =>
              [status, protocol, src, dst, sport, dport, transport]
                .map((column) => column.join(","))
                .join(" "),
            )
            .join("\n"),
        ).toString(16),
    };
  },
};
