/** What a program finds in a policy map and makes of it, read off the documentation of each generation, entry by entry. */
import type { Direction, PolicyEntry } from "../../../../src/engine/cilium/policy/entry.ts";
import type { MapGeneration } from "../../../../src/engine/cilium/variant.ts";

export interface Asked {
  readonly identity: number;
  readonly direction: Direction;
  readonly protocol: number;
  readonly port: number;
}

export type RawEntry = Pick<
  PolicyEntry,
  "identity" | "direction" | "protocol" | "port" | "portPrefix" | "deny" | "redirect"
>;

/** `allow mt2`, `redirect mt3`, `181 mt4`, or `133`. */
export function lookUp(entries: readonly RawEntry[], asked: Asked, generation: MapGeneration): string {
  const own = longest(entries, asked);
  const any = longest(entries, { ...asked, identity: 0 });
  const winner = choose(own, any, generation);
  if (winner === undefined) return "133";
  const matched = `mt${matchType(winner)}`;
  if (winner.deny) return `181 ${matched}`;
  return `${winner.redirect > 0 ? "redirect" : "allow"} ${matched}`;
}

function longest(entries: readonly RawEntry[], asked: Asked): RawEntry | undefined {
  const holding = entries.filter(
    (entry) =>
      entry.identity === asked.identity &&
      entry.direction === asked.direction &&
      (entry.protocol === 0 || entry.protocol === asked.protocol) &&
      Math.floor(asked.port / 2 ** (16 - entry.portPrefix)) ===
        Math.floor(entry.port / 2 ** (16 - entry.portPrefix)),
  );
  return holding.sort((a, b) => bits(b) - bits(a))[0];
}

function bits({ protocol, portPrefix }: RawEntry): number {
  return protocol === 0 ? 0 : 8 + portPrefix;
}

function choose(
  own: RawEntry | undefined,
  any: RawEntry | undefined,
  generation: MapGeneration,
): RawEntry | undefined {
  if (own === undefined || any === undefined) return own ?? any;
  if (generation === "G1") return rank(own) <= rank(any) ? own : any;
  const [first, second] = [precedence(own), precedence(any)];
  if (first !== second) return first > second ? own : any;
  return bits(any) > bits(own) ? any : own;
}

/** Of G1's ladder, from the top. */
function rank(entry: RawEntry): number {
  return [2, 3, 5, 6, 1, 4].indexOf(matchType(entry));
}

function precedence({ deny, redirect }: RawEntry): number {
  return deny ? 1000 : redirect === 0 ? 0 : 128 - redirect;
}

function matchType({ identity, protocol, portPrefix }: RawEntry): number {
  const isOwn = identity !== 0;
  if (portPrefix > 0) return isOwn ? 2 : 3;
  if (protocol > 0) return isOwn ? 5 : 6;
  return isOwn ? 1 : 4;
}
