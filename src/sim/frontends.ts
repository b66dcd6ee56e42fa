/**
 * Azure's load balancers: which node a connection to a frontend's address goes to. A new connection is handed to one of
 * the healthy nodes by chance (in Azure by a hash of its addresses and ports) and stays there while the node is healthy.
 */
import { formatIp } from "../addr/index.ts";
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
  /** By address, then by `protocol/port`. */
  #nodes = new Map<string, ReadonlyMap<string, readonly string[]>>();
  readonly #connections = new Map<string, string>();

  constructor(random: Prng) {
    this.#random = random;
  }

  set(frontends: readonly FrontendSpec[]): void {
    this.#nodes = new Map(
      frontends.map(({ ip, ports }) => [
        formatIp(ip),
        new Map(
          ports.map(({ protocol, port, nodes }) => [`${protocolNumber[protocol]}/${port}`, nodes] as const),
        ),
      ]),
    );
  }

  has(address: string): boolean {
    return this.#nodes.has(address);
  }

  forget(): void {
    this.#connections.clear();
  }

  /** `undefined`: no such port, or no healthy node behind it. */
  nodeFor(address: string, bytes: Uint8Array): string | undefined {
    const ports = readPorts(bytes);
    if (ports === undefined) return undefined;
    const { protocol, source, sport, dport } = ports;
    const nodes = this.#nodes.get(address)?.get(`${protocol}/${dport}`) ?? [];
    const key = `${protocol} ${source} ${sport} ${address} ${dport}`;
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
  readonly sport: number;
  readonly dport: number;
}

function readPorts(bytes: Uint8Array): Ports | undefined {
  const isV4 = bytes[0]! >>> 4 === 4;
  const v4 = isV4 ? parseIpv4(bytes) : undefined;
  const v6 = isV4 ? undefined : parseIpv6(bytes);
  const ip =
    v4?.ok === true
      ? { ...v4.value, source: formatIp({ family: 4, words: [v4.value.src] }) }
      : v6?.ok === true
        ? { ...v6.value, source: formatIp({ family: 6, words: v6.value.src }) }
        : undefined;
  if (ip === undefined || ip.payload.length < 4) return undefined;
  const { protocol, source, payload } = ip;
  return { protocol, source, sport: readU16(payload, 0), dport: readU16(payload, 2) };
}
