/**
 * Elements of sets as text. Ranges and prefixes are expanded as the tool and the kernel expand them: hosts of `ip`
 * dimensions one by one, a range of a `net` dimension into the fewest prefixes, ports one by one; the product of all.
 * Source: ipset(8); kernel net/netfilter/ipset/ip_set_hash_*.c (uadt).
 */
import { type Cidr, cidrOf, formatWords, type Ip, ipAdd, parseCidr, parseIp } from "../../addr/index.ts";
import { IpProtocol } from "../../wire/index.ts";
import { parseProtocol, protocolText } from "../protocols.ts";
import { parsePort, parseU32 } from "../words.ts";
import { icmpPortText, isIcmp, parseIcmpPort } from "./icmp-names.ts";
import type { IpsetEntry, IpsetRepr } from "./repr.ts";
import { shapeOf } from "./shape.ts";

/** Elements that one line may stand for (IPSET_MAX_RANGE). */
export const elementsMax: number = 1 << 20;

/** What could not be read of an element, in words. */
export class ElementFault {
  readonly message: string;

  constructor(message: string) {
    this.message = message;
  }
}

type Piece = Partial<IpsetEntry>;

/** The entries that the text stands for. */
export function parseElement(
  text: string,
  { type, family, netmask }: Pick<IpsetRepr, "type" | "family" | "netmask">,
): readonly IpsetEntry[] | ElementFault {
  const { parts, isBitmap } = shapeOf(type);
  const texts = text.split(",");
  if (texts.length !== parts.length)
    return new ElementFault(`an element of ${type} has ${parts.length} parts: ${text}`);
  let entries: readonly IpsetEntry[] = [{}];
  for (let i = 0; i < parts.length; i++) {
    const part = parts[i];
    const own = texts[i] ?? "";
    const isSecond = i > 0;
    let pieces: readonly Piece[] | string;
    if (part === "ip" || part === "net") {
      const nets = part === "ip" ? parseHosts(own, family, netmask) : parseNets(own, family);
      pieces = typeof nets === "string" ? nets : nets.map((net) => (isSecond ? { net2: net } : { net }));
    } else if (part === "port") pieces = isBitmap ? parsePlainPorts(own) : parsePorts(own);
    else if (part === "iface") pieces = parseInterface(own);
    else pieces = parseMark(own);
    if (typeof pieces === "string") return new ElementFault(pieces);
    if (entries.length * pieces.length > elementsMax)
      return new ElementFault(`the element stands for more than ${elementsMax} members: ${text}`);
    const [only] = pieces;
    entries =
      pieces.length === 1
        ? entries.map((entry) => ({ ...entry, ...only }))
        : entries.flatMap((entry) => pieces.map((piece) => ({ ...entry, ...piece })));
  }
  return entries;
}

interface Span {
  readonly from: Ip;
  readonly to: Ip;
}

/** `a`, `a-b`, `a/length`. Ranges and prefixes are an IPv4 form where single members are kept. */
function parseSpan(text: string, family: 4 | 6): Span | Cidr | undefined {
  const [low = "", high, ...rest] = text.split("-");
  if (rest.length > 0) return undefined;
  if (high !== undefined) {
    const [from, to] = [parseIp(low), parseIp(high)];
    if (from?.family !== family || to?.family !== family) return undefined;
    return { from, to };
  }
  const host = parseIp(text);
  const net = host === undefined ? parseCidr(text) : cidrOf(host, host.family === 4 ? 32 : 128);
  return net?.family === family ? net : undefined;
}

function parseHosts(text: string, family: 4 | 6, netmask: number | undefined): readonly Cidr[] | string {
  const span = parseSpan(text, family);
  if (span === undefined) return `not an IPv${family} address: ${text}`;
  const host = family === 4 ? 32 : 128;
  if ("prefix" in span && span.prefix === host) return [span];
  if (family === 6) return `one IPv6 address, not a range: ${text}`;
  const [from, to] = "prefix" in span ? bounds(span) : [span.from.words[0] ?? 0, span.to.words[0] ?? 0];
  const [low, high] = from <= to ? [from, to] : [to, from];
  // With a netmask one member stands for a whole network.
  const step = 2 ** (32 - (netmask ?? 32));
  const first = Math.floor(low / step) * step;
  if ((high - first) / step > elementsMax)
    return `the range holds more than ${elementsMax} addresses: ${text}`;
  const hosts: Cidr[] = [];
  for (let word = first; word <= high; word += step) hosts.push({ family, words: [word], prefix: host });
  return hosts;
}

