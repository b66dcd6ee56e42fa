/**
 * Places around a node under test: interfaces of namespaces that a user names, through which packets enter the node and
 * come out of it again. Never the machine's own namespace: it has no name.
 */
import { usageError } from "../../base/index.ts";

/** Where pods' packets, or those of everybody beyond the node's uplink, are sent and watched. */
export interface LivePlace {
  /** As `ip netns` names it. */
  readonly namespace: string;
  readonly interface: string;
  /** `namespace/pod` or `uplink`; empty: everybody for whom there is no other place. */
  readonly ends: readonly string[];
}

/** The node's uplink as an end: hosts outside and the other nodes with their pods. */
export const uplinkEnd = "uplink";

/** What the kernel takes for an interface's name (dev_valid_name), and `ip netns` for a namespace's. */
const namePattern = /^(?!\.{1,2}$)[^\s/:=,]+$/;
const interfaceNameMax = 15;

/** Reads `NETNS:INTERFACE[=END,...]`. @throws InputError */
export function parseLivePlace(text: string): LivePlace {
  const fail = (why: string): never => {
    throw usageError(`--live ${text}: ${why}; it is NETNS:INTERFACE[=END,...]`);
  };
  const equals = text.indexOf("=");
  const where = equals < 0 ? text : text.slice(0, equals);
  const [namespace = "", name = "", ...rest] = where.split(":");
  if (namespace === "" || name === "" || rest.length > 0)
    return fail("a namespace and an interface in it are needed");
  if (!namePattern.test(namespace)) return fail(`${namespace} is no name of a namespace`);
  if (!namePattern.test(name) || name.length > interfaceNameMax)
    return fail(`${name} is no name of an interface`);
  const ends = equals < 0 ? [] : text.slice(equals + 1).split(",");
  const wrong = ends.find((end) => end !== uplinkEnd && !/^[^/\s]+\/[^/\s]+$/.test(end));
  if (wrong !== undefined) return fail(`"${wrong}" is neither namespace/pod nor ${uplinkEnd}`);
  return { namespace, interface: name, ends };
}
