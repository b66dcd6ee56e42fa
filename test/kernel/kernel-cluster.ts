/**
 * A whole cluster played by the real kernel: one namespace a node, each with the tables of `compile`, and packets carried
 * between them as the virtual network carries them. Hosts outside and the load balancer are this file's.
 */
import { formatIp, type Ip, parseIp } from "../../src/addr/index.ts";
import type { Prng } from "../../src/base/index.ts";
import { saveIpsets } from "../../src/filter/ipset/index.ts";
import { saveRuleset } from "../../src/filter/iptables/index.ts";
import type { EmulatedCluster } from "../../src/harness/index.ts";
import { compileCluster } from "../../src/harness/index.ts";
import {
  judgedNodeOf,
  type KernelBackend,
  type KernelJudge,
  startKernelJudge,
} from "../../src/harness/kernel/index.ts";
import { type ConnectionAttempt, firstPacket } from "../../src/sim/index.ts";
import { readIp, replyTo } from "../../src/sim/judge.ts";
import { readU16 } from "../../src/wire/index.ts";

/** Where a packet ended: who got it, as which bytes, and by which nodes it came. */
export interface Arrival {
  readonly receiver: string | undefined;
  readonly bytes: Uint8Array;
  readonly nodes: readonly string[];
}

/** kube-proxy's switch for node ports on localhost. */
const sysctls = { "net/ipv4/conf/all/route_localnet": 1 };

export class KernelCluster {
  readonly #cluster: EmulatedCluster;
  readonly #judges: ReadonlyMap<string, KernelJudge>;
  readonly #random: Prng;
  readonly #balanced = new Map<string, string>();

  constructor(cluster: EmulatedCluster, judges: ReadonlyMap<string, KernelJudge>, random: Prng) {
    this.#cluster = cluster;
    this.#judges = judges;
    this.#random = random;
  }

  static async start(cluster: EmulatedCluster, backend: KernelBackend, random: Prng): Promise<KernelCluster> {
    const { state, selection, topology } = cluster;
    const judges = new Map<string, KernelJudge>();
    const compiled = compileCluster(state, selection);
    for (const spec of topology.spec.nodes) {
      const endpoints = topology.spec.endpoints.filter(({ node }) => node === spec.name);
      const judge = await startKernelJudge({ backend, node: judgedNodeOf(spec, endpoints), sysctls });
      judges.set(spec.name, judge);
      const tables = compiled.get(spec.name)?.tables.iptables;
      if (tables === undefined) throw new Error(`${spec.name} has no iptables`);
      await judge.load({
        v4: saveRuleset(tables.v4),
        v6: saveRuleset(tables.v6),
        sets: saveIpsets(tables.sets.values()),
      });
    }
    return new KernelCluster(cluster, judges, random);
  }

  judge(node: string): KernelJudge {
    const judge = this.#judges.get(node);
    if (judge === undefined) throw new Error(`no node ${node}`);
    return judge;
  }

  async close(): Promise<void> {
    for (const judge of this.#judges.values()) await judge.close();
  }

  /** First packet and, where it arrives, the answer. */
  async connect(
    attempt: ConnectionAttempt,
  ): Promise<{ readonly request: Arrival; readonly reply?: Arrival }> {
    const request = await this.#carry(attempt.from, firstPacket(attempt));
    const answer = request.receiver === undefined ? undefined : replyTo(request.bytes);
    if (request.receiver === undefined || answer === undefined) return { request };
    return { request, reply: await this.#carry(request.receiver, answer) };
  }

  async #carry(from: string, first: Uint8Array): Promise<Arrival> {
    const nodes: string[] = [];
    let bytes = first;
    let at: { readonly node: string; readonly device: string } | undefined;
    const spec = this.#cluster.topology.spec;
    if (from.startsWith("node:")) at = { node: from.slice(5), device: "inside" };
    else if (from.startsWith("ip:")) at = this.#overFabric(undefined, bytes);
    else {
      const endpoint = spec.endpoints.find(({ id }) => id === from);
      if (endpoint === undefined) throw new Error(`no pod ${from}`);
      if (endpoint.ips.some((ip) => formatIp(ip) === destination(bytes)))
        return { receiver: from, bytes, nodes };
      at = { node: endpoint.node, device: this.#device(endpoint.node, endpoint.interfaceIndex) };
    }
    for (let hops = 0; at !== undefined && hops < 8; hops++) {
      nodes.push(at.node);
      const [fate] = await this.judge(at.node).judge([{ from: at.device, bytes }]);
      if (fate?.output === undefined || (fate.verdict !== "forwarded" && fate.verdict !== "delivered"))
        return { receiver: undefined, bytes, nodes };
      bytes = fate.output.bytes;
      if (fate.verdict === "delivered") return { receiver: `node:${at.node}`, bytes, nodes };
      if (fate.output.interface !== "eth0")
        return { receiver: this.#podBehind(at.node, bytes), bytes, nodes };
      const next = this.#overFabric(at.node, bytes);
      if (next === undefined) return { receiver: this.#outside(bytes), bytes, nodes };
      at = next;
    }
    return { receiver: undefined, bytes, nodes };
  }

  #device(node: string, index: number): string {
    const spec = this.#cluster.topology.spec.nodes.find(({ name }) => name === node);
    return spec?.interfaces.find((one) => one.index === index)?.name ?? "";
  }

  #podBehind(node: string, bytes: Uint8Array): string | undefined {
    const dst = destination(bytes);
    return this.#cluster.topology.spec.endpoints.find(
      (one) => one.node === node && one.ips.some((ip) => formatIp(ip) === dst),
    )?.id;
  }

  #overFabric(from: string | undefined, bytes: Uint8Array): { node: string; device: string } | undefined {
    const { nodes, endpoints, frontends } = this.#cluster.topology.spec;
    const dst = destination(bytes);
    const has = (ips: readonly Ip[]): boolean => ips.some((ip) => formatIp(ip) === dst);
    const owner =
      nodes.find(({ addresses }) => has(addresses))?.name ?? endpoints.find(({ ips }) => has(ips))?.node;
    if (owner !== undefined) return { node: owner, device: "eth0" };
    const frontend = from === undefined ? frontends.find(({ ip }) => formatIp(ip) === dst) : undefined;
    const ip = readIp(bytes);
    if (frontend === undefined || ip === undefined) return undefined;
    const port = frontend.ports.find((one) => one.port === readU16(ip.payload, 2));
    const key = `${formatIp(ip.src)} ${readU16(ip.payload, 0)} ${dst} ${port?.port}`;
    const known = this.#balanced.get(key);
    if (known !== undefined) return { node: known, device: "eth0" };
    if (port === undefined || port.nodes.length === 0) return undefined;
    const node = this.#random.pick(port.nodes);
    this.#balanced.set(key, node);
    return { node, device: "eth0" };
  }

  /** Hosts outside exist where the emulated network has them. */
  #outside(bytes: Uint8Array): string | undefined {
    const dst = destination(bytes) ?? "";
    const ip = parseIp(dst);
    return ip !== undefined && this.#cluster.network.hasExternal(ip) ? `ip:${dst}` : undefined;
  }
}

function destination(bytes: Uint8Array): string | undefined {
  const ip = readIp(bytes);
  return ip === undefined ? undefined : formatIp(ip.dst);
}
