/**
 * Protocols and ports in atoms: stretches of ports that no rule tells apart. A whole table has its atoms; each group of rules
 * has fewer, and is asked once for each of its own.
 */
import type { ServiceRange } from "../base/index.ts";

/** Protocols that connections are opened by, and how many ports (types) each has. */
export const connectionProtocols: readonly { readonly protocol: number; readonly ports: number }[] = [
  { protocol: 6, ports: 65_536 },
  { protocol: 17, ports: 65_536 },
  { protocol: 132, ports: 65_536 },
  { protocol: 1, ports: 256 },
  { protocol: 58, ports: 256 },
];

/** Ports `first` to before the next atom's of the same protocol. */
export interface ServiceAtom {
  readonly protocol: number;
  readonly first: number;
}

export function atomsOf(ranges: Iterable<ServiceRange>): readonly ServiceAtom[] {
  const starts = new Map(connectionProtocols.map(({ protocol }) => [protocol, new Set([0])]));
  for (const { protocol, first, last } of ranges)
    starts
      .get(protocol)
      ?.add(first)
      .add(last + 1);
  return connectionProtocols.flatMap(({ protocol, ports }) =>
    [...(starts.get(protocol) ?? [])]
      .filter((first) => first < ports)
      .sort((a, b) => a - b)
      .map((first) => ({ protocol, first })),
  );
}

export function holdsService(
  services: readonly ServiceRange[] | undefined,
  protocol: number,
  port: number,
): boolean {
  if (services === undefined) return true;
  for (const range of services)
    if (range.protocol === protocol && port >= range.first && port <= range.last) return true;
  return false;
}

/** Which atom a protocol and port are of. */
export class AtomIndex {
  readonly atoms: readonly ServiceAtom[];
  /** By protocol number; ports to atoms. */
  readonly #byProtocol: (Uint16Array | undefined)[] = [];

  constructor(atoms: readonly ServiceAtom[]) {
    this.atoms = atoms;
    for (const { protocol, ports } of connectionProtocols) {
      const table = new Uint16Array(ports);
      atoms.forEach((atom, number) => {
        if (atom.protocol === protocol) table.fill(number, atom.first);
      });
      this.#byProtocol[protocol] = table;
    }
  }

  /** -1 for a protocol that connections are not opened by, or a port that there is not. */
  of(protocol: number, port: number): number {
    return this.#byProtocol[protocol]?.[port] ?? -1;
  }

  get bytes(): number {
    return connectionProtocols.reduce((sum, { ports }) => sum + 2 * ports, 0);
  }
}
