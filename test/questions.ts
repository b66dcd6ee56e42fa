/**
 * Decision chains read rule by rule for one connection, as src/base/questions.ts says they are to be read: what the laws of
 * everything that states questions are held to.
 */
import { cidrOf, formatCidr, type Ip } from "../src/addr/index.ts";
import type {
  AddressMap,
  AddressTest,
  DecisionAction,
  DecisionChain,
  DecisionRule,
  HookChain,
} from "../src/base/index.ts";

export interface AskedConnection {
  readonly src: Ip;
  readonly dst: Ip;
  /** IP protocol number. */
  readonly protocol: number;
  /** Destination port; of ICMP and ICMPv6 the type. */
  readonly port: number;
}

/** What the chains of a way say of a connection: the first that does not accept it has the last word. */
export interface Answer {
  readonly verdict: "accept" | "drop" | "ask";
  /** Hook at which it was dropped, or only the walk knows. */
  readonly hook: number | undefined;
  readonly isMasqueraded: boolean;
}

/** `isOwn` knows the addresses of the node that the chains are of. */
export function answerOf(
  hooks: readonly HookChain[],
  connection: AskedConnection,
  isOwn: (ip: Ip) => boolean,
): Answer {
  const asking: Asking = { connection, isOwn, mark: 0, isMasqueraded: false };
  for (const { hook, chain } of hooks) {
    const end = read(chain, asking);
    const verdict = end === "return" ? chain.atEnd : end;
    if (verdict === "return")
      throw new Error(`${chain.name} is asked at a hook and neither accepts nor drops`);
    if (verdict !== "accept") return { verdict, hook, isMasqueraded: asking.isMasqueraded };
  }
  return { verdict: "accept", hook: undefined, isMasqueraded: asking.isMasqueraded };
}

/** Value that the map gives the address. */
export function mappedTo(map: AddressMap, ip: Ip, isOwn: (ip: Ip) => boolean): number {
  if (map.own !== undefined && isOwn(ip)) return map.own;
  const { lengths, values } = indexOf(map);
  for (const length of lengths[ip.family]) {
    const value = values.get(formatCidr(cidrOf(ip, length)));
    if (value !== undefined) return value;
  }
  return map.base === undefined ? 0 : mappedTo(map.base, ip, isOwn);
}

interface Asking {
  readonly connection: AskedConnection;
  readonly isOwn: (ip: Ip) => boolean;
  mark: number;
  isMasqueraded: boolean;
}

type End = Answer["verdict"] | "return";

function read(chain: DecisionChain, asking: Asking): End {
  for (const rule of chain.rules) {
    if (!holds(rule, asking)) continue;
    const end = act(rule.action, asking);
    if (end !== undefined) return end;
  }
  return chain.atEnd;
}

/** `undefined`: goes on with the next rule. */
function act(action: DecisionAction, asking: Asking): End | undefined {
  switch (action.kind) {
    case "masquerade":
      asking.isMasqueraded = true;
      return "accept";
    case "jump": {
      const end = read(action.chain, asking);
      return end === "return" ? undefined : end;
    }
    case "goto":
      return read(action.chain, asking);
    case "mark":
      asking.mark = (asking.mark & action.keep) ^ action.flip;
      return undefined;
    case "choose": {
      const { src, dst } = asking.connection;
      const value = mappedTo(action.map, action.end === "source" ? src : dst, asking.isOwn);
      const chain = action.chains.get(value);
      return chain === undefined ? undefined : read(chain, asking);
    }
    default:
      return action.kind;
  }
}

function holds({ family, source, destination, services, marks }: DecisionRule, asking: Asking): boolean {
  const { src, dst, protocol, port } = asking.connection;
  const all = (tests: readonly AddressTest[] | undefined, ip: Ip): boolean =>
    (tests ?? []).every(
      ({ map, value, not }) => (mappedTo(map, ip, asking.isOwn) === value) !== (not === true),
    );
  if (family !== undefined && family !== src.family) return false;
  if (!all(source, src) || !all(destination, dst)) return false;
  const isOfService =
    services?.some((one) => one.protocol === protocol && port >= one.first && port <= one.last) ?? true;
  const isMarked = (marks ?? []).every(
    ({ mask, value, not }) => ((asking.mark & mask) >>> 0 === value >>> 0) !== (not === true),
  );
  return isOfService && isMarked;
}

interface MapIndex {
  /** Of prefixes in use, longest first. */
  readonly lengths: { readonly 4: readonly number[]; readonly 6: readonly number[] };
  readonly values: ReadonlyMap<string, number>;
}

const indices = new WeakMap<AddressMap, MapIndex>();

function indexOf(map: AddressMap): MapIndex {
  let index = indices.get(map);
  if (index === undefined) {
    const lengthsOf = (family: 4 | 6): readonly number[] =>
      [...new Set(map.entries.flatMap(([block]) => (block.family === family ? [block.prefix] : [])))].sort(
        (a, b) => b - a,
      );
    index = {
      lengths: { 4: lengthsOf(4), 6: lengthsOf(6) },
      values: new Map(map.entries.map(([block, value]) => [formatCidr(block), value])),
    };
    indices.set(map, index);
  }
  return index;
}
