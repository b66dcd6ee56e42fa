/**
 * HNS load balancers at work, in VFP of every port of the switch: a pod's, the host's own and the uplink. At the port of a
 * client the virtual address becomes a backend's before its Out ACLs are asked, and answers get the virtual address back
 * after its In ACLs (kubernetes.io, Windows networking: translation "occurs at the container vSwitch port directly").
 * Without direct server return, and where a pod reaches itself, the client's address becomes the source VIP, or else the
 * node's, on the way to the backend.
 *
 * What no source states, and is this model's own: chance picks among the backends; a connection stays with its backend
 * until it ends or is idle for long, whatever becomes of the load balancer; the host's port knows no node ports (from
 * the node itself they are documented not to work); ICMP errors and later fragments are not translated.
 */
import { formatIp, type Ip } from "../../addr/index.ts";
import { DecodeStatus, type PacketBatch, setAddress, setPort } from "../../packet/index.ts";
import { IpProtocol } from "../../wire/index.ts";
import type { LinkContext } from "../datapath.ts";
import { sweepEveryNs, touchFlow, type VfpFlow, wordsText } from "./flows.ts";
import { type HnsLoadBalancer, LbFlag, type LbPortMapping } from "./load-balancer.ts";
import type { HnsEndpoint } from "./tables.ts";

/** What a load balancer decided. */
export interface LbChoice {
  readonly balancer: HnsLoadBalancer;
  readonly mapping: LbPortMapping;
  readonly backend: Ip;
}

/** Ports of the switch that are no endpoint's. */
export const hostPort = "host";
export const uplinkPort = "uplink";

interface End {
  readonly words: readonly number[];
  readonly port: number;
}

interface Translation extends VfpFlow {
  readonly choice: LbChoice;
  readonly keys: readonly (readonly [Map<string, Translation>, string])[];
  readonly client: End;
  readonly virtual: End;
  readonly backend: End;
  /** What the backend takes for its client. */
  readonly source: End | undefined;
}

type Direction = "forward" | "reply";

interface Frontend {
  readonly balancer: HnsLoadBalancer;
  readonly mapping: LbPortMapping;
  readonly choices: readonly LbChoice[];
}

const firstFreePort = 1024;
const portsMax = 65_536;

export class LoadBalancing {
  readonly #context: LinkContext;
  /** By `protocol|address|port`, of a node port `protocol|node4|port`. */
  #frontends = new Map<string, Frontend>();
  /** Port of the switch and the client's packet as it sent it. */
  readonly #asked = new Map<string, Translation>();
  /** Port of the switch and the answer as the backend's address sent it. */
  readonly #answered = new Map<string, Translation>();
  /** The client's packet to the backend, whose source is to be rewritten. */
  readonly #masked = new Map<string, Translation>();
  /** The backend's answer to that source. */
  readonly #unmasked = new Map<string, Translation>();
  /** Backend by load balancer and client, where clients stay with theirs. */
  readonly #clients = new Map<string, LbChoice>();
  #sweepAtNs = 0;

  constructor(context: LinkContext) {
    this.#context = context;
  }

