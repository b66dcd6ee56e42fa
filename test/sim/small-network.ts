/**
 * Two nodes and three pods, joined by a virtual network, with filters that tests write as one function: which packets
 * to stop, at which hook.
 */
import { cidrOf, type Ip, localMac, parseIp } from "../../src/addr/index.ts";
import { type Datapath, Hook, Verdict } from "../../src/filter/index.ts";
import { append, type PacketBatch, type PacketView, view } from "../../src/packet/index.ts";
import {
  type EndpointSpec,
  Hosts,
  type ListenerSpec,
  Network,
  type NetworkOptions,
  type NetworkSpec,
  type NodeSpec,
  type TapEvent,
} from "../../src/sim/index.ts";
import { printPacket } from "../../src/wire/index.ts";

export function ip(text: string): Ip {
  const parsed = parseIp(text);
  if (parsed === undefined) throw new Error(`not an address: ${text}`);
  return parsed;
}

const net = (text: string, prefix: number): NodeSpec["routes"][number]["net"] => cidrOf(ip(text), prefix);

function node(number: number): NodeSpec {
  const address = ip(`10.0.0.${number}`);
  const address6 = ip(`fd00::${number}`);
  const mac = localMac(number);
  return {
    name: `n${number}`,
    os: "linux",
    addresses: [address, address6],
    interfaces: [
      { index: 1, name: "lo", mac: [0, 0, 0, 0, 0, 0], link: "loopback", addresses: [] },
      { index: 2, name: "eth0", mac, link: "fabric", addresses: [] },
      { index: 3, name: `veth${number}a`, mac, link: "pod", addresses: [] },
      { index: 4, name: `veth${number}b`, mac, link: "pod", addresses: [] },
    ],
    routes: [
      { net: net("0.0.0.0", 0), oif: 2 },
      { net: net("::", 0), oif: 2 },
    ],
  };
}

const listeners: readonly ListenerSpec[] = (["TCP", "UDP", "SCTP"] as const).map((protocol) => ({
  protocol,
  port: 80,
}));

function pod(id: string, nodeName: string, interfaceIndex: number, last: string): EndpointSpec {
  return {
    id,
    node: nodeName,
    interfaceIndex,
    mac: localMac(0x100 + interfaceIndex),
    ips: [ip(`10.1.${last}`), ip(`fd01::${last.replace(".", ":")}`)],
    listeners,
  };
}

/** `x/a` and `x/c` on n1, `x/b` on n2; each listens on port 80 of every protocol. */
export const smallSpec: NetworkSpec = {
  nodes: [node(1), node(2)],
  frontends: [],
  endpoints: [pod("x/a", "n1", 3, "1.1"), pod("x/c", "n1", 4, "1.2"), pod("x/b", "n2", 3, "2.1")],
};

export const addressOf: Readonly<Record<string, { readonly 4: Ip; readonly 6: Ip }>> = Object.fromEntries(
  smallSpec.endpoints.map(({ id, ips }) => [id, { 4: ips[0] as Ip, 6: ips[1] as Ip }]),
);

export interface StopRequest {
  readonly node: string;
  readonly hook: number;
  readonly packet: PacketView;
}

/** What becomes of a packet at a hook: nothing special, dropped, or answered with a packet of the node's own. */
export type Decide = (request: StopRequest, batch: PacketBatch, row: number) => "pass" | "drop" | Uint8Array;

export function filterOf(nodeName: string, decide: Decide): Datapath {
  const attached = [Hook.prerouting, Hook.input, Hook.forward, Hook.output, Hook.postrouting];
  return {
    hooks: attached,
    run(hook, batch, first, last, out) {
      for (let row = first; row < last; row++) {
        const answer = decide({ node: nodeName, hook, packet: view(batch, row) }, batch, row);
        out.verdict[row] =
          answer === "pass" ? Verdict.accept : answer === "drop" ? Verdict.drop : Verdict.reject;
        out.rule[row] = -1;
        if (typeof answer !== "string") append(out.emitted, answer);
      }
    },
    apply: () => ({ ok: true }),
    forgetFlows: () => undefined,
    questions: () => undefined,
    forgetClients: () => undefined,
    describeRule: (index) => {
      throw new Error(`no rule ${index}`);
    },
    explainMiss: () => "",
    describePoint: String,
  };
}

export interface SmallWorld {
  readonly network: Network;
  readonly hosts: Hosts;
}

export function smallWorld(options: NetworkOptions = {}, decide?: Decide): SmallWorld {
  const network = new Network(smallSpec, options);
  if (decide !== undefined)
    for (const { name } of smallSpec.nodes) network.setDatapath(name, filterOf(name, decide));
  return { network, hosts: new Hosts(network) };
}

/** Lines of the packets that pods sent, with the virtual milliseconds at which they did. */
export class Wire {
  readonly #events: TapEvent[] = [];
  readonly tap = (event: TapEvent): void => {
    if (event.interface.link === "pod" && event.direction === "in") this.#events.push(event);
  };

  get lines(): readonly string[] {
    return this.#events.map(({ bytes }) => printPacket(bytes));
  }

  get sentMs(): readonly number[] {
    return this.#events.map(({ atNs }) => Math.round(atNs / 1e6));
  }

  get packets(): readonly Uint8Array[] {
    return this.#events.map(({ bytes }) => bytes);
  }

  forget(): void {
    this.#events.length = 0;
  }
}

/** The `numbers`-th (from 1) of the packets that `isMeant` picks get lost at their sender's node; no numbers: all. */
export function losing(isMeant: (packet: PacketView) => boolean, ...numbers: readonly number[]): Decide {
  let count = 0;
  return ({ node, hook, packet }) => {
    const isAtSender =
      hook === Hook.forward && new RegExp(`^(10\\.1\\.|fd01::)${node.slice(1)}[.:]`).test(packet.src);
    if (!isAtSender || !isMeant(packet)) return "pass";
    count++;
    return numbers.length === 0 || numbers.includes(count) ? "drop" : "pass";
  };
}
