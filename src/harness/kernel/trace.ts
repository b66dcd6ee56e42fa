/**
 * The kernel's own account of a packet: which rules it met, told by target TRACE. With nft it is read by
 * `xtables-monitor --trace`, with legacy from the log group that the kernel reports to, by tcpdump (NFLOG link type:
 * attributes in host order, of which one is the text). Where legacy cannot be read, the rules run on nft instead.
 */
import type { ChildProcess } from "node:child_process";
import { readCapture } from "../../capture/index.ts";
import { twoDeviceNode } from "./judged-node.ts";
import {
  type JudgedPacket,
  type JudgedTables,
  type KernelBackend,
  type KernelJudge,
  startKernelJudge,
} from "./kernel-judge.ts";
import { isInstalled } from "./native.ts";

export interface KernelTrace {
  /** The backend that told it. */
  readonly backend: KernelBackend;
  readonly lines: readonly string[];
}

/** What became of the last of the packets, on the two-device node; `undefined` where the tools for it are missing. */
export async function traceLastPacket(
  tables: JudgedTables,
  packets: readonly JudgedPacket[],
  backend: KernelBackend,
): Promise<KernelTrace | undefined> {
  const readers: readonly Reader[] = backend === "legacy" ? [legacyReader, nftReader] : [nftReader];
  for (const reader of readers) {
    if (!isInstalled(reader.command)) continue;
    const lines = await readTrace(tables, packets, reader);
    if (lines.length > 0) return { backend: reader.backend, lines };
  }
  return undefined;
}

interface Reader {
  readonly backend: KernelBackend;
  readonly command: string;
  readonly args: readonly string[];
  read(output: Buffer): readonly string[];
}

const nftReader: Reader = {
  backend: "nft",
  command: "xtables-monitor",
  args: ["--trace"],
  read: (output) =>
    output
      .toString()
      .split("\n")
      .map((line) => line.trim())
      .filter((line) => line !== ""),
};

const legacyReader: Reader = {
  backend: "legacy",
  command: "tcpdump",
  args: ["-U", "--immediate-mode", "-i", "nflog:0", "-w", "-"],
  read: (output) => {
    if (output.length === 0) return [];
    return readCapture(output, "trace").records.flatMap(({ bytes }) => nflogPrefix(bytes) ?? []);
  },
};

/** NFULA_PREFIX (include/uapi/linux/netfilter/nfnetlink_log.h). */
const prefixAttribute = 10;

/** The text that a log message carries. */
function nflogPrefix(bytes: Uint8Array): string | undefined {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  for (let at = 4; at + 4 <= bytes.length; ) {
    const size = view.getUint16(at, true);
    if (size < 4) return undefined;
    if (view.getUint16(at + 2, true) === prefixAttribute)
      return Buffer.from(bytes.subarray(at + 4, at + size))
        .toString()
        .replaceAll("\0", "")
        .trim();
    at += (size + 3) & ~3;
  }
  return undefined;
}

/** Time for a reader to be there, and for its last words to arrive: neither says when. */
const settleSeconds = "0.5";

async function readTrace(
  tables: JudgedTables,
  packets: readonly JudgedPacket[],
  reader: Reader,
): Promise<readonly string[]> {
  const judge = await startKernelJudge({
    backend: reader.backend,
    node: twoDeviceNode(),
    ...(reader.backend === "legacy"
      ? {
          sysctls: {
            "net/netfilter/nf_log/2": "nfnetlink_log",
            "net/netfilter/nf_log/10": "nfnetlink_log",
          },
        }
      : {}),
  });
  try {
    await judge.load({ ...tables, v4: withTrace(tables.v4 ?? ""), v6: withTrace(tables.v6 ?? "") });
    await judge.judge(packets.slice(0, -1));
    return reader.read(await outputDuring(judge, reader, () => judge.judge(packets.slice(-1))));
  } finally {
    await judge.close();
  }
}

async function outputDuring(
  judge: KernelJudge,
  { command, args }: Reader,
  act: () => Promise<unknown>,
): Promise<Buffer> {
  const child: ChildProcess = judge.spawn(command, args);
  const output: Buffer[] = [];
  child.stdout?.on("data", (chunk: Buffer) => output.push(chunk));
  const ended = new Promise((resolve) => child.once("close", resolve));
  await judge.run("sleep", [settleSeconds]);
  await act();
  await judge.run("sleep", [settleSeconds]);
  child.kill("SIGINT");
  await ended;
  return Buffer.concat(output);
}

/** The rules with TRACE in front of all. */
function withTrace(text: string): string {
  const traces = "-A PREROUTING -j TRACE\n-A OUTPUT -j TRACE\n";
  const raw = text.search(/^\*raw$/m);
  if (raw < 0) return `*raw\n${traces}COMMIT\n${text}`;
  const first = raw + text.slice(raw).search(/^(-A|COMMIT)/m);
  return text.slice(0, first) + traces + text.slice(first);
}
