/**
 * The real Linux kernel as judge of packets: a network namespace of its own for one node and one iptables backend, one
 * TUN device for each of the node's interfaces, rules and sets loaded by the real tools, batches of packets in, what
 * became of each out.
 *
 *     const judge = await startKernelJudge({ backend: "nft", node: twoDeviceNode() });
 *     await judge.load({ v4: saveRuleset(rules), sets: saveIpsets(sets) });
 *     const fates = await judge.judge([{ from: "in0", bytes: tcp({ ... }) }]);
 *     await judge.close();
 *
 * Packets of a batch are handled strictly in order, each to its end before the next goes in, so that what connection
 * tracking learns from one counts for the next. Each backend needs a judge of its own: in one namespace the kernel
 * would run the rules of both. Time is real: time-outs are compared by waiting, or by short ones in `sysctls`.
 * Needs root, /dev/net/tun, iproute2, util-linux (unshare, nsenter), iptables, ipset, nft, conntrack, and cc or python3.
 */
import { type ChildProcessWithoutNullStreams, spawn } from "node:child_process";
import { formatCidr, formatIp } from "../../addr/index.ts";
import { assert } from "../../base/index.ts";
import { type KernelFate, type KernelOutput, readFate } from "./fate.ts";
import {
  type Injection,
  type Injector,
  type InjectorOutput,
  type InjectorWay,
  startInjector,
} from "./injector.ts";
import type { JudgedNode } from "./judged-node.ts";

export type KernelBackend = "legacy" | "nft";

export interface JudgeOptions {
  readonly backend: KernelBackend;
  readonly node: JudgedNode;
  /** Below /proc/sys, such as `net/netfilter/nf_conntrack_tcp_loose`; set before anything is loaded. */
  readonly sysctls?: Readonly<Record<string, string | number>>;
  /**
   * `always` (default): every packet is tracked, as on a node with any iptables engine. `by-rules`: only once a loaded
   * rule asks for it, which is when the kernel starts to reassemble fragments.
   */
  readonly conntrack?: "always" | "by-rules";
  readonly way?: InjectorWay;
}

/** Texts for iptables-restore, ip6tables-restore and ipset restore; an absent one is empty. */
export interface JudgedTables {
  readonly v4?: string;
  readonly v6?: string;
  readonly sets?: string;
}

export interface JudgedPacket {
  /** The device that it arrives on; `inside`: the node itself sends it. */
  readonly from: string;
  /** From the network header on. */
  readonly bytes: Uint8Array;
}

/** After packets: iptables-save texts with counters, `ipset save`, and the lines of `conntrack -L` of both families. */
export interface KernelState {
  readonly v4: string;
  readonly v6: string;
  readonly sets: string;
  /** Since the tables were loaded. */
  readonly seconds: number;
  readonly connections: readonly string[];
}

export interface ToolResult {
  readonly status: number;
  readonly stdout: string;
  readonly stderr: string;
}

/** Answers of the tools that are not what was asked for. */
export class KernelRefusal extends Error {
  readonly stderr: string;

  constructor(what: string, stderr: string) {
    super(`the kernel refuses ${what}: ${stderr.trim()}`);
    this.stderr = stderr;
  }
}

export class KernelJudge {
  readonly backend: KernelBackend;
  readonly node: JudgedNode;
  readonly #injector: Injector;
  readonly #names: ReadonlyMap<number, string>;
  /** Tables that hold something, to be emptied before the next load. */
  readonly #loaded: { v4: readonly string[]; v6: readonly string[] } = { v4: [], v6: [] };
  #hasSets = false;
  #loadedAtMs = 0;

