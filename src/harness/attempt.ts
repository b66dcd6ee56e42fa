/** A connection between two ends: which family and port it takes, and what its client sends. */
import type { Family, Ip } from "../addr/index.ts";
import type { Prng } from "../base/index.ts";
import type { Connection } from "../k8s/index.ts";
import type { ConnectionAttempt, Network } from "../sim/index.ts";
import { endAddress, type SourceEnd, type TableEnd } from "./ends.ts";
import { stationOf } from "./topology.ts";

export type ConnectionWords = Pick<Connection, "protocol" | "port" | "family">;

/** The destination's primary family where the source has it too, else another common one; `undefined`: none. */
export function commonFamily(
  from: SourceEnd,
  to: TableEnd,
  families: readonly Family[] = [4, 6],
): Family | undefined {
  const common = families.filter(
    (family) => endAddress(from.end, family) !== undefined && endAddress(to.end, family) !== undefined,
  );
  return common.find((family) => family === primaryFamily(to)) ?? common[0];
}

function primaryFamily({ end }: TableEnd): Family | undefined {
  switch (end.kind) {
    case "pod":
      return end.pod.ips[0]?.family;
    case "service":
      return end.ips[0]?.family;
    case "node":
    case "node-port":
      return end.node.addresses[0]?.family;
    case "external":
      return end.ip.family;
  }
}

/** A node port is its own end's port, whatever `words` say. */
export function connectionBetween(from: SourceEnd, to: TableEnd, words: ConnectionWords): Connection {
  const { protocol, family } = words;
  const port = to.end.kind === "node-port" ? to.end.port : words.port;
  return { from: from.end, to: to.end, protocol, port, family };
}

/**
 * Who sends what where; hosts outside the cluster come to exist in the network on the way. A headless Service resolves
 * to an endpoint drawn from `random`. `undefined`: an end has no address of the family.
 */
export function sendingOf(
  network: Network,
  { from, to, family }: Connection,
  random: Prng,
): { readonly from: string; readonly src: Ip; readonly dst: Ip } | undefined {
  const src = endAddress(from, family);
  const candidates = to.kind === "service" ? to.ips.filter((ip) => ip.family === family) : [];
  const dst = candidates.length > 0 ? random.pick(candidates) : endAddress(to, family);
  if (src === undefined || dst === undefined) return undefined;
  if (to.kind === "external") network.addExternal(dst);
  const station = from.kind === "external" ? network.addExternal(src) : stationOf(from);
  return { from: station, src, dst };
}

/** The station that sends from an end: a pod, `node:NAME` or `ip:ADDRESS`, a host that comes to exist on the way. */
export function senderOf(network: Network, { end }: SourceEnd): string {
  return end.kind === "external" ? network.addExternal(end.ip) : stationOf(end);
}

export function connectionAttempt(
  network: Network,
  connection: Connection,
  sourcePort: number,
  random: Prng,
): ConnectionAttempt | undefined {
  const sending = sendingOf(network, connection, random);
  const { protocol, port } = connection;
  return sending === undefined ? undefined : { ...sending, protocol, port, sourcePort };
}
