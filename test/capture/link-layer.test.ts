import { describe, expect, it } from "vitest";
import {
  type CapturedPacket,
  cookedInterface,
  createCaptureReader,
  FrameContent,
  LinkType,
  networkOffset,
} from "../../src/capture/index.ts";
import { bytesOf, join, pcapFile, pcapForms } from "./files.ts";

const ip = Uint8Array.of(0x45, 0, 0, 20);
const macs = new Uint8Array(12);

/** What `ask` says of one frame, and where the frame begins. */
function ofFrame(linkType: number, frame: Uint8Array, ask: (packet: CapturedPacket) => number): number {
  let answer = Number.NaN;
  const packet = (one: CapturedPacket): void => {
    answer = ask(one);
  };
  const record = { seconds: 0, fraction: 0, original: frame.length, data: frame };
  createCaptureReader("f", { packet }).push(pcapFile(pcapForms.nanosecondsLittle, [record], { linkType }));
  return answer;
}

function strip(linkType: number, ...parts: readonly Uint8Array[]): number {
  return ofFrame(linkType, join(parts), (packet) => {
    const at = networkOffset(packet);
    return at < 0 ? at : at - packet.start;
  });
}

const network = (...values: readonly (readonly [1 | 2 | 4, number])[]): Uint8Array =>
  bytesOf(false, ...values);
const no = (content: FrameContent): number => -1 - content;

describe("the network header of a frame", () => {
  it.each([
    ["Ethernet, IPv4", LinkType.ethernet, [macs, network([2, 0x0800]), ip], 14],
    ["Ethernet, IPv6", LinkType.ethernet, [macs, network([2, 0x86dd]), ip], 14],
    ["one VLAN tag", LinkType.ethernet, [macs, network([2, 0x8100], [2, 5], [2, 0x0800]), ip], 18],
    [
      "two tags, 802.1ad",
      LinkType.ethernet,
      [macs, network([2, 0x88a8], [2, 5], [2, 0x8100], [2, 6], [2, 0x0800]), ip],
      22,
    ],
    [
      "SNAP",
      LinkType.ethernet,
      [macs, network([2, 28], [2, 0xaaaa], [1, 3], [1, 0], [2, 0], [2, 0x0800]), ip],
      22,
    ],
    ["ARP", LinkType.ethernet, [macs, network([2, 0x0806]), ip], no(FrameContent.otherProtocol)],
    [
      "spanning tree",
      LinkType.ethernet,
      [macs, network([2, 38], [2, 0x4242], [1, 3]), ip],
      no(FrameContent.otherProtocol),
    ],
    ["a cut frame", LinkType.ethernet, [macs], no(FrameContent.cut)],
    ["a cut tag", LinkType.ethernet, [macs, network([2, 0x8100], [2, 5])], no(FrameContent.cut)],
    ["raw", LinkType.raw, [ip], 0],
    ["raw of BSD", LinkType.rawBsd, [ip], 0],
    ["IPv4", LinkType.ipv4, [ip], 0],
    ["IPv6", LinkType.ipv6, [ip], 0],
    ["cooked", LinkType.linuxSll, [new Uint8Array(14), network([2, 0x0800]), ip], 16],
    ["cooked, version 2", LinkType.linuxSll2, [network([2, 0x86dd]), new Uint8Array(18), ip], 20],
    ["cooked, cut", LinkType.linuxSll2, [network([2, 0x86dd])], no(FrameContent.cut)],
    ["null, little endian", LinkType.null, [bytesOf(true, [4, 2]), ip], 4],
    ["null, big endian, macOS' IPv6", LinkType.null, [bytesOf(false, [4, 30]), ip], 4],
    ["loop", LinkType.loop, [bytesOf(false, [4, 2]), ip], 4],
    ["loop with another family", LinkType.loop, [bytesOf(false, [4, 7]), ip], no(FrameContent.otherProtocol)],
    ["radiotap", 127, [ip], no(FrameContent.unknownLink)],
  ] as const)("%s", (_, linkType, parts, expected) => {
    expect(strip(linkType, ...parts)).toBe(expected);
  });

  it("of cooked frames comes with the number of the interface", () => {
    const frame = join([network([2, 0x0800], [2, 0], [4, 7]), new Uint8Array(12), ip]);
    expect(ofFrame(LinkType.linuxSll2, frame, cookedInterface)).toBe(7);
    expect(ofFrame(LinkType.ethernet, join([macs, network([2, 0x0800]), ip]), cookedInterface)).toBe(0);
  });
});
