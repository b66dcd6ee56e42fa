/**
 * The next rule of a long chain whose addresses, protocol and destination port fit a packet: plain conditions of all rules
 * side by side in one array, so that a rule that does not fit costs a few comparisons and no interpretation. A rule
 * passed over has a condition that is certain to fail; every other rule is tried in full. IPv4, whole headers alone.
 */
import { maskWord } from "../../addr/index.ts";
import type { Match } from "./match.ts";

/** Words a rule: source, its mask, destination, its mask, lowest and highest protocol * 65536 + destination port. */
const stride = 6;
const anyTransport = 0x7fff_ffff;

export interface FieldTable {
  readonly words: Int32Array;
  readonly count: number;
  /** No rule names an address: half of the words need not be read. */
  readonly isPortsOnly: boolean;
}

/** `undefined` where hardly a rule has a condition that the table could hold. */
export function fieldTable(rules: readonly (readonly Match[])[]): FieldTable | undefined {
  const words = new Int32Array(rules.length * stride);
  let useful = 0;
  let isPortsOnly = true;
  rules.forEach((matches, i) => {
    const at = i * stride;
    words[at + 5] = anyTransport;
    for (const match of matches) addMatch(words, at, match);
    const hasAddress = words[at + 1] !== 0 || words[at + 3] !== 0;
    if (hasAddress) isPortsOnly = false;
    if (hasAddress || words[at + 5] !== anyTransport) useful++;
  });
  return useful * 2 < rules.length ? undefined : { words, count: rules.length, isPortsOnly };
}

function addMatch(words: Int32Array, at: number, match: Match): void {
  if ("not" in match && match.not) return;
  switch (match.kind) {
    case "source":
    case "destination": {
      const side = at + (match.kind === "source" ? 0 : 2);
      words[side] = (match.net.words[0] ?? 0) | 0;
      words[side + 1] = maskWord(match.net.prefix, 0) | 0;
      return;
    }
    case "protocol":
      if (match.protocol === 0) return;
      words[at + 4] = match.protocol << 16;
      words[at + 5] = (match.protocol << 16) | 0xffff;
      return;
    case "dport": {
      // Stands behind the protocol that it belongs to.
      const protocol = words[at + 4]! >>> 16;
      if (protocol === 0) return;
      words[at + 4] = (protocol << 16) | match.min;
      words[at + 5] = (protocol << 16) | match.max;
      return;
    }
    default:
      return;
  }
}

/** Position of the first rule from `position` on that may fit; -1 when there is none. */
export function nextFitting(
  { words, count, isPortsOnly }: FieldTable,
  position: number,
  src: number,
  dst: number,
  protocol: number,
  dport: number,
): number {
  const end = count * stride;
  const transport = (protocol << 16) | dport;
  let at = position * stride;
  if (isPortsOnly) {
    while (at < end && (transport < words[at + 4]! || transport > words[at + 5]!)) at += stride;
    return at < end ? at / stride : -1;
  }
  for (; at < end; at += stride) {
    if (((src ^ words[at]!) & words[at + 1]!) !== 0) continue;
    if (((dst ^ words[at + 2]!) & words[at + 3]!) !== 0) continue;
    if (transport >= words[at + 4]! && transport <= words[at + 5]!) return at / stride;
  }
  return -1;
}
