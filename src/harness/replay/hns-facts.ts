/** A Windows node as far as a dump of HNS tells it: a port of the switch for each endpoint, and the uplink. */
import { cidrContains, type Ip, ipEquals, parseIp } from "../../addr/index.ts";
import { usageError } from "../../base/index.ts";
import type { HnsEndpoint, HnsTables } from "../../filter/hns/index.ts";
import type { DumpedNode } from "./node-facts.ts";

/** Endpoints of the node itself; those of other nodes stand in a dump as backends. */
export function ownEndpoints({ endpoints }: HnsTables): readonly HnsEndpoint[] {
  return endpoints.filter(({ isRemote }) => !isRemote);
}

/** What is known of the node, and where nobody told its routes, those that the endpoints' addresses make. */
export function hnsFacts(tables: HnsTables, facts: DumpedNode, uplink: string): DumpedNode {
  if (facts.routes.length > 0) return facts;
  const own = ownEndpoints(tables);
  const host = (ip: Ip): { readonly net: DumpedNode["routes"][number]["net"] } => ({
    net: { ...ip, prefix: ip.family === 4 ? 32 : 128 },
  });
  return {
    addresses: facts.addresses,
    interfaces: [
      ...facts.interfaces,
      ...own.map((endpoint) => ({ name: portName(endpoint), addresses: [], isLoopback: false })),
    ],
    routes: [
      ...own.flatMap((endpoint) =>
        endpoint.addresses.map((ip) => ({ ...host(ip), interface: portName(endpoint) })),
      ),
      { net: { family: 4, words: [0], prefix: 0 }, interface: uplink },
      { net: { family: 6, words: [0, 0, 0, 0], prefix: 0 }, interface: uplink },
    ],
  };
}

/**
 * The interface that leads to an endpoint, called by its name, its id or an address of its, or an interface's own name.
 * @throws InputError for none of these.
 */
export function portCalled(tables: HnsTables, facts: DumpedNode, word: string): string {
  if (facts.interfaces.some(({ name }) => name === word)) return word;
  const ip = parseIp(word);
  const own = ownEndpoints(tables);
  const found = own.find(
    ({ id, name, addresses }) =>
      name === word ||
      id.toLowerCase() === word.toLowerCase() ||
      addresses.some((one) => ip !== undefined && ipEquals(one, ip)),
  );
  const port = found?.addresses
    .map((address) => facts.routes.find(({ net }) => net.prefix > 0 && cidrContains(net, address))?.interface)
    .find((name) => name !== undefined);
  if (port !== undefined) return port;
  const known = own.map(({ name, id }) => (name === "" ? id : name));
  throw usageError(`HNS has no endpoint ${word}; it has ${known.join(", ")}`);
}

/** Names need not be there, ids are. */
function portName({ id }: HnsEndpoint): string {
  return `endpoint ${id}`;
}
