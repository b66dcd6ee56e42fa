/**
 * A cluster of real namespaces: one a node with the node's tables, one a pod behind a veth pair of the pod's interface
 * name, and one for the virtual network that joins the nodes, where hosts outside live too. Nothing of it is visible
 * from the machine's own namespace; `close` removes it all. IPv4 only: the kernel's own IPv6 chatter is switched off.
 */
import { type ChildProcess, execFileSync, spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { join } from "node:path";
import { formatIp, type Ip } from "../../src/addr/index.ts";
import type { KernelBackend } from "../../src/harness/kernel/index.ts";
import type { NetworkSpec } from "../../src/sim/index.ts";

const sockets = join(import.meta.dirname, "sockets.py");
/** The next hop of pods and nodes: nobody has this address, everybody knows its hardware address. */
const gateway = "169.254.1.1";
const loss = "net.ipv4.icmp_ratelimit=0 net.ipv4.icmp_msgs_per_sec=1000000 net.ipv4.icmp_msgs_burst=1000000";
const quiet = "net.ipv6.conf.all.disable_ipv6=1 net.ipv6.conf.default.disable_ipv6=1";
const router = `net.ipv4.ip_forward=1 net.ipv4.conf.all.rp_filter=0 net.ipv4.conf.default.rp_filter=0 net.ipv4.conf.all.send_redirects=0 net.ipv4.conf.default.send_redirects=0 net.ipv4.conf.default.accept_local=1 ${loss}`;

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

export interface NodeTexts {
  readonly v4: string;
  readonly v6: string;
  readonly sets: string;
}

let made = 0;

export class VethCluster {
  readonly #prefix = `pw${process.pid}-${((performance.now() * 1000) % 1_000_000) | 0}-${made++}`;
  readonly #namespaces: string[] = [];
  readonly #children: ChildProcess[] = [];
  readonly #spec: NetworkSpec;
  readonly backend: KernelBackend;

  /** `outside`: addresses of hosts beyond the nodes. */
  constructor(spec: NetworkSpec, backend: KernelBackend, outside: readonly string[]) {
    this.#spec = spec;
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
    const lines = [...this.#namespaceLines(fabric), `ip netns exec ${fabric} sysctl -qw ${router}`];
    for (const address of outside) lines.push(`ip -n ${fabric} address add ${address}/32 dev lo`);
    for (const [i, node] of this.#spec.nodes.entries()) {
      const namespace = this.nodeNamespace(node.name);
      const side = this.fabricInterface(node.name);
      const [mine, theirs] = [mac(1, i), mac(2, i)];
      const [address] = node.addresses.filter(({ family }) => family === 4).map(formatIp);
      lines.push(
        ...this.#namespaceLines(namespace),
        `ip netns exec ${namespace} sysctl -qw ${router}`,
        `ip -n ${fabric} link add ${side} address ${theirs} type veth peer name eth0 address ${mine} netns ${namespace}`,
        `ip -n ${fabric} link set ${side} up`,
        `ip -n ${namespace} address add ${address}/32 dev eth0`,
        `ip -n ${namespace} link set eth0 up`,
        ...defaultRoute(namespace, theirs),
        `ip -n ${fabric} route add ${address} dev ${side}`,
        `ip -n ${fabric} neighbour add ${address} lladdr ${mine} dev ${side} nud permanent`,
      );
      for (const endpoint of this.#spec.endpoints.filter((one) => one.node === node.name)) {
        const at = this.#spec.endpoints.indexOf(endpoint);
        const pod = this.podNamespace(endpoint.id);
        const device = node.interfaces.find(({ index }) => index === endpoint.interfaceIndex)?.name;
        const ips = endpoint.ips.filter((ip: Ip) => ip.family === 4).map(formatIp);
        lines.push(
          ...this.#namespaceLines(pod),
          `ip -n ${namespace} link add ${device} address ${mac(3, at)} type veth peer name eth0 address ${mac(4, at)} netns ${pod}`,
          `ip -n ${namespace} link set ${device} up`,
          `ip -n ${pod} link set eth0 up`,
          ...ips.flatMap((ip) => [
            `ip -n ${pod} address add ${ip}/32 dev eth0`,
            `ip -n ${namespace} route add ${ip} dev ${device}`,
            `ip -n ${namespace} neighbour add ${ip} lladdr ${mac(4, at)} dev ${device} nud permanent`,
            `ip -n ${fabric} route add ${ip} via ${address} dev ${side} onlink`,
          ]),
          ...defaultRoute(pod, mac(3, at)),
        );
      }
    }
    execFileSync("sh", ["-e", "-s"], { input: lines.join("\n"), stdio: ["pipe", "ignore", "inherit"] });
  }

  #namespaceLines(name: string): readonly string[] {
    this.#namespaces.push(name);
    return [
      `ip netns add ${name}`,
      `ip -n ${name} link set lo up`,
      `ip netns exec ${name} sysctl -qw ${quiet}`,
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

  load(node: string, { v4, v6, sets }: NodeTexts): void {
    const namespace = this.nodeNamespace(node);
    this.run(namespace, ["ipset", "restore"], sets);
    this.run(namespace, [`iptables-${this.backend}-restore`], v4);
    this.run(namespace, [`ip6tables-${this.backend}-restore`], v6);
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

function defaultRoute(namespace: string, gatewayMac: string): readonly string[] {
  return [
    `ip -n ${namespace} route add ${gateway} dev eth0 scope link`,
    `ip -n ${namespace} neighbour add ${gateway} lladdr ${gatewayMac} dev eth0 nud permanent`,
    `ip -n ${namespace} route add default via ${gateway} dev eth0`,
  ];
}

function mac(kind: number, number: number): string {
  const byte = (value: number): string => value.toString(16).padStart(2, "0");
  return `02:00:00:${byte(kind)}:${byte(number >> 8)}:${byte(number & 255)}`;
}
