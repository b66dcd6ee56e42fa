/**
 * A cluster of real namespaces: one a node with the node's tables, one a pod behind a veth pair of the pod's interface
 * name, and one for the virtual network that joins the nodes, where hosts outside live too. Nothing of it is visible
 * from the machine's own namespace; `close` removes it all. Without IPv6 the kernel's own chatter of it is switched off.
 * IPv4 neighbours are written down; IPv6 neighbours find each other.
 */
import { type ChildProcess, execFileSync, spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { join } from "node:path";
import { type Family, formatIp, type Ip } from "../../src/addr/index.ts";
import type { NodeFiles } from "../../src/harness/index.ts";
import type { KernelBackend } from "../../src/harness/kernel/index.ts";
import type { EndpointSpec, NetworkSpec, NodeSpec } from "../../src/sim/index.ts";

const sockets = join(import.meta.dirname, "sockets.py");
/** The next hop of pods and nodes: nobody has this address, everybody knows its hardware address. */
const gateway = "169.254.1.1";
/** The same for IPv6: the near end of each pod's and node's link has it. */
const gateway6 = "fe80::1";
const gentle =
  "net.ipv4.icmp_ratelimit=0 net.ipv4.icmp_msgs_per_sec=1000000 net.ipv4.icmp_msgs_burst=1000000";
const quiet6 = "net.ipv6.conf.all.disable_ipv6=1 net.ipv6.conf.default.disable_ipv6=1";
const gentle6 = "net.ipv6.conf.default.accept_dad=0 net.ipv6.conf.default.router_solicitations=0";
const router = `net.ipv4.ip_forward=1 net.ipv4.conf.all.rp_filter=0 net.ipv4.conf.default.rp_filter=0 net.ipv4.conf.all.send_redirects=0 net.ipv4.conf.default.send_redirects=0 net.ipv4.conf.all.route_localnet=1 ${gentle}`;

export type SocketOutcome = "connected" | "refused" | "timeout" | "closed";
export interface SocketAttempt {
  readonly protocol: "tcp" | "udp";
  readonly address: string;
  readonly port: number;
}

export interface ListeningPorts {
  readonly tcp: readonly number[];
  readonly udp: readonly number[];
}

let made = 0;

export class VethCluster {
  readonly #prefix = `pw${process.pid}-${((performance.now() * 1000) % 1_000_000) | 0}-${made++}`;
  readonly #namespaces: string[] = [];
  readonly #children: ChildProcess[] = [];
  readonly #spec: NetworkSpec;
  readonly #hasV6: boolean;
  readonly backend: KernelBackend;

  /** `outside`: addresses of hosts beyond the nodes. */
  constructor(
    spec: NetworkSpec,
    backend: KernelBackend,
    outside: readonly string[],
    families: readonly Family[] = [4],
  ) {
    this.#spec = spec;
    this.#hasV6 = families.includes(6);
    this.backend = backend;
    try {
      this.#make(outside);
    } catch (error) {
      this.#remove();
      throw error;
    }
  }

  /** Namespace of the virtual network and of hosts outside. */
  get fabric(): string {
    return `${this.#prefix}-f`;
  }

  nodeNamespace(name: string): string {
    return `${this.#prefix}-n${this.#spec.nodes.findIndex((one) => one.name === name)}`;
  }

  podNamespace(id: string): string {
    return `${this.#prefix}-p${this.#spec.endpoints.findIndex((one) => one.id === id)}`;
  }

  /** The fabric's interface towards a node. */
  fabricInterface(name: string): string {
    return `n${this.#spec.nodes.findIndex((one) => one.name === name)}`;
  }

  #make(outside: readonly string[]): void {
    const { fabric } = this;
    const lines = this.#namespaceLines(fabric, true);
    for (const address of outside) lines.push(`ip -n ${fabric} address add ${address} dev lo`);
    for (const node of this.#spec.nodes) {
      lines.push(...this.#nodeLines(node));
      for (const endpoint of this.#spec.endpoints)
        if (endpoint.node === node.name) lines.push(...this.#podLines(node, endpoint));
    }
    execFileSync("sh", ["-e", "-s"], { input: lines.join("\n"), stdio: ["pipe", "ignore", "inherit"] });
  }

  #nodeLines({ name, addresses }: NodeSpec): readonly string[] {
    const [namespace, side, { fabric }] = [this.nodeNamespace(name), this.fabricInterface(name), this];
    const number = this.#spec.nodes.findIndex((one) => one.name === name);
    const [near, far] = [
      { namespace, device: "eth0", mac: mac(1, number) },
      { namespace: fabric, device: side, mac: mac(2, number) },
    ];
    return [
      ...this.#namespaceLines(namespace, true),
      ...this.#linkLines(far, near),
      ...this.#of(addresses).flatMap((ip) => [
        `ip -n ${namespace} address add ${formatIp(ip)} dev eth0${ip.family === 6 ? " nodad" : ""}`,
        ...hostRoute(far, near, ip),
      ]),
    ];
  }

  #podLines(node: NodeSpec, { id, interfaceIndex, ips }: EndpointSpec): readonly string[] {
    const number = this.#spec.endpoints.findIndex((one) => one.id === id);
    const device = node.interfaces.find(({ index }) => index === interfaceIndex)?.name ?? "";
    const [near, far] = [
      { namespace: this.podNamespace(id), device: "eth0", mac: mac(4, number) },
      { namespace: this.nodeNamespace(node.name), device, mac: mac(3, number) },
    ];
    const side = this.fabricInterface(node.name);
    return [
      ...this.#namespaceLines(near.namespace, false),
      ...this.#linkLines(far, near),
      ...this.#of(ips).flatMap((ip) => {
        const [via] = node.addresses.filter(({ family }) => family === ip.family).map(formatIp);
        return [
          `ip -n ${near.namespace} address add ${formatIp(ip)} dev eth0${ip.family === 6 ? " nodad" : ""}`,
          ...hostRoute(far, near, ip),
          `ip -n ${this.fabric} route add ${formatIp(ip)} via ${via} dev ${side} onlink`,
        ];
      }),
    ];
  }

  /** A pair of interfaces that are up; whatever `near` does not know goes to `far`. */
  #linkLines(far: LinkEnd, near: LinkEnd): readonly string[] {
    const { namespace, device } = near;
    const v6 = [
      `ip -n ${far.namespace} address add ${gateway6}/64 dev ${far.device} nodad`,
      `ip -n ${namespace} route add default via ${gateway6} dev ${device}`,
    ];
    return [
      `ip -n ${far.namespace} link add ${far.device} address ${far.mac} type veth peer name ${device} address ${near.mac} netns ${namespace}`,
      `ip -n ${far.namespace} link set ${far.device} up`,
      `ip -n ${namespace} link set ${device} up`,
      `ip -n ${namespace} route add ${gateway} dev ${device} scope link`,
      `ip -n ${namespace} neighbour add ${gateway} lladdr ${far.mac} dev ${device} nud permanent`,
      `ip -n ${namespace} route add default via ${gateway} dev ${device}`,
      ...(this.#hasV6 ? v6 : []),
    ];
  }

  #of(ips: readonly Ip[]): readonly Ip[] {
    return ips.filter(({ family }) => family === 4 || this.#hasV6);
  }

  #namespaceLines(name: string, isRouter: boolean): string[] {
    this.#namespaces.push(name);
    const v6 = isRouter ? `${gentle6} net.ipv6.conf.all.forwarding=1` : gentle6;
    return [
      `ip netns add ${name}`,
      `ip -n ${name} link set lo up`,
      `ip netns exec ${name} sysctl -qw ${this.#hasV6 ? v6 : quiet6}`,
      ...(isRouter ? [`ip netns exec ${name} sysctl -qw ${router}`] : []),
    ];
  }

  /** Runs a command in a namespace. @throws Error when it fails. */
  run(namespace: string, command: readonly string[], input = ""): string {
    return execFileSync("ip", ["netns", "exec", namespace, ...command], {
      input,
      encoding: "utf8",
      stdio: ["pipe", "pipe", "pipe"],
    });
  }

  /** A command that runs until `close`, or until its standard input ends. */
  start(namespace: string, command: readonly string[]): ChildProcess {
    const child = spawn("ip", ["netns", "exec", namespace, ...command], { stdio: ["pipe", "pipe", "pipe"] });
    this.#children.push(child);
    return child;
  }

  /** Loads what `compile` writes for a node. */
  load(node: string, files: NodeFiles): void {
    const namespace = this.nodeNamespace(node);
    this.run(namespace, ["ipset", "restore"], files.get("ipset.save"));
    this.run(namespace, [`iptables-${this.backend}-restore`], files.get("iptables.save"));
    this.run(namespace, [`ip6tables-${this.backend}-restore`], files.get("ip6tables.save"));
  }

  /** Echo servers at these addresses of the namespace, listening once this resolves. */
  async serve(namespace: string, addresses: readonly string[], ports: ListeningPorts): Promise<void> {
    const order = JSON.stringify({ addresses, ...ports });
    const child = this.start(namespace, ["python3", sockets, "serve", order]);
    if (child.stdout !== null) await once(child.stdout, "data");
  }

  /** All at once; what became of each. */
  async connect(
    namespace: string,
    attempts: readonly SocketAttempt[],
    timeoutSeconds = 1.5,
  ): Promise<readonly SocketOutcome[]> {
    const order = {
      attempts: attempts.map(({ protocol, address, port }) => [protocol, address, port]),
      timeout: timeoutSeconds,
    };
    const child = this.start(namespace, ["python3", sockets, "connect", JSON.stringify(order)]);
    let text = "";
    child.stdout?.on("data", (chunk: Buffer) => {
      text += chunk.toString();
    });
    await once(child, "close");
    return JSON.parse(text) as readonly SocketOutcome[];
  }

  /** Sends packets as they are, in order. */
  sendRaw(namespace: string, packets: readonly Uint8Array[]): void {
    const order = { packets: packets.map((bytes) => Buffer.from(bytes).toString("hex")) };
    this.run(namespace, ["python3", sockets, "raw", JSON.stringify(order)]);
  }

  /** Captures into a file from when this resolves until `stop`. `interface`: any of the namespace's, or `any` of them. */
  async capture(namespace: string, name: string, file: string): Promise<{ stop(): Promise<void> }> {
    const form = name === "any" ? ["-y", "LINUX_SLL2"] : [];
    // each frame takes a snapshot's room in the kernel's buffer
    const room = ["-s", "4096", "-B", "16384"];
    const command = ["tcpdump", "-i", name, ...form, "-U", "--immediate-mode", ...room, "-w", file];
    const child = this.start(namespace, command);
    let said = "";
    child.stderr?.on("data", (chunk: Buffer) => {
      said += chunk.toString();
    });
    if (child.stderr !== null) await once(child.stderr, "data");
    return {
      stop: async () => {
        child.kill("SIGINT");
        await once(child, "close");
        if (!said.includes("\n0 packets dropped by kernel")) throw new Error(`a capture has gaps: ${said}`);
      },
    };
  }

  async close(): Promise<void> {
    for (const child of this.#children) {
      if (child.exitCode !== null || child.signalCode !== null) continue;
      const ended = once(child, "close");
      child.stdin?.end();
      child.kill("SIGTERM");
      await ended;
    }
    this.#remove();
  }

  #remove(): void {
    for (const name of this.#namespaces) spawnSync("ip", ["netns", "delete", name]);
  }
}

/** One end of a veth pair. */
interface LinkEnd {
  readonly namespace: string;
  readonly device: string;
  readonly mac: string;
}

/** The way from `far` to an address of `near`. */
function hostRoute(far: LinkEnd, near: LinkEnd, ip: Ip): readonly string[] {
  const route = `ip -n ${far.namespace} route add ${formatIp(ip)} dev ${far.device}`;
  if (ip.family === 6) return [route];
  const neighbour = `${formatIp(ip)} lladdr ${near.mac} dev ${far.device} nud permanent`;
  return [route, `ip -n ${far.namespace} neighbour add ${neighbour}`];
}

function mac(kind: number, number: number): string {
  const byte = (value: number): string => value.toString(16).padStart(2, "0");
  return `02:00:00:${byte(kind)}:${byte(number >> 8)}:${byte(number & 255)}`;
}
