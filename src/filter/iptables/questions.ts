/**
 * What the tables of a node ask of new connections, way by way: chains of the hooks in kernel order, for the first packet
 * of a connection, which is whole, tracked as NEW and comes from a port of 1024 and up. A way is stated where rules let
 * everything pass that is ESTABLISHED on the way back. Families go side by side, each rule of a hook for its own.
 */
import {
  type AddressMap,
  type DecisionChain,
  type DecisionRule,
  type HookChain,
  type Questions,
  type Way,
  waysOfNode,
} from "../../base/index.ts";
import { IpProtocol, TcpFlag } from "../../wire/index.ts";
import { Hook, type NodeFacts } from "../datapath.ts";
import { type LiveSet, type Membership, membershipOf, type SetCollection } from "../ipset/index.ts";
import { everyService, type Services } from "../service-ranges.ts";
import type { KnownPacket } from "./conditions.ts";
import { type DecidedChain, decideChain, Outcome, type Scene } from "./decision-chains.ts";
import type { LinkedRuleset } from "./link.ts";
import { CtStateBit } from "./match.ts";
import type { Ruleset } from "./ruleset.ts";
import { tablesOf } from "./stages.ts";
import { addressTypesOf } from "./type-map.ts";

/** One family of a node. */
export interface FamilyTables {
  readonly linked: LinkedRuleset;
  /** Connections are tracked. */
  readonly tracks: boolean;
}

export function iptablesQuestions(
  families: readonly FamilyTables[],
  facts: NodeFacts,
  sets: SetCollection,
): Questions {
  const stated = families.map((family) => statedWays(family, facts, sets));
  const ways: { [W in Way]?: readonly HookChain[] } = {};
  for (const way of waysOfNode) {
    const chains = stated.map((one) => one[way]);
    if (chains.every((one) => one === undefined)) continue;
    ways[way] = chains.flatMap((one, i) => one ?? [leftToWalk(way, families[i]?.linked.ruleset.family ?? 4)]);
  }
  return { ways };
}

type Place = "pod" | "wire" | "node";

const placesOf = (way: Way): readonly [from: Place, to: Place] => way.split("-") as [Place, Place]; // as ways are named

const wayOf = (from: Place, to: Place): Way => `${from}-${to}` as Way;

function hooksOf(way: Way): readonly number[] {
  const [from, to] = placesOf(way);
  if (from === "node") return [Hook.output, Hook.postrouting];
  return to === "node" ? [Hook.prerouting, Hook.input] : [Hook.prerouting, Hook.forward, Hook.postrouting];
}

/** Interfaces of a packet at a hook; `node`: none. */
interface PlacesAtHook {
  readonly in: Place;
  readonly out: Place;
}

function placesAt(way: Way, hook: number): PlacesAtHook {
  const [from, to] = placesOf(way);
  const isRouted = hook !== Hook.prerouting && hook !== Hook.input;
  return { in: from, out: isRouted ? to : "node" };
}

/** Of a packet in its connection. */
type Role = "first" | "reply";

function leftToWalk(way: Way, family: 4 | 6): HookChain {
  const chain: DecisionChain = {
    name: "left to the walk",
    rules: [{ family, action: { kind: "ask" } }],
    atEnd: "accept",
  };
  return { hook: hooksOf(way)[0] ?? Hook.prerouting, chain };
}

type StatedWays = { readonly [W in Way]?: readonly HookChain[] };

/** Ways of a rule set among sets, interfaces and address types. */
interface Variant {
  readonly key: string;
  /** `undefined`: no rule asks for them. */
  readonly addressTypes: AddressMap | undefined;
  readonly sets: readonly SetStamp[];
  readonly ways: StatedWays;
}

const variants = new WeakMap<Ruleset, Variant[]>();
/** Older ones are of sets that have changed since. */
const variantsMax = 8;

/** A set as it was at some time. */
interface SetStamp {
  readonly set: LiveSet | undefined;
  readonly members: LiveSet["memberSets"] | undefined;
  readonly version: number;
}

function stampOf(set: LiveSet | undefined): SetStamp {
  return { set, members: set?.memberSets, version: versionOf(set) };
}

function isAt(set: LiveSet | undefined, stamp: SetStamp): boolean {
  return set === stamp.set && set?.memberSets === stamp.members && versionOf(set) === stamp.version;
}

/** Of the same set with the same members it only grows. */
function versionOf(set: LiveSet | undefined): number {
  return set === undefined ? 0 : set.memberSets.reduce((sum, { version }) => sum + version, set.version);
}

