/**
 * Services as entries of the load balancer's maps (pkg/loadbalancer): frontends with numbered slots of backends, the
 * backends, and the way back from a backend to what the client asked. What is the same on every node is one frozen list;
 * a node adds what its own address and its own endpoints make. Numbers of frontends and backends are hashes of their
 * names, so that they stay when others come and go. Governing source of the choice of backends: the traffic policies, as
 * kube-proxy reads them (`engine/platform`).
 */
import { type Cidr, type Family, formatIp, type Ip } from "../../addr/index.ts";
import { assert, hashText, type Origin } from "../../base/index.ts";
import type { MapEntry } from "../../filter/bpf/index.ts";
import type { TranslatedFrontend } from "../../filter/index.ts";
import type { ClusterState, Node } from "../../k8s/index.ts";
import { type ProxyEndpoint, type ServicePortInfo, servicePorts, viewEndpoints } from "../platform/index.ts";
import { writeAddress } from "./entries.ts";
import {
  backendFields,
  revNatBytes,
  ServiceFlag,
  ServiceFlag2,
  ServiceScope,
  serviceFields,
  serviceKeyOffsets,
  sourceRangeKeyBytes,
} from "./layouts.ts";
import { MapPlace } from "./maps.ts";

/** Entries by place of their map. */
export type EntriesByPlace = ReadonlyMap<number, readonly MapEntry[]>;

export interface ServiceFrontend extends TranslatedFrontend {
  /** A cluster address is nothing that outsiders reach. */
  readonly isForOutsiders: boolean;
}

export interface ServiceEntries {
  readonly frontends: readonly ServiceFrontend[];
  /** The same on all nodes; frozen. */
  readonly shared: EntriesByPlace;
  /** What a node adds; no key is in both. */
  own(node: Node): EntriesByPlace;
}

const made = new WeakMap<object, WeakMap<object, ServiceEntries>>();

/** Made once for the Services and slices of a state. */
export function serviceEntries({
  services,
  endpointSlices,
}: Pick<ClusterState, "services" | "endpointSlices">): ServiceEntries {
  let bySlices = made.get(services);
  if (bySlices === undefined) {
    bySlices = new WeakMap();
    made.set(services, bySlices);
  }
  let entries = bySlices.get(endpointSlices);
  if (entries === undefined) {
    entries = makeEntries({ services, endpointSlices });
    bySlices.set(endpointSlices, entries);
  }
  return entries;
}

const families: readonly Family[] = [4, 6];
const protocolNumbers = { tcp: 6, udp: 17, sctp: 132 } as const;

function makeEntries(objects: Pick<ClusterState, "services" | "endpointSlices">): ServiceEntries {
  const shared = new EntryLists();
  const perNode: ((node: Node, lists: EntryLists) => void)[] = [];
  const frontends: ServiceFrontend[] = [];
  for (const family of families) {
    const ports = servicePorts(objects, family);
    const numbers = numberAll(ports);
    for (const backend of numbers.backends) shared.add(place(family, "backends"), backend.entry);
    for (const port of ports)
      for (const frontend of frontendsOf(port)) {
        frontends.push({
          ip: frontend.ip,
          protocol: protocolNumbers[port.protocol],
          port: frontend.port,
          isForOutsiders: frontend.flags !== 0,
        });
        const write = (lists: EntryLists, ip: Ip, nodeName: string | undefined): void =>
          writeFrontend(lists, { port, frontend, ip, nodeName, family, numbers });
        if (frontend.ip === undefined)
          perNode.push((node, lists) => {
            const ip = node.addresses.find((one) => one.family === family);
            if (ip !== undefined) write(lists, ip, node.name);
          });
        else {
          const { ip } = frontend;
          if (frontend.external === "local" || frontend.internal === "local")
            perNode.push((node, lists) => write(lists, ip, node.name));
          else write(shared, ip, undefined);
        }
      }
  }
  return {
    frontends,
    shared: shared.frozen(),
    own(node) {
      const lists = new EntryLists();
      for (const write of perNode) write(node, lists);
      return lists.frozen();
    },
  };
}

class EntryLists {
  readonly #lists = new Map<number, MapEntry[]>();

  add(at: number, entry: MapEntry): void {
    const list = this.#lists.get(at);
    if (list === undefined) this.#lists.set(at, [entry]);
    else list.push(entry);
  }

