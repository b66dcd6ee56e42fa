/**
 * One case on the emulator, compared with what the kernel did. What the kernel draws on its own, the port that NAT takes,
 * the emulator is told, and it says whether the kernel was free to take it.
 */
import { formatIp } from "../../addr/index.ts";
import { createPrng } from "../../base/index.ts";
import { drawPort, type PortQuestion } from "../../filter/netfilter/index.ts";
import { IpProtocol, NextHeader, printPacket, readU16, readWords, TcpFlag } from "../../wire/index.ts";
import { type EmulatedFate, EmulatedNode, type KernelBackend, type KernelFate } from "../kernel/index.ts";
import { compareState } from "./table-state.ts";
import { worlds } from "./table-world.ts";
import type { JudgedCase } from "./tables.ts";

export interface CaseDifference {
  /** In what became of a packet, or in what all of them left behind. */
  readonly of: "packet" | "state";
  /** Of the packet. */
  readonly index: number;
  /** What each did with it. */
  readonly kernel: string;
  readonly ours: string;
  /** The packet and both, one below the other. */
  readonly text: string;
}

export interface CaseComparison {
  /** Packets whose fates were compared: all, unless they differ or nobody knows what the kernel drew. */
  readonly compared: number;
  readonly difference: CaseDifference | undefined;
}

export type NodeMaker = (...args: ConstructorParameters<typeof EmulatedNode>) => EmulatedNode;

const emulated: NodeMaker = (...args) => new EmulatedNode(...args);

/** Up to the first packet whose fate differs, if any; then what all of them left behind. `makeNode`: another emulator. */
export function compareCase(
  { tables, packets, fates, state }: JudgedCase,
  backend: KernelBackend,
  makeNode: NodeMaker = emulated,
): CaseComparison {
  const chooser = new PortFollower();
  const node = makeNode(tables, backend, { choosePort: (question) => chooser.choose(question) });
  for (const [index, packet] of packets.entries()) {
    const fate = fates[index];
    if (fate === undefined) break;
    chooser.follow(fate);
    const own = node.judge(packet);
    if (chooser.fault === undefined && emulatedText(own, hex) === kernelText(fate, hex)) continue;
    // rules that ask for a port that the kernel drew and did not show cannot be followed
    if (chooser.hasGuessed) return { compared: index, difference: undefined };
    const [ours, theirs] = [emulatedText(own, printed), kernelText(fate, printed)];
    const why = chooser.fault === undefined ? "" : `\n  ${chooser.fault}`;
    const text = `${packet.from} ${printPacket(packet.bytes)}\n  kernel ${theirs}\n  ours   ${ours}${why}`;
    return {
      compared: index + 1,
      difference: { of: "packet", index, kernel: theirs, ours: ours + why, text },
    };
  }
  const compared = Math.min(packets.length, fates.length);
  const left = state === undefined || chooser.hasGuessed ? undefined : compareState(state, node);
  if (left === undefined) return { compared, difference: undefined };
  const [, kernel = "", ours = ""] = left.split("\n").map((line) => line.trim());
  return { compared, difference: { of: "state", index: compared - 1, kernel, ours, text: left } };
}

/** Answers NAT's question for a port with the one that the kernel took. */
class PortFollower {
  /** The kernel took a port that it was not free to take. */
  fault: string | undefined;
  /** A port was drawn that the kernel's outcome does not show. */
  hasGuessed = false;
  #bytes: Uint8Array | undefined;

  follow({ verdict, output }: KernelFate): void {
    this.fault = undefined;
    this.#bytes = verdict === "forwarded" || verdict === "delivered" ? output?.bytes : undefined;
  }

  choose(question: PortQuestion): number {
    const { manip, low, count, offset, isFree } = question;
    if (offset !== undefined || count === 1) return drawPort(question, createPrng(1));
    const port = this.#bytes === undefined ? undefined : portIn(this.#bytes, manip);
    if (port !== undefined && port >= low && port < low + count && isFree(port, 0)) return port;
    if (port === undefined) this.hasGuessed = true;
    else this.fault = `port ${port} is taken, or not in ${low}-${low + count - 1}`;
    return drawPort(question, createPrng(1));
  }
}

/** ICMP types whose identifier NAT rewrites; of others it draws one that no packet shows (nf_nat_proto.c, icmp_manip_pkt). */
const shownTypes: readonly number[] = [0, 8, 13, 14, 15, 16, 17, 18];
const shownTypes6: readonly number[] = [128, 129];