function bounds({ words, prefix }: Cidr): readonly [number, number] {
  const first = words[0] ?? 0;
  return [first, first + 2 ** (32 - prefix) - 1];
}

function parseNets(text: string, family: 4 | 6): readonly Cidr[] | string {
  const span = parseSpan(text, family);
  if (span === undefined) return `not an IPv${family} address or prefix: ${text}`;
  if ("prefix" in span) return [span];
  if (family === 6) return `an IPv6 prefix, not a range: ${text}`;
  const [from, to] = [span.from.words[0] ?? 0, span.to.words[0] ?? 0];
  const [low, high] = from <= to ? [from, to] : [to, from];
  const nets: Cidr[] = [];
  let at: Ip = { family: 4, words: [low] };
  for (let word = low; word <= high; ) {
    let prefix = 32;
    while (prefix > 0 && word % 2 ** (33 - prefix) === 0 && word + 2 ** (33 - prefix) - 1 <= high) prefix--;
    nets.push(cidrOf(at, prefix));
    word += 2 ** (32 - prefix);
    if (word <= high) at = ipAdd({ family: 4, words: [0] }, word);
  }
  return nets;
}

/** `tcp:80`, `80` (TCP), `tcp:80-90`, `icmp:8/0`, `icmp:echo-request`, `gre:0`. */
function parsePorts(text: string): readonly Piece[] | string {
  const colon = text.indexOf(":");
  const protocol = colon < 0 ? IpProtocol.tcp : parseProtocol(text.slice(0, colon));
  const value = colon < 0 ? text : text.slice(colon + 1);
  if (protocol === undefined || protocol === 0)
    return `protocol is not known: ${text.slice(0, Math.max(0, colon))}`;
  if (isIcmp(protocol)) {
    const port = parseIcmpPort(protocol, value);
    return port === undefined ? `not an ICMP type: ${value}` : [{ protocol, port }];
  }
  const range = parsePortRange(value);
  if (range === undefined) return `not a port or range of ports: ${value}`;
  return portsBetween(range).map((port) => ({ protocol, port }));
}

function parsePlainPorts(text: string): readonly Piece[] | string {
  const range = parsePortRange(text.replace(/^(tcp|udp):/, ""));
  return range === undefined
    ? `not a port or range of ports: ${text}`
    : portsBetween(range).map((port) => ({ port }));
}

function parsePortRange(text: string): readonly [number, number] | undefined {
  const [low = "", high = low, ...rest] = text.split("-");
  const [from, to] = [parsePort(low), parsePort(high)];
  if (from === undefined || to === undefined || rest.length > 0) return undefined;
  return from <= to ? [from, to] : [to, from];
}

function portsBetween([from, to]: readonly [number, number]): readonly number[] {
  return Array.from({ length: to - from + 1 }, (_, i) => from + i);
}

const interfaceNameMax = 15;

function parseInterface(text: string): readonly Piece[] | string {
  if (text.startsWith("physdev:")) return `bridge ports are not supported: ${text}`;
  if (text === "" || text.length > interfaceNameMax)
    return `an interface name has 1 to ${interfaceNameMax} characters: ${text}`;
  return [{ iface: text }];
}

function parseMark(text: string): readonly Piece[] | string {
  const mark = parseU32(text);
  return mark === undefined ? `not a mark of 32 bits: ${text}` : [{ mark }];
}

/** The key of one element as ipset(8) writes it: `10.0.0.0/8`, `10.0.0.1,tcp:80`, a set's name. */
export function elementText(entry: IpsetEntry): string {
  if (entry.set !== undefined) return entry.set;
  const parts: string[] = [];
  if (entry.net !== undefined) parts.push(netText(entry.net));
  if (entry.port !== undefined) parts.push(portText(entry.protocol, entry.port));
  if (entry.iface !== undefined) parts.push(entry.iface);
  if (entry.mark !== undefined) parts.push(`0x${entry.mark.toString(16).padStart(8, "0")}`);
  if (entry.net2 !== undefined) parts.push(netText(entry.net2));
  return parts.join(",");
}

function netText({ family, words, prefix }: Cidr): string {
  const address = formatWords(family, words);
  return prefix === (family === 4 ? 32 : 128) ? address : `${address}/${prefix}`;
}

function portText(protocol: number | undefined, port: number): string {
  if (protocol === undefined) return String(port);
  return `${protocolText(protocol)}:${isIcmp(protocol) ? icmpPortText(protocol, port) : port}`;
}