  frozen(): EntriesByPlace {
    for (const list of this.#lists.values()) Object.freeze(list);
    return this.#lists;
  }
}

type Reach = "cluster" | "local";

interface Frontend {
  readonly name: string;
  /** `undefined`: each node's own addresses. */
  readonly ip: Ip | undefined;
  readonly port: number;
  readonly flags: number;
  /** Which backends outsiders get, and pods and the nodes themselves. */
  readonly external: Reach;
  readonly internal: Reach;
}

function frontendsOf(port: ServicePortInfo): readonly Frontend[] {
  // the internal policy is the cluster address's alone, the external one that of outsiders
  const cluster: Reach = port.isInternalLocal ? "local" : "cluster";
  const external: Reach = port.isExternalLocal ? "local" : "cluster";
  const named = (kind: string, ip: Ip | undefined, number: number, flags: number): Frontend => ({
    name: `${port.name} ${port.protocol} ${kind} ${ip === undefined ? "" : formatIp(ip)}`,
    ip,
    port: number,
    flags,
    external: flags === 0 ? cluster : external,
    internal: flags === 0 ? cluster : "cluster",
  });
  return [
    named("cluster-ip", port.clusterIP, port.port, 0),
    ...port.externalIPs.map((ip) => named("external-ip", ip, port.port, ServiceFlag.externalIp)),
    ...port.loadBalancerIPs.map((ip) => named("load-balancer", ip, port.port, ServiceFlag.loadBalancer)),
    ...(port.nodePort === undefined
      ? []
      : [named("node-port", undefined, port.nodePort, ServiceFlag.nodePort)]),
  ];
}

interface Numbers {
  readonly backends: readonly { readonly entry: MapEntry }[];
  backendOf(protocol: ServicePortInfo["protocol"], endpoint: ProxyEndpoint): number;
  frontendOf(name: string): number;
}

/** Backends of all ports and ids of all frontends; equal names have equal numbers. */
function numberAll(ports: readonly ServicePortInfo[]): Numbers {
  const backends = new Map<
    string,
    { readonly endpoint: ProxyEndpoint; readonly protocol: number; readonly origin: Origin }
  >();
  const key = (protocol: string, { name }: ProxyEndpoint): string => `${protocol} ${name}`;
  for (const { protocol, endpoints, origin } of ports)
    for (const endpoint of endpoints)
      backends.set(key(protocol, endpoint), { endpoint, protocol: protocolNumbers[protocol], origin });
  const backendIds = numbered([...backends.keys()], 0xffff_ffff);
  const frontendIds = numbered(
    ports.flatMap((port) => frontendsOf(port).map(({ name }) => name)),
    0xffff,
  );
  return {
    backends: [...backends].map(([name, { endpoint, protocol, origin }]) => ({
      entry: backendEntry(backendIds.get(name) ?? 0, endpoint, protocol, origin),
    })),
    backendOf: (protocol, endpoint) => backendIds.get(key(protocol, endpoint)) ?? 0,
    frontendOf: (name) => frontendIds.get(name) ?? 0,
  };
}

/** A number from 1 to `max` for each name: its hash, or the next one free. */
function numbered(names: readonly string[], max: number): ReadonlyMap<string, number> {
  const numbers = new Map<string, number>();
  const taken = new Set<number>();
  for (const name of [...new Set(names)].sort()) {
    assert(taken.size < max, "there are as many numbers as names");
    let number = (hashText(name) % max) + 1;
    while (taken.has(number)) number = (number % max) + 1;
    taken.add(number);
    numbers.set(name, number);
  }
  return numbers;
}

function backendEntry(id: number, { ip, port }: ProxyEndpoint, protocol: number, origin: Origin): MapEntry {
  const at = backendFields(ip.family);
  const value = new Uint8Array(at.bytes);
  const view = new DataView(value.buffer);
  writeAddress(view, at.address, ip);
  view.setUint16(at.port, port);
  value[at.protocol] = protocol;
  return { key: word(id), value, origin };
}

interface FrontendWords {
  readonly port: ServicePortInfo;
  readonly frontend: Frontend;
  readonly ip: Ip;
  /** `undefined`: seen from every node alike. */
  readonly nodeName: string | undefined;
  readonly family: Family;
  readonly numbers: Numbers;
}

/** The frontend's slots in each scope, its way back and its source ranges. */
function writeFrontend(lists: EntryLists, words: FrontendWords): void {
  const { port, frontend, ip, nodeName, family, numbers } = words;
  const view = viewEndpoints(port, nodeName);
  const id = numbers.frontendOf(frontend.name);
  const hasTwoScopes = frontend.external !== frontend.internal;
  const ranged = frontend.flags === ServiceFlag.loadBalancer && port.sourceRanges.length > 0;
  const flags =
    frontend.flags |
    (port.affinitySeconds === undefined ? 0 : ServiceFlag.affinity) |
    (frontend.external === "local" ? ServiceFlag.externalLocal : 0) |
    (ranged ? ServiceFlag.sourceRange : 0);
  const flags2 =
    (frontend.internal === "local" ? ServiceFlag2.internalLocal : 0) |
    (hasTwoScopes ? ServiceFlag2.twoScopes : 0);
  const scopes: readonly (readonly [number, Reach])[] = hasTwoScopes
    ? [
        [ServiceScope.external, frontend.external],
        [ServiceScope.internal, frontend.internal],
      ]
    : [[ServiceScope.external, frontend.external]];
  for (const [scope, reach] of scopes) {
    const backends = view[reach];
    const slot = (number: number, backend: number): MapEntry => ({
      key: serviceKey(ip, frontend.port, number, protocolNumbers[port.protocol], scope),
      value: serviceValue(backend, backends.length, id, flags, flags2),
      origin: port.origin,
    });
    lists.add(place(family, "services"), slot(0, port.affinitySeconds ?? 0));
    backends.forEach((endpoint, i) => {
      lists.add(place(family, "services"), slot(i + 1, numbers.backendOf(port.protocol, endpoint)));
    });
  }
  lists.add(place(family, "reverseNat"), reverseNatEntry(id, ip, frontend.port, port.origin));
  if (!ranged) return;
  for (const { net, origin } of port.sourceRanges)
    lists.add(place(family, "sourceRanges"), sourceRangeEntry(id, net, origin));
}

function serviceKey(ip: Ip, port: number, slot: number, protocol: number, scope: number): Uint8Array {
  const at = serviceKeyOffsets(ip.family);
  const key = new Uint8Array(at.bytes);
  const view = new DataView(key.buffer);
  writeAddress(view, at.address, ip);
  view.setUint16(at.port, port);
  view.setUint16(at.slot, slot, true);
  key[at.protocol] = protocol;
  key[at.scope] = scope;
  return key;
}

function serviceValue(
  backend: number,
  count: number,
  revNat: number,
  flags: number,
  flags2: number,
): Uint8Array {
  const value = new Uint8Array(serviceFields.bytes);
  const view = new DataView(value.buffer);
  view.setUint32(serviceFields.backend, backend, true);
  view.setUint16(serviceFields.count, count, true);
  view.setUint16(serviceFields.revNat, revNat);
  value[serviceFields.flags] = flags;
  value[serviceFields.flags2] = flags2;
  return value;
}

function reverseNatEntry(id: number, ip: Ip, port: number, origin: Origin): MapEntry {
  const key = new Uint8Array(2);
  new DataView(key.buffer).setUint16(0, id);
  const value = new Uint8Array(revNatBytes(ip.family));
  const view = new DataView(value.buffer);
  writeAddress(view, 0, ip);
  view.setUint16(value.length - 2, port);
  return { key, value, origin };
}

function sourceRangeEntry(id: number, net: Cidr, origin: Origin): MapEntry {
  const key = new Uint8Array(sourceRangeKeyBytes(net.family));
  const view = new DataView(key.buffer);
  view.setUint32(0, 32 + net.prefix, true);
  view.setUint16(4, id);
  writeAddress(view, 8, net);
  return { key, value: Uint8Array.of(1), origin };
}

function place(family: Family, map: "services" | "backends" | "reverseNat" | "sourceRanges"): number {
  return MapPlace[`${map}${family}`];
}

function word(number: number): Uint8Array {
  const bytes = new Uint8Array(4);
  new DataView(bytes.buffer).setUint32(0, number, true);
  return bytes;
}
