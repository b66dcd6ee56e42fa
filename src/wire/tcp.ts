/** TCP segments and options (RFC 9293; window scale and timestamps RFC 7323; SACK RFC 2018). */
import { assert, unreachable } from "../base/index.ts";
import { fault, type Parsed, pad4, parsed, readU16, readU32, writeU16, writeU32 } from "./bytes.ts";
import { finishSum, sumWords } from "./checksum.ts";

/** Bits of the flags field (RFC 9293 section 3.1, RFC 3168). */
export const TcpFlag = { fin: 1, syn: 2, rst: 4, psh: 8, ack: 16, urg: 32, ece: 64, cwr: 128 } as const;

export const TcpField = {
  sport: 0,
  dport: 2,
  seq: 4,
  ack: 8,
  offset: 12,
  flags: 13,
  window: 14,
  checksum: 16,
  urgent: 18,
} as const;

export const tcpHeaderSize = 20;
/** The data offset has four bits. */
const tcpHeaderSizeMax = 60;

/** One TCP option. */
export type TcpOption =
  | { readonly kind: "end" }
  | { readonly kind: "nop" }
  | { readonly kind: "mss"; readonly bytes: number }
  | { readonly kind: "window-scale"; readonly shift: number }
  | { readonly kind: "sack-permitted" }
  | { readonly kind: "sack"; readonly blocks: readonly (readonly [left: number, right: number])[] }
  | { readonly kind: "timestamps"; readonly value: number; readonly echo: number }
  | { readonly kind: "unknown"; readonly type: number; readonly data: Uint8Array };

export interface TcpRepr {
  readonly sport: number;
  readonly dport: number;
  readonly seq: number;
  readonly ack: number;
  /** Bits of `TcpFlag`. */
  readonly flags: number;
  readonly window: number;
  readonly urgent: number;
  /** At most 40 bytes; `emit` fills up with zeros (`end`) to a multiple of four. Nothing may follow `end`. */
  readonly options: readonly TcpOption[];
  readonly payload: Uint8Array;
}

export interface TcpOverrides {
  readonly checksum?: number;
  /** Data offset in 32-bit words. */
  readonly headerWords?: number;
}

export function parseTcp(bytes: Uint8Array, start = 0, end: number = bytes.length): Parsed<TcpRepr> {
  if (end - start < tcpHeaderSize) return fault("truncated");
  const headerSize = (bytes[start + TcpField.offset]! >>> 4) * 4;
  if (headerSize < tcpHeaderSize) return fault("bad-length");
  if (start + headerSize > end) return fault("truncated");
  const options = parseOptions(bytes, start + tcpHeaderSize, start + headerSize);
  if (!options.ok) return options;
  return parsed({
    sport: readU16(bytes, start),
    dport: readU16(bytes, start + TcpField.dport),
    seq: readU32(bytes, start + TcpField.seq),
    ack: readU32(bytes, start + TcpField.ack),
    flags: bytes[start + TcpField.flags]!,
    window: readU16(bytes, start + TcpField.window),
    urgent: readU16(bytes, start + TcpField.urgent),
    options: options.value,
    payload: bytes.slice(start + headerSize, end),
  });
}

function parseOptions(bytes: Uint8Array, start: number, end: number): Parsed<readonly TcpOption[]> {
  const options: TcpOption[] = [];
  for (let at = start; at < end; ) {
    const type = bytes[at]!;
    if (type === 0) {
      options.push({ kind: "end" }); // what follows is padding
      break;
    }
    if (type === 1) {
      options.push({ kind: "nop" });
      at++;
      continue;
    }
    const size = at + 1 < end ? bytes[at + 1]! : 0;
    if (size < 2 || at + size > end) return fault("bad-length");
    options.push(parseOption(type, bytes, at + 2, size - 2));
    at += size;
  }
  return parsed(options);
}

function parseOption(type: number, bytes: Uint8Array, at: number, size: number): TcpOption {
  if (type === 2 && size === 2) return { kind: "mss", bytes: readU16(bytes, at) };
  if (type === 3 && size === 1) return { kind: "window-scale", shift: bytes[at]! };
  if (type === 4 && size === 0) return { kind: "sack-permitted" };
  if (type === 5 && size > 0 && size % 8 === 0) {
    const blocks: [number, number][] = [];
    for (let i = 0; i < size; i += 8) blocks.push([readU32(bytes, at + i), readU32(bytes, at + i + 4)]);
    return { kind: "sack", blocks };
  }
  if (type === 8 && size === 8)
    return { kind: "timestamps", value: readU32(bytes, at), echo: readU32(bytes, at + 4) };
  return { kind: "unknown", type, data: bytes.slice(at, at + size) };
}

/** Bytes of one option, padding not included. */
export function sizeTcpOption(option: TcpOption): number {
  switch (option.kind) {
    case "end":
    case "nop":
      return 1;
    case "mss":
      return 4;
    case "window-scale":
      return 3;
    case "sack-permitted":
      return 2;
    case "sack":
      return 2 + 8 * option.blocks.length;
    case "timestamps":
      return 10;
    case "unknown":
      return 2 + option.data.length;
    default:
      return unreachable(option);
  }
}

