/**
 * Addresses of the virtual cluster, lowest free first, so that the same objects always get the same ones and the
 * address of a deleted pod is given out again (as real IPAMs do, which is what IP-reuse scenarios need).
 * Azure CNI: nodes and pods share the node subnet, each node with a block of it that is assigned in advance.
 * Overlay and kubenet: a /24 (or /64) of the pod range for each node.
 */
import { type Cidr, cidrContains, type Family, formatCidr, formatIp, type Ip, ipAdd } from "../addr/index.ts";
import { InputError } from "../base/index.ts";
import type { ClusterOptions, ClusterState } from "./cluster.ts";
import { isEnded } from "./phase.ts";
import type { Node } from "./types.ts";

/** Azure keeps the first four addresses of each subnet. */
const azureReserved = 4;
/** Most pods a node can have in AKS; the size of a node's block in the node subnet. */
export const podsPerNodeMax = 250;

/** Where made-up public addresses of load balancers come from: benchmarking space (RFC 2544), documentation (RFC 3849). */
const publicFrontends: Readonly<Record<Family, Cidr>> = {
  4: { family: 4, words: [0xc6120000], prefix: 15 },
  6: { family: 6, words: [0x20010db8, 0x001b0000, 0, 0], prefix: 64 },
};

/** Frontends of internal load balancers lie at the end of the subnet, where nodes' blocks come last. */
function internalBalancers({ family, prefix }: Cidr): number {
  const bits = (family === 4 ? 32 : 128) - prefix;
  return bits < 9 ? azureReserved : Math.min(2 ** bits, 2 ** 31) - 256;
}

export class AddressPool {
  readonly #options: ClusterOptions;
  readonly #used = new Set<string>();
  /** Of each range. */
  readonly #free = new Map<string, FreeOffsets>();
  /** Nodes that have come so far; numbers the blocks and pod ranges of those without addresses. */
  #nodes = 0;
  readonly #usedRanges = new Set<string>();

  constructor(state: ClusterState) {
    this.#options = state.options;
    for (const node of state.nodes.values()) this.addNode(node);
    for (const pod of state.pods.values()) if (!pod.hostNetwork && !isEnded(pod)) this.claim(pod.ips);
  }

