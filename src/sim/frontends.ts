/**
 * Azure's load balancers: which node a connection to a frontend's address goes to. A new connection is handed to one of
 * the healthy nodes by chance (in Azure by a hash of its addresses and ports) and stays there while the node is healthy.
 */
import { AddressTable, formatIpv4, formatWords } from "../addr/index.ts";
import type { Prng } from "../base/index.ts";
import { IpProtocol, parseIpv4, parseIpv6, readU16 } from "../wire/index.ts";
import type { FrontendPortSpec, FrontendSpec } from "./spec.ts";

const protocolNumber: Readonly<Record<FrontendPortSpec["protocol"], number>> = {
  TCP: IpProtocol.tcp,
  UDP: IpProtocol.udp,
  SCTP: IpProtocol.sctp,
};

export class Frontends {
  readonly #random: Prng;
  /** By the address's number, then by `protocol/port`. */
  #nodes: ReadonlyMap<string, readonly string[]>[] = [];
  #addresses = new AddressTable();
  readonly #connections = new Map<string, string>();

  constructor(random: Prng) {
    this.#random = random;
  }

  set(frontends: readonly FrontendSpec[]): void {
    this.#addresses = new AddressTable();
    for (const [number, { ip }] of frontends.entries()) this.#addresses.set(ip, number);
    this.#nodes = frontends.map(
      ({ ports }) =>
        new Map(
          ports.map(({ protocol, port, nodes }) => [`${protocolNumber[protocol]}/${port}`, nodes] as const),
        ),
    );
  }

  /** An address's words begin at `words[0]`. */
  has(family: number, words: ArrayLike<number>): boolean {
    return this.#addresses.get(family, words) >= 0;
  }

  forget(): void {
    this.#connections.clear();
  }

  /** `undefined`: no such port, or no healthy node behind it. */
  nodeFor(family: number, words: ArrayLike<number>, bytes: Uint8Array): string | undefined {
    const ports = readPorts(bytes);
    if (ports === undefined) return undefined;
    const { protocol, source, destination, sport, dport } = ports;
    const number = this.#addresses.get(family, words);
    const nodes = this.#nodes[number]?.get(`${protocol}/${dport}`) ?? [];
    const key = `${protocol} ${source} ${sport} ${destination} ${dport}`;
    const known = this.#connections.get(key);
    if (known !== undefined && nodes.includes(known)) return known;
    if (nodes.length === 0) return undefined;
    const chosen = this.#random.pick(nodes);
    this.#connections.set(key, chosen);
    return chosen;
  }
}

interface Ports {
  readonly protocol: number;
  readonly source: string;
  readonly destination: string;
  readonly sport: number;
  readonly dport: number;
}

function readPorts(bytes: Uint8Array): Ports | undefined {
  const isV4 = bytes[0]! >>> 4 === 4;
  const v4 = isV4 ? parseIpv4(bytes) : undefined;
  const v6 = isV4 ? undefined : parseIpv6(bytes);
  const ip =
    v4?.ok === true
      ? { ...v4.value, source: formatIpv4(v4.value.src), destination: formatIpv4(v4.value.dst) }
      : v6?.ok === true
        ? { ...v6.value, source: formatWords(6, v6.value.src), destination: formatWords(6, v6.value.dst) }
        : undefined;
  if (ip === undefined || ip.payload.length < 4) return undefined;
  const { protocol, source, destination, payload } = ip;
  return { protocol, source, destination, sport: readU16(payload, 0), dport: readU16(payload, 2) };
}