/** Bytes that options take up in a header, padding included. */
export function sizeTcpOptions(options: readonly TcpOption[]): number {
  return pad4(options.reduce((size, option) => size + sizeTcpOption(option), 0));
}

export function sizeTcp(repr: TcpRepr): number {
  return tcpHeaderSize + sizeTcpOptions(repr.options) + repr.payload.length;
}

export function emitTcp(
  repr: TcpRepr,
  bytes: Uint8Array,
  start: number,
  pseudoSum: number,
  overrides: TcpOverrides = {},
): number {
  const headerSize = tcpHeaderSize + sizeTcpOptions(repr.options);
  assert(headerSize <= tcpHeaderSizeMax, "TCP options take up more than 40 bytes");
  writeU16(bytes, start, repr.sport);
  writeU16(bytes, start + TcpField.dport, repr.dport);
  writeU32(bytes, start + TcpField.seq, repr.seq);
  writeU32(bytes, start + TcpField.ack, repr.ack);
  bytes[start + TcpField.offset] = (overrides.headerWords ?? headerSize / 4) << 4;
  bytes[start + TcpField.flags] = repr.flags;
  writeU16(bytes, start + TcpField.window, repr.window);
  writeU16(bytes, start + TcpField.checksum, 0);
  writeU16(bytes, start + TcpField.urgent, repr.urgent);
  let at = start + tcpHeaderSize;
  for (const option of repr.options) at = emitOption(option, bytes, at);
  bytes.fill(0, at, start + headerSize);
  bytes.set(repr.payload, start + headerSize);
  const end = start + headerSize + repr.payload.length;
  const checksum = overrides.checksum ?? finishSum(sumWords(bytes, start, end, pseudoSum));
  writeU16(bytes, start + TcpField.checksum, checksum);
  return end - start;
}

function emitOption(option: TcpOption, bytes: Uint8Array, at: number): number {
  const size = sizeTcpOption(option);
  const head = (type: number): void => {
    bytes[at] = type;
    bytes[at + 1] = size;
  };
  switch (option.kind) {
    case "end":
      bytes[at] = 0;
      break;
    case "nop":
      bytes[at] = 1;
      break;
    case "mss":
      head(2);
      writeU16(bytes, at + 2, option.bytes);
      break;
    case "window-scale":
      head(3);
      bytes[at + 2] = option.shift;
      break;
    case "sack-permitted":
      head(4);
      break;
    case "sack":
      head(5);
      option.blocks.forEach(([left, right], i) => {
        writeU32(bytes, at + 2 + 8 * i, left);
        writeU32(bytes, at + 6 + 8 * i, right);
      });
      break;
    case "timestamps":
      head(8);
      writeU32(bytes, at + 2, option.value);
      writeU32(bytes, at + 6, option.echo);
      break;
    case "unknown":
      head(option.type);
      bytes.set(option.data, at + 2);
      break;
    default:
      return unreachable(option);
  }
  return at + size;
}

/** Flags in tcpdump's letters: `S`, `S.`, `P.`, `F.`, `R`, `.`. */
export function printTcpFlags(flags: number): string {
  const letters: readonly (readonly [number, string])[] = [
    [TcpFlag.fin, "F"],
    [TcpFlag.syn, "S"],
    [TcpFlag.rst, "R"],
    [TcpFlag.psh, "P"],
    [TcpFlag.ack, "."],
    [TcpFlag.urg, "U"],
    [TcpFlag.ece, "E"],
    [TcpFlag.cwr, "W"],
  ];
  const text = letters.flatMap(([bit, letter]) => (flags & bit ? [letter] : [])).join("");
  return text === "" ? "none" : text;
}

export function printTcp(repr: TcpRepr): string {
  const length = repr.payload.length;
  const hasSpan = length > 0 || (repr.flags & (TcpFlag.syn | TcpFlag.fin | TcpFlag.rst)) !== 0;
  const seq = hasSpan ? `, seq ${repr.seq}${length > 0 ? `:${(repr.seq + length) >>> 0}` : ""}` : "";
  const ack = repr.flags & TcpFlag.ack ? `, ack ${repr.ack}` : "";
  const options = repr.options.map(printOption).join(",");
  const optionText = options === "" ? "" : `, options [${options}]`;
  const urgent = repr.flags & TcpFlag.urg ? `, urg ${repr.urgent}` : "";
  return `Flags [${printTcpFlags(repr.flags)}]${seq}${ack}, win ${repr.window}${urgent}${optionText}, length ${length}`;
}

function printOption(option: TcpOption): string {
  switch (option.kind) {
    case "end":
      return "eol";
    case "nop":
      return "nop";
    case "mss":
      return `mss ${option.bytes}`;
    case "window-scale":
      return `wscale ${option.shift}`;
    case "sack-permitted":
      return "sackOK";
    case "sack":
      return `sack ${option.blocks.length} ${option.blocks.map(([l, r]) => `{${l}:${r}}`).join("")}`;
    case "timestamps":
      return `TS val ${option.value} ecr ${option.echo}`;
    case "unknown":
      return option.data.length === 0
        ? `unknown-${option.type}`
        : `unknown-${option.type} 0x${[...option.data].map((byte) => byte.toString(16).padStart(2, "0")).join("")}`;
    default:
      return unreachable(option);
  }
}
