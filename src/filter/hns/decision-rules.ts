/**
 * ACLs of one network as rules of decision chains: sets are address maps, equal conditions are equal rules, whatever their
 * ids and origins. All is made for a list of sets, so that nodes which are given the same list share maps, rules and chains.
 * What an ACL asks of source ports is left to the walk.
 */
import { cidrOf, formatCidr, type Ip, ipEquals } from "../../addr/index.ts";
import type {
  AddressBlock,
  AddressMap,
  AddressTest,
  DecisionAction,
  DecisionChain,
  DecisionRule,
  ServiceRange,
} from "../../base/index.ts";
import { IpProtocol } from "../../wire/index.ts";
import { ownAddresses } from "../frontend-chain.ts";
import { type Services, servicesOf, servicesText } from "../service-ranges.ts";
import type { AclAction, AclAddress, AclConditions, AclDirection, AclPolicy, AclPorts } from "./acl.ts";
import { sideOf } from "./match.ts";
import type { SetPolicy } from "./tables.ts";

/** Rules of equal text do the same. */
export interface AclRule {
  readonly rule: DecisionRule;
  readonly text: string;
}

/** What is asked of an address; `family`: of which it must be. */
interface Asked {
  readonly tests: readonly AddressTest[];
  readonly family: 4 | 6 | undefined;
}

const everyAddress: AddressMap["entries"] = [
  [{ family: 4, words: [0], prefix: 0 }, 1],
  [{ family: 6, words: [0, 0, 0, 0], prefix: 0 }, 1],
];
const withPorts: readonly number[] = [IpProtocol.tcp, IpProtocol.udp, IpProtocol.sctp];
const anyPort: readonly AclPorts[] = [{ first: 0, last: 65_535 }];
const typeMax = 255;

export class DecisionRules {
  readonly #sets: ReadonlyMap<string, SetPolicy>;
  readonly #mapOfSet = new Map<string, AddressMap>();
  readonly #mapOfNets = new Map<string, AddressMap>();
  readonly #numbers = new Map<AddressMap, number>();
  readonly #services = new Map<string, readonly ServiceRange[]>();
  readonly #known = new WeakMap<AclPolicy, AclRule | "never">();
  readonly #chains = new Map<string, DecisionChain>();

  constructor(sets: readonly SetPolicy[]) {
    this.#sets = new Map(sets.map((set) => [set.id, set]));
  }

  /**
   * `undefined`: the ACL holds for no packet. A lone address of the node, `own` being all that it has, is asked for as
   * such: nodes share rules that let their own in.
   */
  ruleOf(acl: AclPolicy, own: readonly Ip[]): AclRule | undefined {
    const isNodes = (one: AclAddress): boolean => one.kind === "net" && isLone(one.net, own);
    if (acl.localAddresses.some(isNodes) || acl.remoteAddresses.some(isNodes)) return this.#make(acl, own);
    let rule = this.#known.get(acl);
    if (rule === undefined) {
      rule = this.#make(acl, []) ?? "never";
      this.#known.set(acl, rule);
    }
    return rule === "never" ? undefined : rule;
  }

  /** One chain for equal texts. */
  chain(text: string, make: () => DecisionChain): DecisionChain {
    let chain = this.#chains.get(text);
    if (chain === undefined) {
      chain = make();
      this.#chains.set(text, chain);
    }
    return chain;
  }

