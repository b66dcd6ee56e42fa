/**
 * Names of IP protocols as iptables prints and reads them: those of /etc/protocols as Debian and Ubuntu ship it, which
 * getprotobynumber(3) answers from.
 */

const names: readonly (readonly [number: number, name: string])[] = [
  [1, "icmp"],
  [2, "igmp"],
  [3, "ggp"],
  [4, "ipencap"],
  [5, "st"],
  [6, "tcp"],
  [8, "egp"],
  [9, "igp"],
  [12, "pup"],
  [17, "udp"],
  [20, "hmp"],
  [22, "xns-idp"],
  [27, "rdp"],
  [29, "iso-tp4"],
  [33, "dccp"],
  [36, "xtp"],
  [37, "ddp"],
  [38, "idpr-cmtp"],
  [41, "ipv6"],
  [43, "ipv6-route"],
  [44, "ipv6-frag"],
  [45, "idrp"],
  [46, "rsvp"],
  [47, "gre"],
  [50, "esp"],
  [51, "ah"],
  [57, "skip"],
  [58, "ipv6-icmp"],
  [59, "ipv6-nonxt"],
  [60, "ipv6-opts"],
  [73, "rspf"],
  [81, "vmtp"],
  [88, "eigrp"],
  [89, "ospf"],
  [93, "ax.25"],
  [94, "ipip"],
  [97, "etherip"],
  [98, "encap"],
  [103, "pim"],
  [108, "ipcomp"],
  [112, "vrrp"],
  [115, "l2tp"],
  [124, "isis"],
  [132, "sctp"],
  [133, "fc"],
  [135, "mobility-header"],
  [136, "udplite"],
  [137, "mpls-in-ip"],
  [138, "manet"],
  [139, "hip"],
  [140, "shim6"],
  [141, "wesp"],
  [142, "rohc"],
];

const byNumber: ReadonlyMap<number, string> = new Map(names);
/** `icmpv6` and `mh` are libxtables' own; `all` and names of number 0 mean any protocol. */
const byName: ReadonlyMap<string, number> = new Map([
  ...names.map(([number, name]): [string, number] => [name, number]),
  ["icmpv6", 58],
  ["mh", 135],
  ["all", 0],
  ["ip", 0],
  ["hopopt", 0],
]);

/** Name, or number as text. */
export function protocolText(protocol: number): string {
  return byNumber.get(protocol) ?? String(protocol);
}

/** By name in any case or by number; 0 = all. `undefined` when unknown. */
export function parseProtocol(text: string): number | undefined {
  const named = byName.get(text.toLowerCase());
  if (named !== undefined) return named;
  if (!/^(0x[0-9a-fA-F]{1,2}|[0-9]{1,3})$/.test(text)) return undefined;
  const number = Number(text);
  return number < 256 ? number : undefined;
}