/** The port (or identifier) of a side, if there is one; in a datagram in pieces it stands in the first. */
function portIn(bytes: Uint8Array, manip: "src" | "dst"): number | undefined {
  const isV4 = (bytes[0] ?? 0) >>> 4 === 4;
  const isV6Fragment = !isV4 && bytes[6] === NextHeader.fragment;
  const at = isV4 ? 20 : isV6Fragment ? 48 : 40;
  const protocol = bytes[isV4 ? 9 : isV6Fragment ? 40 : 6];
  if (protocol === IpProtocol.icmp || protocol === IpProtocol.icmpv6)
    return (isV4 ? shownTypes : shownTypes6).includes(bytes[at] ?? 0) ? readU16(bytes, at + 4) : undefined;
  return readU16(bytes, at + (manip === "src" ? 0 : 2));
}

/** How a packet is written: for comparing, or for people too. */
type PacketText = (bytes: Uint8Array) => string;

const hex: PacketText = (bytes) => Buffer.from(withoutIdentification(bytes)).toString("hex");
const printed: PacketText = (bytes) => `[${printPacket(bytes)} ${hex(bytes)}]`;

function kernelText({ verdict, output, outputs }: KernelFate, text: PacketText): string {
  const left = outputs.filter(({ kind }) => kind === "out").map(({ bytes }) => bytes);
  switch (verdict) {
    case "forwarded":
      // left for the node itself, and never came: what became of it there is the last word
      if (output?.interface === "lo") return answersText(left.slice(1), text);
      return `forwarded ${output?.interface} mark ${markText(output?.mark)} ${packetsText(left, text)}`;
    case "delivered":
      return `delivered mark ${markText(output?.mark)} ${packetsText(output === undefined ? [] : [output.bytes], text)}`;
    case "rejected":
    case "answered":
    case "dropped":
      return answersText(left, text);
  }
}

const answersText = (answers: readonly Uint8Array[], text: PacketText): string =>
  answers.length === 0 ? "dropped" : `answered ${packetsText(answers.map(withoutDrawn), text)}`;

function emulatedText({ verdict, interface: name, mark, packets }: EmulatedFate, text: PacketText): string {
  switch (verdict) {
    case "forwarded":
      return `forwarded ${name} mark ${markText(mark)} ${packetsText(packets, text)}`;
    case "delivered":
      return `delivered mark ${markText(mark)} ${packetsText(packets, text)}`;
    case "answered":
    case "dropped":
      return answersText(packets, text);
  }
}

const markText = (mark: number | undefined): string => (mark ?? 0).toString(16);

const packetsText = (packets: readonly Uint8Array[], text: PacketText): string => packets.map(text).join(" ");

/**
 * What no model can know of an answer: an ICMP error's identification (with the header's checksum), its flow label, and
 * the checksum of a reset that the node sends to itself or answers itself: it is left to a device that there is none of.
 */
function withoutDrawn(bytes: Uint8Array): Uint8Array {
  const copy = bytes.slice();
  const isV4 = (copy[0] ?? 0) >>> 4 === 4;
  const at = isV4 ? 20 : 40;
  const protocol = copy[isV4 ? 9 : 6];
  if (isV4 && protocol === IpProtocol.icmp) copy.fill(0, 4, 6).fill(0, 10, 12);
  if (!isV4) copy.fill(0, 1, 4);
  if (protocol === IpProtocol.tcp) {
    const dst = formatIp({ family: isV4 ? 4 : 6, words: readWords(copy, isV4 ? 16 : 24, isV4 ? 1 : 4) });
    if (dst === worlds[isV4 ? 4 : 6].node) copy.fill(0, at + 16, at + 18);
  }
  const quoted = at + 8;
  const isQuotedReset =
    copy[quoted + (isV4 ? 9 : 6)] === IpProtocol.tcp && ((copy[quoted + at + 13] ?? 0) & TcpFlag.rst) !== 0;
  if (protocol !== IpProtocol.tcp && isQuotedReset)
    copy.fill(0, at + 2, at + 4).fill(0, quoted + at + 16, quoted + at + 18);
  return copy;
}

/** An IPv6 fragment's identification is drawn by the node that sends it. */
function withoutIdentification(bytes: Uint8Array): Uint8Array {
  const isV6Fragment = (bytes[0] ?? 0) >>> 4 === 6 && bytes[6] === NextHeader.fragment;
  return isV6Fragment ? bytes.slice().fill(0, 44, 48) : bytes;
}