  #make(acl: AclPolicy, own: readonly Ip[]): AclRule | undefined {
    const services = servicesOfAcl(acl, acl.direction);
    const source = this.#asked(acl, "src", own);
    const destination = this.#asked(acl, "dst", own);
    if (services === "never" || source === undefined || destination === undefined) return undefined;
    const family = source.family ?? destination.family;
    if (destination.family !== undefined && destination.family !== family) return undefined;
    const sourcePorts = acl.direction === "In" ? acl.remotePorts : acl.localPorts;
    const action: DecisionAction = sourcePorts.length > 0 ? { kind: "ask" } : actionOf(acl.action);
    const text = [
      family ?? "",
      this.#textOf(source),
      this.#textOf(destination),
      services === undefined ? "*" : servicesText(services),
      action.kind,
    ].join(" ");
    const rule: DecisionRule = {
      ...(family === undefined ? {} : { family }),
      ...(source.tests.length === 0 ? {} : { source: source.tests }),
      ...(destination.tests.length === 0 ? {} : { destination: destination.tests }),
      ...(services === undefined ? {} : { services: this.#shared(services) }),
      action,
    };
    return { rule, text };
  }

  /** Of one side of the packet: all sets, and one of the nets of each list. `undefined`: no address is asked for. */
  #asked(acl: AclPolicy, side: "src" | "dst", own: readonly Ip[]): Asked | undefined {
    const tests: AddressTest[] = [];
    let family: Asked["family"];
    for (const list of ["local", "remote"] as const) {
      const addresses = acl[list === "local" ? "localAddresses" : "remoteAddresses"].filter(
        ({ kind }) => sideOf(kind, list, acl.direction) === side,
      );
      for (const one of addresses) {
        if (one.kind !== "set") continue;
        const map = this.#setMap(one.id);
        if (map.entries.length === 0) return undefined;
        tests.push({ map, value: 1 });
      }
      const nets = addresses.flatMap((one) => (one.kind === "net" ? [one.net] : []));
      const [first] = nets;
      if (first === undefined) continue;
      if (nets.length === 1 && isLone(first, own)) {
        family = first.family;
        tests.push({ map: ownAddresses, value: 1 });
      } else tests.push({ map: this.#netMap(nets), value: 1 });
    }
    return { tests, family };
  }

  #setMap(id: string): AddressMap {
    let map = this.#mapOfSet.get(id);
    if (map === undefined) {
      map = { entries: this.#isEverything(id) ? everyAddress : blocks(this.#netsOf(id)) };
      this.#mapOfSet.set(id, map);
    }
    return map;
  }

  /** A nested set without members holds every address. */
  #isEverything(id: string): boolean {
    const set = this.#sets.get(id);
    return (
      set?.type === "NESTEDIPSET" &&
      (set.values.length === 0 || set.values.some((member) => this.#isEverything(member)))
    );
  }

  #netsOf(id: string): readonly AddressBlock[] {
    const set = this.#sets.get(id);
    if (set === undefined) return [];
    return set.type === "IPSET" ? set.values : set.values.flatMap((member) => this.#netsOf(member));
  }

  #netMap(nets: readonly AddressBlock[]): AddressMap {
    const text = nets.map((net) => formatCidr(net)).join();
    let map = this.#mapOfNets.get(text);
    if (map === undefined) {
      map = { entries: blocks(nets) };
      this.#mapOfNets.set(text, map);
    }
    return map;
  }

  #shared(services: Services): Services {
    const text = servicesText(services);
    const known = this.#services.get(text);
    if (known !== undefined) return known;
    this.#services.set(text, services);
    return services;
  }

  #textOf({ tests }: Asked): string {
    return tests
      .map(({ map }) => {
        const number = this.#numbers.get(map) ?? this.#numbers.size;
        this.#numbers.set(map, number);
        return number;
      })
      .join("&");
  }
}

function actionOf(action: AclAction): DecisionAction {
  switch (action) {
    case "Allow":
      return { kind: "accept" };
    case "Block":
      return { kind: "drop" };
    case "Pass":
      return { kind: "return" };
  }
}

/** Nets may be written with host bits. */
function blocks(nets: readonly AddressBlock[]): AddressMap["entries"] {
  return nets.map((net) => [isHost(net) ? net : cidrOf(net, net.prefix), 1] as const);
}

/** Whether the net is all that the node has of a family. */
function isLone(net: AddressBlock, own: readonly Ip[]): boolean {
  return (
    isHost(net) &&
    own.some((ip) => ipEquals(ip, net)) &&
    own.every((ip) => ip.family !== net.family || ipEquals(ip, net))
  );
}

function isHost({ family, prefix }: AddressBlock): boolean {
  return prefix === (family === 4 ? 32 : 128);
}

/** `undefined`: anything; packets without ports are on none. */
function servicesOfAcl(acl: AclConditions, direction: AclDirection): Services | "never" | undefined {
  const [ports, sourcePorts] =
    direction === "In" ? [acl.localPorts, acl.remotePorts] : [acl.remotePorts, acl.localPorts];
  const asksPorts = ports.length > 0 || sourcePorts.length > 0;
  if (!asksPorts && acl.protocols.length === 0) return undefined;
  const wanted = asksPorts && acl.protocols.length === 0 ? withPorts : acl.protocols;
  const protocols = asksPorts ? wanted.filter((one) => withPorts.includes(one)) : wanted;
  if (protocols.length === 0) return "never";
  return servicesOf(
    protocols.flatMap((protocol) =>
      protocol === IpProtocol.icmp || protocol === IpProtocol.icmpv6
        ? [{ protocol, first: 0, last: typeMax }]
        : (ports.length === 0 ? anyPort : ports).map(({ first, last }) => ({ protocol, first, last })),
    ),
  );
}