/** Nodes with the same rules, sets and kinds of interfaces get the same chains. */
function statedWays({ linked, tracks }: FamilyTables, facts: NodeFacts, sets: SetCollection): StatedWays {
  const { ruleset, interfacePatterns } = linked;
  const surroundings = new Surroundings(linked, tracks, facts, sets);
  const { links, canMasquerade } = surroundings;
  const asksTypes = linked.tests.some(({ match }) => match.kind === "addrtype");
  const addressTypes = asksTypes ? surroundings.addressTypes : undefined;
  const fits = interfacePatterns.map(
    (pattern) => `${links.fits("pod", pattern)} ${links.fits("wire", pattern)}`,
  );
  const key = [tracks, canMasquerade, links.hasWire, ...fits].join(" ");
  const named = linked.setNames.map((name) => sets.get(name));
  const known = variants.get(ruleset) ?? [];
  const same = known.find(
    (one) =>
      one.key === key &&
      one.addressTypes === addressTypes &&
      one.sets.every((stamp, i) => isAt(named[i], stamp)),
  );
  if (same !== undefined) return same.ways;
  const ways: { [W in Way]?: readonly HookChain[] } = {};
  for (const way of waysOfNode) {
    const [from, to] = placesOf(way);
    if (way.includes("wire") && !links.hasWire) continue;
    if (surroundings.letsRepliesPass(wayOf(to, from))) ways[way] = surroundings.chainsOf(way);
  }
  const variant = { key, addressTypes, sets: named.map(stampOf), ways };
  variants.set(ruleset, [...known.slice(1 - variantsMax), variant]);
  return ways;
}

/** Interfaces of a node by what is behind them. */
class Links {
  readonly hasWire: boolean;
  readonly #facts: NodeFacts;
  readonly #uplink: number;

  /** The wire is where packets go that no other route takes. */
  constructor(facts: NodeFacts, family: 4 | 6) {
    this.#facts = facts;
    this.#uplink = facts.routeTo({ family, words: family === 4 ? [0] : [0, 0, 0, 0] });
    this.hasWire = facts.interfaces.some(({ index, isLoopback }) => index === this.#uplink && !isLoopback);
  }

  /** Whether the pattern fits the interfaces of a place; `undefined`: some of them. */
  fits(place: Place, pattern: string): boolean | undefined {
    const names =
      place === "node"
        ? []
        : this.#facts.interfaces.flatMap(({ index, name, isLoopback }) =>
            !isLoopback && (index === this.#uplink) === (place === "wire") ? [name] : [],
          );
    const prefix = pattern.endsWith("+") ? pattern.slice(0, -1) : undefined;
    const fitting = names.filter((name) =>
      prefix === undefined ? name === pattern : name.startsWith(prefix),
    );
    if (fitting.length === 0) return false;
    return fitting.length === names.length ? true : undefined;
  }
}

/** Ports that connections are opened from. */
const ephemeral = [1024, 0xffff] as const;
const anyPort = [0, 0xffff] as const;

/** What answers go to: the client's port; of ICMP the type of echo replies. */
const replyServices: Services = everyService.map(({ protocol }) => {
  if (protocol === IpProtocol.icmp) return { protocol, first: 0, last: 0 };
  if (protocol === IpProtocol.icmpv6) return { protocol, first: 129, last: 129 };
  return { protocol, first: ephemeral[0], last: ephemeral[1] };
});

/** What rules of one family of a node are asked in. */
class Surroundings {
  readonly links: Links;
  readonly canMasquerade: boolean;
  readonly addressTypes: AddressMap;
  readonly #ruleset: Ruleset;
  readonly #patterns: readonly string[];
  readonly #tracks: boolean;
  readonly #sets: SetCollection;
  readonly #changed: ReadonlySet<string>;
  readonly #setsConnmark: boolean;
  readonly #memberships = new Map<string, Membership | undefined>();
  /** By table, chain, and what is known of packets. */
  readonly #decidedChains = new Map<string, DecidedChain>();