  /** Use `startKernelJudge`. */
  constructor(options: JudgeOptions, injector: Injector) {
    this.backend = options.backend;
    this.node = options.node;
    this.#injector = injector;
    this.#names = new Map([
      [1, "lo"], // the first interface of every namespace
      ...options.node.interfaces.map((name, i): [number, string] => [injector.ifindices[i] ?? 0, name]),
    ]);
  }

  /**
   * Replaces all rules and sets, zeroes counters and forgets connections.
   * @throws KernelRefusal when a tool refuses; tables are then in no defined state.
   */
  async load(tables: JudgedTables): Promise<void> {
    const { v4 = "", v6 = "", sets = "" } = tables;
    const lines: string[] = [];
    const now = { v4: tableNames(v4), v6: tableNames(v6) };
    const hadSets = this.#hasSets;
    for (const family of ["v4", "v6"] as const) {
      const stale = this.#loaded[family].filter((name) => hadSets || !now[family].includes(name));
      if (stale.length > 0)
        lines.push(this.#restore(family, stale.map((name) => `*${name}\nCOMMIT\n`).join("")));
    }
    if (hadSets) lines.push("ipset flush", "ipset destroy"); // a list that holds a set keeps it from being destroyed
    if (sets !== "") lines.push(hereDocument("ipset restore", sets));
    if (v4 !== "") lines.push(this.#restore("v4", v4));
    if (v6 !== "") lines.push(this.#restore("v6", v6));
    lines.push("conntrack -F 2>/dev/null");
    this.#hasSets = sets !== "";
    Object.assign(this.#loaded, now);
    const result = await this.run("sh", ["-e", "-s"], lines.join("\n"));
    if (result.status !== 0) throw new KernelRefusal("the tables", result.stderr);
    this.#loadedAtMs = performance.now();
  }

  /** Gives the packets to the kernel in order; one fate each. */
  async judge(packets: readonly JudgedPacket[]): Promise<readonly KernelFate[]> {
    const injections = packets.map(({ from, bytes }): Injection => ({ device: this.#device(from), bytes }));
    const results = await this.#injector.send(injections);
    return packets.map(({ bytes }, i) => {
      const outputs = results[i] ?? [];
      return readFate(bytes, outputs.length === 0 ? [] : outputs.map((one) => this.#output(one)));
    });
  }

  /** Nanoseconds a packet that the injector's own loop needs, without this process: the bound for `judge`. */
  async measure(packet: JudgedPacket, rounds: number): Promise<number> {
    const device = this.#device(packet.from);
    assert(device !== "inside", "the loop sends through a device");
    return await this.#injector.measure(device, packet.bytes, rounds);
  }

  /** iptables-save text with counters. */
  async save(family: 4 | 6): Promise<string> {
    const result = await this.run(this.#tool(family === 4 ? "v4" : "v6", "save"), ["-c"]);
    if (result.status !== 0) throw new KernelRefusal("to list rules", result.stderr);
    return result.stdout;
  }

  /** Lines of `conntrack -L`, in the kernel's order (none). */
  async connections(family: 4 | 6 = 4): Promise<readonly string[]> {
    const result = await this.run("conntrack", [
      "-L",
      "-o",
      "extended",
      "-f",
      family === 4 ? "ipv4" : "ipv6",
    ]);
    if (result.status !== 0) throw new KernelRefusal("to list connections", result.stderr);
    return result.stdout.split("\n").filter((line) => line !== "");
  }

  /** What the rules counted, what sets hold and the connections known, by one run of the tools. */
  async state(): Promise<KernelState> {
    const connections = (family: string): string => `conntrack -L -o extended -f ${family} 2>/dev/null`;
    const result = await this.run(
      "sh",
      ["-s"],
      [
        `${this.#tool("v4", "save")} -c`,
        `echo ${divider}`,
        `${this.#tool("v6", "save")} -c`,
        `echo ${divider}`,
        "ipset save",
        `echo ${divider}`,
        connections("ipv4"),
        connections("ipv6"),
      ].join("\n"),
    );
    const [v4 = "", v6 = "", sets = "", flows = ""] = result.stdout.split(`${divider}\n`);
    const seconds = (performance.now() - this.#loadedAtMs) / 1000;
    return { v4, v6, sets, seconds, connections: flows.split("\n").filter((line) => line !== "") };
  }

  async forgetFlows(): Promise<void> {
    await this.run("conntrack", ["-F"]);
  }

  /** Runs a tool inside the namespace. */
  async run(command: string, args: readonly string[], input = ""): Promise<ToolResult> {
    const child = this.spawn(command, args);
    const [stdout, stderr]: [Buffer[], Buffer[]] = [[], []];
    child.stdout.on("data", (chunk: Buffer) => stdout.push(chunk));
    child.stderr.on("data", (chunk: Buffer) => stderr.push(chunk));
    child.stdin.on("error", () => {}); // the tool did not read its input to the end: its status tells
    child.stdin.end(input);
    const status = await new Promise<number>((resolve, reject) => {
      child.on("error", reject);
      child.on("close", (code) => resolve(code ?? 128));
    });
    return { status, stdout: Buffer.concat(stdout).toString(), stderr: Buffer.concat(stderr).toString() };
  }

  /** Starts a tool inside the namespace; the caller ends it. */
  spawn(command: string, args: readonly string[]): ChildProcessWithoutNullStreams {
    return spawn("nsenter", [`--net=/proc/${this.#injector.pid}/ns/net`, "--", command, ...args], {
      detached: true,
    });
  }

  /** Ends the namespace with everything in it. */
  async close(): Promise<void> {
    await this.#injector.close();
  }

  #device(name: string): number | "inside" {
    if (name === "inside") return name;
    const device = this.node.interfaces.indexOf(name);
    assert(device >= 0, `no device ${name}`);
    return device;
  }

  #output({ kind, ifindex, mark, bytes }: InjectorOutput): KernelOutput {
    return { kind, interface: this.#names.get(ifindex) ?? `#${ifindex}`, mark, bytes };
  }

  #tool(family: "v4" | "v6", verb: "restore" | "save"): string {
    return `${family === "v4" ? "iptables" : "ip6tables"}-${this.backend}-${verb}`;
  }

  #restore(family: "v4" | "v6", text: string): string {
    return hereDocument(`${this.#tool(family, "restore")} -w`, text);
  }
}

const divider = "podwire-divider";

function tableNames(text: string): readonly string[] {
  return [...text.matchAll(/^\*(\w+)/gm)].map(([, name]) => name ?? "");
}

function hereDocument(command: string, text: string): string {
  return `${command} <<'PODWIRE_END'\n${text}${text.endsWith("\n") ? "" : "\n"}PODWIRE_END`;
}

/** What makes the namespace a router that answers every rejected packet, however many there are. */
const routerSysctls: Readonly<Record<string, string | number>> = {
  "net/ipv4/ip_forward": 1,
  "net/ipv6/conf/all/forwarding": 1,
  "net/ipv4/conf/all/rp_filter": 0,
  "net/ipv4/conf/default/rp_filter": 0,
  "net/ipv4/conf/all/send_redirects": 0,
  "net/ipv4/conf/default/send_redirects": 0,
  "net/ipv4/icmp_ratelimit": 0,
  "net/ipv4/icmp_msgs_per_sec": 1_000_000,
  "net/ipv4/icmp_msgs_burst": 1_000_000,
  "net/ipv6/icmp/ratelimit": 0,
};

/**
 * The judge's own table: at the very end of INPUT, after the confirmation of connections, a packet is reported by NFLOG
 * and then ends, so that no socket layer answers it.
 */
const endOfInput = `table inet podwire_judge {
  chain input {
    type filter hook input priority 2147483647; policy drop;
    log group 7
  }
}
`;

/** A rule that asks for connection states makes the kernel track; a table of its own, so that it comes after the first. */
const alwaysTrack = `table inet podwire_track {
  chain prerouting {
    type filter hook prerouting priority 2147483647; policy accept;
    ct state invalid counter
  }
}
`;

/** @throws Error when the system lacks something, KernelRefusal when it refuses something. */
export async function startKernelJudge(options: JudgeOptions): Promise<KernelJudge> {
  const { node } = options;
  const injector = await startInjector(node.interfaces, options.way);
  const judge = new KernelJudge(options, injector);
  const sysctls = Object.entries({ ...routerSysctls, ...options.sysctls });
  const perDevice = node.interfaces.map((name) => `echo 0 > /proc/sys/net/ipv4/conf/${name}/rp_filter`);
  // of the groups of routers and of its own addresses a node reports to be a member: packets that nobody sent
  const groups = node.interfaces.map((name) => `ip link set dev ${name} multicast off arp off`);
  const redirects = node.interfaces.map((name) => `echo 0 > /proc/sys/net/ipv4/conf/${name}/send_redirects`);
  const script = [
    ...groups,
    ...perDevice,
    ...redirects,
    ...sysctls.map(([path, value]) => `echo ${value} > /proc/sys/${path}`),
    hereDocument("ip -batch -", networkCommands(node)),
    hereDocument("nft -f -", endOfInput),
    ...(options.conntrack === "by-rules" ? [] : [hereDocument("nft -f -", alwaysTrack)]),
  ].join("\n");
  const result = await judge.run("sh", ["-e", "-s"], script);
  if (result.status !== 0) {
    await judge.close();
    throw new KernelRefusal("the node", result.stderr);
  }
  return judge;
}

function networkCommands(node: JudgedNode): string {
  const lines = node.addresses.map(({ ip, interface: name }) =>
    ip.family === 4
      ? `address add ${formatIp(ip)}/32 dev ${name}`
      : `address add ${formatIp(ip)}/128 dev ${name} nodad`,
  );
  for (const { net, interface: name } of node.routes) lines.push(`route add ${formatCidr(net)} dev ${name}`);
  return `${lines.join("\n")}\n`;
}
