/**
 * Frontends of Services as a decision chain: what is sent to one is translated, which only the walk knows. What is sent
 * elsewhere comes back from the chain.
 */
import { formatIp, type Ip } from "../addr/index.ts";
import type { AddressBlock, AddressMap, DecisionChain, DecisionRule, ServiceRange } from "../base/index.ts";

export interface TranslatedFrontend {
  /** `undefined`: each node's own addresses. */
  readonly ip: Ip | undefined;
  /** IP protocol number. */
  readonly protocol: number;
  readonly port: number;
}

/** Gives the addresses of the node that the tables are on 1; one map for all that ask for them. */
export const ownAddresses: AddressMap = Object.freeze({ entries: [], own: 1 });

/** An address of its own as a block. */
export function hostBlock({ family, words }: Ip): AddressBlock {
  return { family, words, prefix: family === 4 ? 32 : 128 };
}

/** Made of late: most nodes of a cluster translate the same, and have one chain. */
const recent = new Map<string, DecisionChain>();
const recentMax = 16;

/** Addresses of the same services share a rule. */
export function frontendChain(name: string, frontends: readonly TranslatedFrontend[]): DecisionChain {
  const text = `${name}\n${frontends.map(({ ip, protocol, port }) => `${ip?.words} ${protocol} ${port}`).join()}`;
  const known = recent.get(text);
  if (known !== undefined) return known;
  const chain = makeChain(name, frontends);
  if (recent.size >= recentMax) recent.clear();
  recent.set(text, chain);
  return chain;
}

function makeChain(name: string, frontends: readonly TranslatedFrontend[]): DecisionChain {
  const byAddress = new Map<string, { readonly ip: Ip; readonly services: Map<string, ServiceRange> }>();
  const ofNodes = new Map<string, ServiceRange>();
  for (const { ip, protocol, port } of frontends) {
    let services = ofNodes;
    if (ip !== undefined) {
      const known = byAddress.get(formatIp(ip)) ?? { ip, services: new Map<string, ServiceRange>() };
      byAddress.set(formatIp(ip), known);
      services = known.services;
    }
    services.set(`${protocol}/${port}`, { protocol, first: port, last: port });
  }
  const entries: (readonly [AddressBlock, number])[] = [];
  const map: AddressMap = { entries };
  const rules = new Map<string, DecisionRule>();
  const values = new Map<string, number>();
  for (const { ip, services } of byAddress.values()) {
    const text = [...services.keys()].sort().join();
    const value = values.get(text) ?? values.size + 1;
    values.set(text, value);
    entries.push([hostBlock(ip), value]);
    if (!rules.has(text))
      rules.set(text, { destination: [{ map, value }], services: [...services.values()], action: ask });
  }
  const ofOwn: readonly DecisionRule[] =
    ofNodes.size === 0
      ? []
      : [
          {
            destination: [{ map: ownAddresses, value: 1 }],
            services: [...ofNodes.values()],
            action: ask,
          },
        ];
  return { name, rules: [...rules.values(), ...ofOwn], atEnd: "return" };
}

const ask = { kind: "ask" } as const;
