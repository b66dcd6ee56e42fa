/**
 * One endpoint's policy map, put together of what its rules say. A program finds, of one identity and of "any", the
 * narrowest key that holds a packet, so that a narrow allow would hide a broad deny: here denies take out what they
 * cover, and for maps whose programs prefer narrow ports to particular identities (G1) denies are written again at the
 * ports that would beat them. The result does not depend on the order of insertion.
 * Governing source: cilium/cilium pkg/policy/mapstate.go (insertWithChanges of 1.18, denyPreferredInsert of 1.16).
 */
import type { MapGeneration } from "../variant.ts";
import { comparePolicyEntries, type Direction, type PolicyEntry } from "./entry.ts";
import { anyIdentity } from "./identities.ts";

/** Entries of one protocol and port block, by identity. */
interface Slot {
  readonly protocol: number;
  readonly port: number;
  readonly portPrefix: number;
  readonly denies: Map<number, PolicyEntry>;
  readonly allows: Map<number, PolicyEntry>;
}

export class MapState {
  readonly #slots: Readonly<Record<Direction, Map<number, Slot>>> = { ingress: new Map(), egress: new Map() };
  #hasPrecedence = false;

  /** Of two entries of one key the deny stays, then the redirect that wins, then the earlier. */
  add(entry: PolicyEntry): void {
    const { identity, deny, redirect } = entry;
    const { allows, denies } = this.#slot(entry.direction, entry.protocol, entry.port, entry.portPrefix);
    const entries = deny ? denies : allows;
    if (deny || redirect > 0) this.#hasPrecedence = true;
    const there = entries.get(identity);
    if (there === undefined || priority(entry) > priority(there)) entries.set(identity, entry);
  }

  #slot(direction: Direction, protocol: number, port: number, portPrefix: number): Slot {
    const slots = this.#slots[direction];
    const key = slotKey(protocol, port, portPrefix);
    let slot = slots.get(key);
    if (slot === undefined) {
      slot = { protocol, port, portPrefix, denies: new Map(), allows: new Map() };
      slots.set(key, slot);
    }
    return slot;
  }

  /** In key order; frozen. */
  resolve(generation: MapGeneration): readonly PolicyEntry[] {
    const entries: PolicyEntry[] = [];
    for (const direction of ["ingress", "egress"] as const) {
      const slots = this.#slots[direction];
      if (this.#hasPrecedence) {
        prune(slots);
        if (generation === "G1") this.#addDependents(direction);
      }
      for (const { allows, denies } of slots.values()) entries.push(...denies.values(), ...allows.values());
    }
    return Object.freeze(entries.sort(comparePolicyEntries));
  }

  /**
   * Denies that G1's ladder needs. An allow of any identity with narrower ports outranks a deny of one identity, and
   * an allow of one identity with a range of ports outranks a deny of any identity within that range.
   */
  #addDependents(direction: Direction): void {
    const added: PolicyEntry[] = [];
    for (const slot of this.#slots[direction].values()) {
      const broader = broaderSlots(this.#slots[direction], slot);
      const { protocol, port, portPrefix } = slot;
      const denyOfAny = slot.denies.get(anyIdentity);
      for (const other of broader) {
        if (slot.allows.has(anyIdentity))
          for (const [identity, deny] of other.denies)
            if (identity !== anyIdentity) added.push({ ...deny, protocol, port, portPrefix });
        if (denyOfAny !== undefined && other.portPrefix > 0)
          for (const identity of other.allows.keys())
            if (identity !== anyIdentity) added.push({ ...denyOfAny, identity });
      }
    }
    for (const entry of added) this.add(entry);
  }
}

function priority({ redirect }: PolicyEntry): number {
  return redirect === 0 ? 0 : 128 - redirect;
}

function slotKey(protocol: number, port: number, portPrefix: number): number {
  return (protocol << 21) | (port << 5) | portPrefix;
}

/** Slots that are there and hold all of a slot's packets, without itself. */
function broaderSlots(slots: ReadonlyMap<number, Slot>, slot: Slot): readonly Slot[] {
  const { protocol, port, portPrefix } = slot;
  const found: Slot[] = [];
  const look = (ofProtocol: number, ofPort: number, prefix: number): void => {
    const there = slots.get(slotKey(ofProtocol, ofPort, prefix));
    if (there !== undefined) found.push(there);
  };
  for (let prefix = portPrefix - 1; prefix >= 0; prefix--)
    look(protocol, port & (0xffff << (16 - prefix)) & 0xffff, prefix);
  if (protocol !== 0) look(0, 0, 0);
  return found;
}

/** Takes out denies that another covers, and allows that a deny or a redirect of higher priority covers. */
function prune(slots: ReadonlyMap<number, Slot>): void {
  const isDenied = (ones: readonly Slot[], identity: number): boolean =>
    ones.some(({ denies }) => denies.has(identity) || denies.has(anyIdentity));
  const isOutranked = (ones: readonly Slot[], entry: PolicyEntry): boolean =>
    ones.some(({ allows }) =>
      [entry.identity, anyIdentity].some((identity) => {
        const other = allows.get(identity);
        return other !== undefined && priority(other) > priority(entry);
      }),
    );
  const gone: (() => void)[] = [];
  for (const slot of slots.values()) {
    const broader = broaderSlots(slots, slot);
    const broaderOrEqual = [slot, ...broader];
    for (const identity of slot.denies.keys())
      if (isDenied(broader, identity) || (identity !== anyIdentity && slot.denies.has(anyIdentity)))
        gone.push(() => slot.denies.delete(identity));
    for (const [identity, entry] of slot.allows)
      if (isDenied(broaderOrEqual, identity) || isOutranked(broaderOrEqual, entry))
        gone.push(() => slot.allows.delete(identity));
  }
  for (const take of gone) take();
}