  /** Takes addresses out of the pool; answers those that were taken already. */
  claim(ips: readonly Ip[]): readonly Ip[] {
    const texts = ips.map(formatIp);
    const taken = ips.filter((_, i) => this.#used.has(texts[i] ?? ""));
    for (const text of texts) this.#used.add(text);
    return taken;
  }

  claimRanges(ranges: readonly Cidr[]): void {
    for (const range of ranges) this.#usedRanges.add(formatCidr(range));
  }

  addNode(node: Node): void {
    this.claim(node.addresses);
    this.claimRanges(node.podCidrs);
    this.#nodes++;
  }

  /** One address a family for a node, the first of its block. */
  nodeAddresses(): readonly Ip[] {
    const start = azureReserved + this.#nodes * this.#blockSize();
    return this.#options.nodeSubnets.map((subnet) => this.#take(subnet, start, "node"));
  }

  /** The next pod range of each family that no node has; none where pods live in the node subnet. */
  nodePodCidrs(): readonly Cidr[] {
    if (this.#sharesSubnet()) return [];
    return this.#options.podCidrs.map((range) => {
      for (let index = 0; ; index++) {
        const part = subPrefix(range, index);
        if (!this.#usedRanges.has(formatCidr(part))) return part;
      }
    });
  }

  podAddresses(node: Node): readonly Ip[] {
    if (node.podCidrs.length > 0) return node.podCidrs.map((cidr) => this.#take(cidr, 2, "pod")); // .1 is the gateway
    return this.#options.nodeSubnets.map((subnet) => this.#take(subnet, blockStart(subnet, node), "pod"));
  }

  /** One address of the cluster's primary family, or one of each. */
  clusterIPs(isDualStack: boolean): readonly Ip[] {
    // .1 is the API server's and .10 the DNS server's in AKS
    const ranges = isDualStack ? this.#options.serviceCidrs : this.#options.serviceCidrs.slice(0, 1);
    return ranges.map((range) => this.#take(range, 11, "Service"));
  }

  /** A load balancer's address: of the node subnet if it is an internal one, else one that the Internet routes to Azure. */
  balancerIP(family: Family, isInternal: boolean): Ip {
    const subnet = this.#options.nodeSubnets.find((range) => range.family === family);
    if (isInternal && subnet !== undefined) return this.#take(subnet, internalBalancers(subnet), "frontend");
    return this.#take(publicFrontends[family], 1, "public frontend");
  }

  #sharesSubnet(): boolean {
    return this.#options.networkPlugin === "azure" && this.#options.networkPluginMode === undefined;
  }

  #blockSize(): number {
    return this.#sharesSubnet() ? podsPerNodeMax + 1 : 1;
  }

  /** The lowest free address from `start` on; from the bottom again where the rest of the range is full. */
  #take(range: Cidr, start: number, what: string): Ip {
    const base: Ip = { family: range.family, words: range.words };
    const bits = (range.family === 4 ? 32 : 128) - range.prefix;
    const size = bits > 31 ? 2 ** 31 : 2 ** bits;
    const rangeText = formatCidr(range);
    let free = this.#free.get(rangeText);
    if (free === undefined) {
      free = new FreeOffsets();
      this.#free.set(rangeText, free);
    }
    for (const from of [start, azureReserved])
      for (let offset = free.from(from); offset < size - 1; offset = free.from(offset)) {
        const ip = ipAdd(base, offset);
        const text = formatIp(ip);
        const isUsed = this.#used.has(text);
        free.close(offset);
        if (isUsed) continue;
        this.#used.add(text);
        return ip;
      }
    throw new InputError([
      { code: "too-large", path: "", message: `no free ${what} address left in ${rangeText}` },
    ]);
  }
}

/**
 * Offsets that may be free: none is ever given back while a pool lives. Closed ones point on to the next that may be free,
 * and every search shortens the way for later ones, so that blocks which run into each other cost what they hold.
 */
class FreeOffsets {
  readonly #next = new Map<number, number>();

  /** The lowest from `offset` on. */
  from(offset: number): number {
    let free = offset;
    for (let next = this.#next.get(free); next !== undefined; next = this.#next.get(free)) free = next;
    for (let at = offset; at !== free; ) {
      const next = this.#next.get(at) ?? free;
      this.#next.set(at, free);
      at = next;
    }
    return free;
  }

  close(offset: number): void {
    this.#next.set(offset, offset + 1);
  }
}

/** The /24 (IPv4) or /64 (IPv6) number `index` of a pod range. @throws InputError when the range has no more. */
function subPrefix(range: Cidr, index: number): Cidr {
  const prefix = range.family === 4 ? Math.max(24, range.prefix) : Math.max(64, range.prefix);
  const words = [...range.words];
  const word = Math.ceil(prefix / 32) - 1;
  words[word] = (words[word] ?? 0) + index * 2 ** (32 * (word + 1) - prefix);
  const cidr: Cidr = { family: range.family, words, prefix };
  if (!cidrContains(range, { family: range.family, words }))
    throw new InputError([
      {
        code: "too-large",
        path: "podCidr",
        message: `${formatCidr(range)} has no range left for node ${index + 1}`,
      },
    ]);
  return cidr;
}

/** A node's block begins with its own address, wherever in the subnet that is. */
function blockStart(subnet: Cidr, node: Node): number {
  const own = node.addresses.find((ip) => cidrContains(subnet, ip));
  const last = subnet.words.length - 1;
  const offset = own === undefined ? 0 : (own.words[last] ?? 0) - (subnet.words[last] ?? 0);
  return Math.max(azureReserved, offset);
}
