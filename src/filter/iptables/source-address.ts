/** Which of its own addresses a node sends from (kernel net/ipv4/devinet.c, inet_select_addr, and fib_semantics.c). */
import { cidrContains, cidrOf, formatIp, type Ip } from "../../addr/index.ts";
import type { NodeFacts } from "../datapath.ts";

/**
 * The address of interface `oif` whose subnet holds `towards`, else its first, else the first that any other interface
 * has; `undefined` on a node without addresses of the family.
 */
export function addressOf(facts: NodeFacts, oif: number, towards: Ip): Ip | undefined {
  const { family } = towards;
  const own = (facts.interfaces.find(({ index }) => index === oif)?.addresses ?? []).filter(
    (address) => address.family === family,
  );
  const near = own.find((address) => cidrContains(cidrOf(address, address.prefix), towards));
  if (near !== undefined || own[0] !== undefined) return near ?? own[0];
  for (const { addresses, isLoopback } of facts.interfaces)
    for (const address of addresses) if (address.family === family && !isLoopback) return address;
  return undefined;
}

/** The address that a node answers a packet from `src` to `dst` from; `undefined`: it cannot. */
export function answeringAddress(facts: NodeFacts, src: Ip, dst: Ip): Ip | undefined {
  const wanted = formatIp(dst);
  if (facts.localAddresses.some((own) => formatIp(own) === wanted)) return dst;
  const oif = facts.routeTo(src);
  return oif === 0 ? undefined : addressOf(facts, oif, src);
}
