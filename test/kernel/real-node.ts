/**
 * A node of an emulated cluster made real: a namespace with the node's interfaces, addresses, routes and the tables of
 * `compile`; each pod of the node a namespace behind a veth; and one namespace, `world`, for everybody beyond the uplink.
 */
import { spawnSync } from "node:child_process";
import { formatIp } from "../../src/addr/index.ts";
import { saveIpsets } from "../../src/filter/ipset/index.ts";
import { saveRuleset } from "../../src/filter/iptables/index.ts";
import { compileCluster, type ProductSelection } from "../../src/harness/index.ts";
import type { KernelBackend } from "../../src/harness/kernel/index.ts";
import { createTopology } from "../../src/harness/topology.ts";
import type { ClusterState } from "../../src/k8s/index.ts";

export function run(command: string, args: readonly string[], input = ""): string {
  const { status, stdout, stderr } = spawnSync(command, args, { input, encoding: "utf8" });
  if (status !== 0) throw new Error(`${command} ${args.join(" ")}: ${stderr}`);
  return stdout;
}

export class RealNode {
  /** Namespaces by `node`, `world` and pod key; inside, pods have `eth0`, the world has `up0`. */
  readonly namespaces: Map<string, string> = new Map();
  readonly #prefix: string;
  readonly #backend: KernelBackend;

  constructor(prefix: string, backend: KernelBackend) {
    this.#prefix = prefix;
    this.#backend = backend;
  }

  /** @throws Error when a tool refuses; `remove` cleans up all the same. */
  build(state: ClusterState, selection: ProductSelection, name: string): void {
    const { spec } = createTopology(state);
    const node = spec.nodes.find((one) => one.name === name);
    const tables = compileCluster(state, selection).get(name)?.tables.iptables;
    if (node === undefined || tables === undefined) throw new Error(`no node ${name} with iptables`);
    const inside = this.#add("node");
    const world = this.#add("world");
    this.#link(inside, "eth0", world, "up0");
    const nodeIp = node.addresses.map(formatIp).find((ip) => !ip.includes(":")) ?? "";
    this.#ip(world, `route add ${nodeIp}/32 dev up0`, "address add 192.0.2.250/32 dev up0");
    this.#ip(inside, `address add ${nodeIp}/32 dev eth0`);
    // as in Azure: everybody beyond the uplink is behind one gateway, whose hardware address is known
    const { address } = JSON.parse(run("ip", ["-n", world, "-j", "link", "show", "dev", "up0"]))[0];
    this.#ip(
      inside,
      `neigh add 169.254.1.1 lladdr ${address} nud permanent dev eth0`,
      "route add default via 169.254.1.1 dev eth0 onlink",
    );
    for (const endpoint of spec.endpoints.filter((one) => one.node === name)) {
      const device = node.interfaces.find(({ index }) => index === endpoint.interfaceIndex)?.name ?? "";
      const pod = this.#add(endpoint.id);
      const ip = endpoint.ips.map(formatIp).find((one) => !one.includes(":")) ?? "";
      this.#link(inside, device, pod, "eth0");
      this.#ip(inside, `route add ${ip}/32 dev ${device}`);
      this.#ip(world, `route add ${ip}/32 via ${nodeIp} dev up0`);
      this.#ip(pod, `address add ${ip}/32 dev eth0`, "route add default dev eth0");
    }
    const switches = [
      "for f in /proc/sys/net/ipv4/conf/*; do echo 1 > $f/proxy_arp; echo 0 > $f/rp_filter; done",
      "for f in /proc/sys/net/ipv4/neigh/*; do echo 0 > $f/proxy_delay; done",
      "echo 1 > /proc/sys/net/ipv4/ip_forward",
      "echo 1 > /proc/sys/net/ipv4/conf/all/route_localnet",
    ];
    this.inside(inside, "sh", ["-c", switches.join("\n")]);
    this.inside(inside, "ipset", ["restore"], saveIpsets(tables.sets.values()));
    this.restore(saveRuleset(tables.v4));
  }

  /** Replaces the node's IPv4 tables that the text names. */
  restore(text: string): void {
    this.inside(this.namespace("node"), `iptables-${this.#backend}-restore`, [], text);
  }

  iptables(...args: readonly string[]): void {
    this.inside(this.namespace("node"), `iptables-${this.#backend}`, args);
  }

  namespace(name: string): string {
    const namespace = this.namespaces.get(name);
    if (namespace === undefined) throw new Error(`no namespace for ${name}`);
    return namespace;
  }

  inside(namespace: string, command: string, args: readonly string[], input = ""): string {
    return run("ip", ["netns", "exec", namespace, command, ...args], input);
  }

  remove(): void {
    for (const namespace of this.namespaces.values()) spawnSync("ip", ["netns", "del", namespace]);
    this.namespaces.clear();
  }

  #add(name: string): string {
    const namespace = `${this.#prefix}${this.namespaces.size}`;
    run("ip", ["netns", "add", namespace]);
    this.namespaces.set(name, namespace);
    this.#ip(namespace, "link set lo up");
    return namespace;
  }

  #link(a: string, nameA: string, b: string, nameB: string): void {
    run("ip", ["link", "add", nameA, "netns", a, "type", "veth", "peer", "name", nameB, "netns", b]);
    this.#ip(a, `link set ${nameA} up`);
    this.#ip(b, `link set ${nameB} up`);
  }

  #ip(namespace: string, ...lines: readonly string[]): void {
    for (const line of lines) run("ip", ["-n", namespace, ...line.split(" ")]);
  }
}
