/**
 * What is known of a node beside its tables: addresses, interfaces and routes, as `ip -j addr`, `ip -j route` (iproute2,
 * man ip-address, ip-route: main table) and `podwire compile`'s `node.json` tell them.
 */
import { type Cidr, cidrOf, type Ip, parseCidr, parseIp } from "../../addr/index.ts";
import { InputError } from "../../base/index.ts";
import type { InterfaceAddress } from "../../filter/index.ts";
import type { DumpText } from "../dump.ts";

export interface NodeFactsInterface {
  readonly name: string;
  readonly addresses: readonly InterfaceAddress[];
  readonly isLoopback: boolean;
}

export interface NodeFactsRoute {
  readonly net: Cidr;
  /** `undefined`: packets there are thrown away (blackhole, unreachable, prohibit). */
  readonly interface: string | undefined;
}

export interface DumpedNode {
  /** The node's own: packets to them go through INPUT, from them through OUTPUT. */
  readonly addresses: readonly Ip[];
  readonly interfaces: readonly NodeFactsInterface[];
  /** Empty: not known. */
  readonly routes: readonly NodeFactsRoute[];
}

export interface NodeTexts {
  /** Addresses as words. */
  readonly local: readonly string[];
  readonly addresses?: DumpText | undefined;
  readonly routes: readonly DumpText[];
  readonly node?: DumpText | undefined;
}

/** @throws InputError for what is none of these documents. */
export function readDumpedNode({ local, addresses, routes, node }: NodeTexts): DumpedNode {
  const parts = [
    { addresses: local.map((word) => addressOf(word, "--local")), interfaces: [], routes: [] },
    ...(addresses === undefined ? [] : [readAddresses(addresses)]),
    ...routes.map(readRoutes),
    ...(node === undefined ? [] : [readNode(node)]),
  ];
  return {
    addresses: parts.flatMap((part) => part.addresses),
    interfaces: parts.flatMap((part) => part.interfaces),
    routes: parts.flatMap((part) => part.routes),
  };
}

/** `ip -j addr`: `[{ ifname, flags, addr_info: [{ local, prefixlen }] }]`. */
function readAddresses(file: DumpText): DumpedNode {
  const interfaces = listOf(file, parsed(file)).flatMap((entry): readonly NodeFactsInterface[] => {
    const name = entry["ifname"];
    if (typeof name !== "string") return []; // older iproute2 prints empty objects for what it filters out
    const infos = entry["addr_info"] === undefined ? [] : listOf(file, entry["addr_info"]);
    const addresses = infos.map((info) => ({
      ...addressOf(info["local"], file.name),
      prefix: typeof info["prefixlen"] === "number" ? info["prefixlen"] : 32,
    }));
    const flags = entry["flags"];
    return [{ name, addresses, isLoopback: Array.isArray(flags) && flags.includes("LOOPBACK") }];
  });
  return { addresses: interfaces.flatMap((one) => one.addresses), interfaces, routes: [] };
}

/** `ip -j route`, `ip -j -6 route`: `[{ dst, dev }]`; `type` names what is no way on; `nexthops` are several. */
function readRoutes(file: DumpText): DumpedNode {
  const routes = listOf(file, parsed(file)).flatMap((entry): readonly NodeFactsRoute[] => {
    const { dst, dev, type, nexthops, gateway, via, prefsrc } = entry as Readonly<Record<string, unknown>>;
    if (typeof dst !== "string") return [];
    if (typeof type === "string" && ["local", "broadcast", "multicast", "anycast"].includes(type)) return [];
    const hops = nexthops === undefined ? [] : listOf(file, nexthops);
    const device = dev ?? hops[0]?.["dev"];
    const isV6 = [dst, gateway, prefsrc, via].some((word) => typeof word === "string" && word.includes(":"));
    return [
      {
        net: prefixOf(dst, isV6 || isLinkLocalGateway(hops), file.name),
        interface: typeof device === "string" && !isRefusal(type) ? device : undefined,
      },
    ];
  });
  return { addresses: [], interfaces: [], routes };
}

function isRefusal(type: unknown): boolean {
  return type === "blackhole" || type === "unreachable" || type === "prohibit" || type === "throw";
}

function isLinkLocalGateway(hops: readonly Readonly<Record<string, unknown>>[]): boolean {
  return hops.some(({ gateway }) => typeof gateway === "string" && gateway.includes(":"));
}

/** What `podwire compile` writes beside a node's tables. */
function readNode(file: DumpText): DumpedNode {
  const value = parsed(file);
  const node = typeof value === "object" && value !== null ? (value as Record<string, unknown>) : {};
  const named = listOf(file, node["interfaces"]).map((entry) => ({
    index: Number(entry["index"]),
    name: String(entry["name"]),
    addresses: [],
    isLoopback: entry["link"] === "loopback",
  }));
  const addresses = Array.isArray(node["addresses"]) ? node["addresses"] : [];
  return {
    addresses: addresses.map((word: unknown) => addressOf(word, file.name)),
    interfaces: named,
    routes: listOf(file, node["routes"]).map((entry) => ({
      net: prefixOf(String(entry["to"]), String(entry["to"]).includes(":"), file.name),
      interface: named.find(({ index }) => index === entry["interface"])?.name,
    })),
  };
}

function parsed({ name, text }: DumpText): unknown {
  try {
    return JSON.parse(text);
  } catch (error) {
    throw fault(name, `no JSON: ${error instanceof Error ? error.message : String(error)}`);
  }
}

function listOf(file: DumpText, value: unknown): readonly Readonly<Record<string, unknown>>[] {
  const isList = Array.isArray(value) && value.every((entry) => typeof entry === "object" && entry !== null);
  if (!isList) throw fault(file.name, "a list of objects was expected, as `ip -j` prints it");
  return value;
}

function addressOf(word: unknown, file: string): Ip {
  const ip = typeof word === "string" ? parseIp(word) : undefined;
  if (ip === undefined) throw fault(file, `${String(word)} is no address`);
  return ip;
}

/** A prefix, a single address, or `default`. */
function prefixOf(word: string, isV6: boolean, file: string): Cidr {
  if (word === "default")
    return isV6 ? cidrOf({ family: 6, words: [0, 0, 0, 0] }, 0) : cidrOf({ family: 4, words: [0] }, 0);
  if (word.includes("/")) {
    const net = parseCidr(word);
    if (net === undefined) throw fault(file, `${word} is no prefix`);
    return net;
  }
  const ip = addressOf(word, file);
  return cidrOf(ip, ip.family === 4 ? 32 : 128);
}

function fault(file: string, message: string): InputError {
  return new InputError([{ code: "syntax", path: "", file, message }]);
}