  constructor(linked: LinkedRuleset, tracks: boolean, facts: NodeFacts, sets: SetCollection) {
    const { ruleset, actions, interfacePatterns } = linked;
    const { family } = ruleset;
    this.#ruleset = ruleset;
    this.#patterns = interfacePatterns;
    this.#tracks = tracks;
    this.#sets = sets;
    this.links = new Links(facts, family);
    this.canMasquerade = facts.interfaces.some(
      ({ isLoopback, addresses }) => !isLoopback && addresses.some((address) => address.family === family),
    );
    this.addressTypes = addressTypesOf(facts, family);
    this.#changed = new Set(
      actions.flatMap((target) => (target.kind === "SET" && target.action !== "map" ? [target.set] : [])),
    );
    this.#setsConnmark = actions.some((target) => target.kind === "CONNMARK" && target.action !== "restore");
  }

  /** Of sets that packets change only a look-up knows. */
  membership(name: string): Membership | undefined {
    if (this.#memberships.has(name)) return this.#memberships.get(name);
    const set = this.#sets.get(name);
    const isKnown = set !== undefined && ![name, ...set.members].some((one) => this.#changed.has(one));
    const membership = isKnown ? membershipOf(set) : undefined;
    this.#memberships.set(name, membership);
    return membership;
  }

  chainsOf(way: Way): readonly HookChain[] {
    const { family } = this.#ruleset;
    return this.#decided(way, "first").flatMap(({ hook, chain }) =>
      chain.rules.length === 0 && chain.atEnd === "accept" ? [] : [{ hook, chain: ofFamily(chain, family) }],
    );
  }

  letsRepliesPass(way: Way): boolean {
    return this.#decided(way, "reply").every(
      ({ outcomes }) => (outcomes & (Outcome.drop | Outcome.ask)) === 0,
    );
  }

  #decided(way: Way, role: Role): readonly (DecidedChain & { readonly hook: number })[] {
    return hooksOf(way).flatMap((hook) =>
      tablesOf(hook).flatMap(({ table: name, chain }) => {
        const table = this.#ruleset.tables[name];
        // of a connection only the first packet asks for translations
        if (table === undefined || (name === "nat" && (role === "reply" || !this.#tracks))) return [];
        const places = placesAt(way, hook);
        const fits = this.#patterns.map(
          (pattern) => `${this.links.fits(places.in, pattern)} ${this.links.fits(places.out, pattern)}`,
        );
        const key = [role, name, chain, ...fits].join(" ");
        const decided =
          this.#decidedChains.get(key) ??
          decideChain(table, chain, this.#scene(places, role, name === "raw"));
        this.#decidedChains.set(key, decided);
        return [{ hook, ...decided }];
      }),
    );
  }

  #scene(places: PlacesAtHook, role: Role, isRaw: boolean): Scene {
    const { family } = this.#ruleset;
    const isTracked = this.#tracks && !isRaw;
    const packet: KnownPacket = {
      family,
      states: isTracked ? (role === "first" ? isNew : isReply) : untracked,
      isFirst: isTracked && role === "first",
      connmark: isTracked && !this.#setsConnmark ? 0 : undefined,
      services: role === "first" ? everyService : replyServices,
      sourcePorts: role === "first" ? ephemeral : anyPort,
      tcpFlags: role === "first" ? TcpFlag.syn : undefined,
      fits: (direction, pattern) => this.links.fits(places[direction], pattern),
      addressTypes: this.addressTypes,
      membership: (name) => this.membership(name),
    };
    const name = [family, role, isRaw, this.#tracks, this.#setsConnmark].join(" ");
    return { packet, name, canMasquerade: this.canMasquerade };
  }
}

const chainsOfFamily = new WeakMap<DecisionChain, DecisionChain>();

/** A built-in chain that concerns one family alone, its policy too. */
function ofFamily(chain: DecisionChain, family: 4 | 6): DecisionChain {
  let own = chainsOfFamily.get(chain);
  if (own === undefined) {
    const rules: readonly DecisionRule[] =
      chain.atEnd === "drop"
        ? [
            { family, action: { kind: "jump", chain: { ...chain, atEnd: "return" } } },
            { family, action: { kind: "drop" } },
          ]
        : chain.rules.map((rule) => ({ family, ...rule }));
    own = { ...chain, rules, atEnd: "accept" };
    chainsOfFamily.set(chain, own);
  }
  return own;
}

/** A packet that conntrack has not seen counts as INVALID. */
const untracked = { sure: CtStateBit.INVALID, possible: CtStateBit.INVALID } as const;
const isNew = { sure: CtStateBit.NEW, possible: CtStateBit.NEW } as const;
/** Perhaps of a masqueraded connection. */
const isReply = { sure: CtStateBit.ESTABLISHED, possible: CtStateBit.ESTABLISHED | CtStateBit.SNAT } as const;
