/** Whether a packet is as an ACL wants it, condition by condition; and why not, in words. */
import { cidrContainsWords, formatIp } from "../../addr/index.ts";
import { DecodeStatus, type PacketBatch, rowAddress } from "../../packet/index.ts";
import { IpProtocol } from "../../wire/index.ts";
import type { AclAddress, AclConditions, AclDirection, AclPorts } from "./acl.ts";
import { printAddresses, printPorts } from "./lists.ts";
import type { HnsSets } from "./sets.ts";

/** Conditions in the order in which they are tried; -1: all hold. */
export const Condition = {
  none: -1,
  protocols: 0,
  localAddresses: 1,
  remoteAddresses: 2,
  localPorts: 3,
  remotePorts: 4,
} as const;
export type Condition = (typeof Condition)[keyof typeof Condition];

/** First condition that the row does not meet. */
export function failedCondition(
  acl: AclConditions,
  direction: AclDirection,
  sets: HnsSets,
  batch: PacketBatch,
  row: number,
): Condition {
  const protocol = batch.protocol[row]!;
  if (acl.protocols.length > 0 && !acl.protocols.includes(protocol)) return Condition.protocols;
  if (!addressesHold(acl.localAddresses, "local", direction, sets, batch, row))
    return Condition.localAddresses;
  if (!addressesHold(acl.remoteAddresses, "remote", direction, sets, batch, row))
    return Condition.remoteAddresses;
  const isIn = direction === "In";
  if (!portHolds(acl.localPorts, isIn ? batch.dport[row]! : batch.sport[row]!, batch, row))
    return Condition.localPorts;
  if (!portHolds(acl.remotePorts, isIn ? batch.sport[row]! : batch.dport[row]!, batch, row))
    return Condition.remotePorts;
  return Condition.none;
}

/** The side of the packet that an element of a list is about (see acl.ts). */
export function sideOf(
  kind: AclAddress["kind"],
  list: "local" | "remote",
  direction: AclDirection,
): "src" | "dst" {
  if (kind === "set") return list === "local" ? "src" : "dst";
  return (list === "local") === (direction === "Out") ? "src" : "dst";
}

function addressesHold(
  list: readonly AclAddress[],
  name: "local" | "remote",
  direction: AclDirection,
  sets: HnsSets,
  batch: PacketBatch,
  row: number,
): boolean {
  let [hasNets, isInNet] = [false, false];
  const family = batch.family[row]!;
  for (const one of list) {
    const words = batch[sideOf(one.kind, name, direction)];
    if (one.kind === "set") {
      if (!sets.holds(one.id, family, words, row * 4)) return false;
      continue;
    }
    hasNets = true;
    isInNet ||= one.net.family === family && cidrContainsWords(one.net, words, row * 4);
  }
  return !hasNets || isInNet;
}

function hasPorts(batch: PacketBatch, row: number): boolean {
  const protocol = batch.protocol[row]!;
  return (
    batch.status[row] === DecodeStatus.ok &&
    (protocol === IpProtocol.tcp || protocol === IpProtocol.udp || protocol === IpProtocol.sctp)
  );
}

/** A packet without ports (ICMP, a later fragment) is on none. */
function portHolds(ports: readonly AclPorts[], port: number, batch: PacketBatch, row: number): boolean {
  if (ports.length === 0) return true;
  return hasPorts(batch, row) && ports.some(({ first, last }) => first <= port && port <= last);
}

/** `remote address 10.0.0.7 is not in 10.1.0.0/16`, in the words of the ACL's own fields. */
export function explainCondition(
  acl: AclConditions,
  direction: AclDirection,
  failed: number,
  nameOf: (id: string) => string,
  batch: PacketBatch,
  row: number,
): string {
  const isIn = direction === "In";
  const addressText = (list: readonly AclAddress[], name: "local" | "remote"): string => {
    const shown = printAddresses(list, nameOf);
    const side = sideOf(list[0]?.kind ?? "net", name, direction);
    return `${side === "src" ? "source" : "destination"} ${formatIp(rowAddress(batch, row, side))} is not in ${shown}`;
  };
  const portText = (ports: readonly AclPorts[], isLocal: boolean): string => {
    const port = isLocal === isIn ? batch.dport[row]! : batch.sport[row]!;
    const side = isLocal ? "local" : "remote";
    if (!hasPorts(batch, row)) return `the packet has no ${side} port, and ${printPorts(ports)} is asked for`;
    return `${side} port ${port} is not ${printPorts(ports)}`;
  };
  switch (failed) {
    case Condition.protocols:
      return `protocol ${batch.protocol[row]} is not ${acl.protocols.join(",")}`;
    case Condition.localAddresses:
      return addressText(acl.localAddresses, "local");
    case Condition.remoteAddresses:
      return addressText(acl.remoteAddresses, "remote");
    case Condition.localPorts:
      return portText(acl.localPorts, true);
    default:
      return portText(acl.remotePorts, false);
  }
}