  /** Load balancers and endpoints as they are from now on; known connections go on. */
  set(balancers: readonly HnsLoadBalancer[], endpoints: ReadonlyMap<string, HnsEndpoint>): void {
    this.#frontends = new Map();
    for (const balancer of balancers)
      for (const mapping of balancer.portMappings) {
        const family = (balancer.flags & LbFlag.ipv6) === 0 ? 4 : 6;
        const places =
          balancer.frontendVips.length === 0
            ? [[`node${family}`, family] as const]
            : balancer.frontendVips.map((ip) => [`${ip.words}`, ip.family] as const);
        for (const [place, own] of places) {
          const key = `${mapping.protocol}|${place}|${mapping.externalPort}`;
          const choices = balancer.endpoints.flatMap((id): readonly LbChoice[] => {
            const backend = endpoints.get(id)?.addresses.find((ip) => ip.family === own);
            return backend === undefined ? [] : [{ balancer, mapping, backend }];
          });
          if (choices.length > 0 && !this.#frontends.has(key))
            this.#frontends.set(key, { balancer, mapping, choices });
        }
      }
  }

  forget(): void {
    for (const map of [this.#asked, this.#answered, this.#masked, this.#unmasked]) map.clear();
  }

  forgetClients(): void {
    this.#clients.clear();
  }

  /** True while packets need not be looked at. */
  get isIdle(): boolean {
    return this.#frontends.size === 0 && this.#asked.size === 0;
  }

  /** Whether the packet answers one whose source was rewritten: no load balancer is asked about it. */
  isUnmasked(batch: PacketBatch, row: number): boolean {
    return this.#live(this.#unmasked, tuple(batch, row)) !== undefined;
  }

  /** A packet comes in from a port of the switch: the virtual address becomes a backend's. */
  translate(port: string, batch: PacketBatch, row: number): LbChoice | undefined {
    if (!hasPorts(batch, row)) return undefined;
    const known = this.#live(this.#asked, `${port}|${tuple(batch, row)}`);
    const translation = known ?? this.#begin(port, batch, row);
    if (translation === undefined) return undefined;
    return this.#apply(translation, "dst", translation.backend, "forward", batch, row);
  }

  /** Before it is routed: an answer to a source that was rewritten goes to the client. */
  unmask(batch: PacketBatch, row: number): LbChoice | undefined {
    const found = this.#live(this.#unmasked, tuple(batch, row));
    return found && this.#apply(found, "dst", found.client, "reply", batch, row);
  }

  /** Before it reaches a port of the switch: the client's address becomes the source that the backend is to see. */
  mask(batch: PacketBatch, row: number): LbChoice | undefined {
    const found = this.#live(this.#masked, tuple(batch, row));
    return found?.source && this.#apply(found, "src", found.source, "forward", batch, row);
  }

  /** A packet leaves by a port of the switch: a backend's address becomes the virtual one that the client asked. */
  restore(port: string, batch: PacketBatch, row: number): LbChoice | undefined {
    const found = this.#live(this.#answered, `${port}|${tuple(batch, row)}`);
    return found && this.#apply(found, "src", found.virtual, "reply", batch, row);
  }

  #live(map: Map<string, Translation>, key: string): Translation | undefined {
    const found = map.get(key);
    if (found === undefined || found.untilNs > this.#context.nowNs()) return found;
    this.#remove(found);
    return undefined;
  }

  #remove({ keys }: Translation): void {
    for (const [map, key] of keys) map.delete(key);
  }

  #apply(
    translation: Translation,
    side: "src" | "dst",
    { words, port }: End,
    direction: Direction,
    batch: PacketBatch,
    row: number,
  ): LbChoice {
    setAddress(batch, row, side, words);
    setPort(batch, row, side, port);
    touchFlow(translation, batch, row, direction === "reply", this.#context.nowNs());
    return translation.choice;
  }

  #begin(port: string, batch: PacketBatch, row: number): Translation | undefined {
    const frontend = this.#frontendOf(port, batch, row);
    if (frontend === undefined) return undefined;
    const now = this.#context.nowNs();
    if (now >= this.#sweepAtNs) this.#sweep(now);
    const choice = this.#choose(frontend, batch, row);
    const client = { words: wordsOf(batch, "src", row), port: batch.sport[row]! };
    const virtual = { words: wordsOf(batch, "dst", row), port: batch.dport[row]! };
    const backend = { words: choice.backend.words, port: choice.mapping.internalPort };
    const protocol = batch.protocol[row]!;
    const source = this.#sourceFor(frontend, protocol, client, backend);
    const keys: (readonly [Map<string, Translation>, string])[] = [
      [this.#asked, `${port}|${tuple(batch, row)}`],
      [this.#answered, `${port}|${keyOf(protocol, backend, client)}`],
      ...(source === undefined
        ? []
        : [
            [this.#masked, keyOf(protocol, client, backend)] as const,
            [this.#unmasked, keyOf(protocol, backend, source)] as const,
          ]),
    ];
    const made: Translation = { untilNs: now, fins: 0, choice, keys, client, virtual, backend, source };
    for (const [map, key] of keys) map.set(key, made);
    return made;
  }

  #frontendOf(port: string, batch: PacketBatch, row: number): Frontend | undefined {
    const [protocol, dport] = [batch.protocol[row]!, batch.dport[row]!];
    const words = wordsOf(batch, "dst", row);
    const virtual = this.#frontends.get(`${protocol}|${words}|${dport}`);
    if (virtual !== undefined || port === hostPort) return virtual;
    const family = batch.family[row]!;
    const nodePort = this.#frontends.get(`${protocol}|node${family}|${dport}`);
    return nodePort !== undefined && this.#isOwn(family, words) ? nodePort : undefined;
  }

  #isOwn(family: number, words: readonly number[]): boolean {
    return this.#context.facts.localAddresses.some(
      (ip) => ip.family === family && ip.words.every((word, i) => word === words[i]),
    );
  }

  #choose({ balancer, mapping, choices }: Frontend, batch: PacketBatch, row: number): LbChoice {
    const { random } = this.#context;
    if (mapping.distribution === "None") return random.pick(choices);
    const shared = mapping.distribution === "SourceIP" ? "" : `|${mapping.protocol}`;
    const key = `${balancer.frontendVips.map(formatIp)}|${mapping.externalPort}${shared}|${wordsText(batch, "src", row)}`;
    const known = this.#clients.get(key);
    const still = known && choices.find(({ backend }) => `${backend.words}` === `${known.backend.words}`);
    const choice = still ?? random.pick(choices);
    this.#clients.set(key, choice);
    return choice;
  }

  /** `undefined`: the backend sees the client's own address. */
  #sourceFor({ balancer }: Frontend, protocol: number, client: End, backend: End): End | undefined {
    const family = client.words.length === 1 ? 4 : 6;
    const isItself = `${client.words}` === `${backend.words}`;
    // Azure CNI's policy for pods that reach themselves (enableLoopbackDSR) is one of IPv4
    const isMasked = (balancer.flags & LbFlag.dsr) === 0 || (isItself && family === 4);
    if (!isMasked || this.#isOwn(family, client.words)) return undefined;
    const own = this.#context.facts.localAddresses.find((ip) => ip.family === family);
    const ip = balancer.sourceVip?.family === family ? balancer.sourceVip : own;
    if (ip === undefined) return undefined;
    for (let tried = 0; tried < portsMax; tried++) {
      const next = client.port + tried;
      const port = next < portsMax ? next : firstFreePort + (next % portsMax);
      const source = { words: ip.words, port };
      if (this.#live(this.#unmasked, keyOf(protocol, backend, source)) === undefined) return source;
    }
    return undefined;
  }

  #sweep(now: number): void {
    for (const translation of this.#asked.values()) if (translation.untilNs <= now) this.#remove(translation);
    this.#sweepAtNs = now + sweepEveryNs;
  }
}

function hasPorts(batch: PacketBatch, row: number): boolean {
  const protocol = batch.protocol[row]!;
  const isTransport =
    protocol === IpProtocol.tcp || protocol === IpProtocol.udp || protocol === IpProtocol.sctp;
  return isTransport && batch.status[row] === DecodeStatus.ok;
}

function wordsOf(batch: PacketBatch, side: "src" | "dst", row: number): readonly number[] {
  return [...batch[side].subarray(row * 4, row * 4 + (batch.family[row] === 4 ? 1 : 4))];
}

/** The packet from one end to the other. */
function keyOf(protocol: number, from: End, to: End): string {
  return `${protocol}|${from.words}|${from.port}|${to.words}|${to.port}`;
}

/** As `keyOf`; of what has no ports a key that no translation has. */
function tuple(batch: PacketBatch, row: number): string {
  if (!hasPorts(batch, row)) return "";
  const [from, to] = (["src", "dst"] as const).map((side) => wordsOf(batch, side, row));
  return `${batch.protocol[row]}|${from}|${batch.sport[row]}|${to}|${batch.dport[row]}`;
}
