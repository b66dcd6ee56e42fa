/**
 * Which of its own addresses a node sends from (kernel net/ipv4/devinet.c, inet_select_addr, and fib_semantics.c;
 * net/ipv6/addrconf.c, ipv6_dev_get_saddr).
 */
import { cidrContains, cidrOf, formatIp, type Ip } from "../../addr/index.ts";
import type { NodeFacts } from "../datapath.ts";

/**
 * The address of interface `oif` whose subnet holds `towards`, else its first, else the first that any other interface
 * has; `undefined` on a node without addresses of the family. Loopback's own addresses have the scope of the host and are
 * passed over (inet_select_addr, ipv6_dev_get_saddr): what leaves by it is masqueraded as another interface. To an IPv6
 * address of its own, ::1 among them, a node sends from that address (RFC 6724 section 5, rule 1).
 */
export function addressOf(facts: NodeFacts, oif: number, towards: Ip): Ip | undefined {
  const { family } = towards;
  if (family === 6 && (isLoopback(towards) || isOwn(facts, towards))) return towards;
  const leaving = facts.interfaces.find(({ index }) => index === oif);
  const candidates = leaving === undefined || leaving.isLoopback ? [] : leaving.addresses;
  const own = candidates.filter((address) => address.family === family);
  const near = own.find((address) => cidrContains(cidrOf(address, address.prefix), towards));
  if (near !== undefined || own[0] !== undefined) return near ?? own[0];
  for (const { addresses, isLoopback } of facts.interfaces)
    for (const address of addresses) if (address.family === family && !isLoopback) return address;
  return undefined;
}

/**
 * The address that a node answers a packet from `src` to `dst` from; `undefined`: it cannot. From ::1 it answers over
 * loopback alone (ipv6_chk_addr asks for the interface of addresses with the scope of the host).
 */
export function answeringAddress(facts: NodeFacts, src: Ip, dst: Ip): Ip | undefined {
  const isOverLoopback = isLoopback(src) || isOwn(facts, src);
  if (isOwn(facts, dst) || (isLoopback(dst) && (dst.family === 4 || isOverLoopback))) return dst;
  if (isOverLoopback) return src;
  const oif = facts.routeTo(src);
  return oif === 0 ? undefined : addressOf(facts, oif, src);
}

/** Of the node's addresses that other hosts know. */
function isOwn(facts: NodeFacts, ip: Ip): boolean {
  const text = formatIp(ip);
  return facts.localAddresses.some((own) => formatIp(own) === text);
}

function isLoopback({ family, words }: Ip): boolean {
  return family === 4 ? (words[0] ?? 0) >>> 24 === 127 : formatIp({ family, words }) === "::1";
}

/** True for multicast and broadcast destinations, those of the node's own subnets among them: nothing answers them. */
export function isForMany(facts: NodeFacts, dst: Ip): boolean {
  const [first = 0] = dst.words;
  if (dst.family === 6) return first >>> 24 === 0xff;
  if (first >>> 28 === 14 || first === 0xffffffff) return true;
  return facts.interfaces.some(({ addresses }) =>
    addresses.some((address) => {
      if (address.family !== 4 || address.prefix > 30) return false;
      const hostBits = 2 ** (32 - address.prefix) - 1;
      return ((address.words[0] ?? 0) | hostBits) >>> 0 === first;
    }),
  );
}
