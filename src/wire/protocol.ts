/** IP protocol numbers (IANA "Assigned Internet Protocol Numbers") that this house knows by name. */

/** Protocol numbers (IANA, Assigned Internet Protocol Numbers). */
export const IpProtocol = {
  icmp: 1,
  igmp: 2,
  tcp: 6,
  udp: 17,
  gre: 47,
  esp: 50,
  ah: 51,
  icmpv6: 58,
  sctp: 132,
} as const;

const names: Readonly<Record<number, string>> = {
  1: "icmp",
  2: "igmp",
  6: "tcp",
  17: "udp",
  47: "gre",
  50: "esp",
  51: "ah",
  58: "ipv6-icmp",
  132: "sctp",
};

/** The name that /etc/protocols gives, or the number as text. */
export function protocolName(protocol: number): string {
  return names[protocol] ?? String(protocol);
}

/** By name or number; `undefined` when unknown. */
export function protocolNumber(text: string): number | undefined {
  const lower = text.toLowerCase();
  for (const [number, name] of Object.entries(names)) if (name === lower) return Number(number);
  if (lower === "icmpv6") return IpProtocol.icmpv6;
  return /^[0-9]{1,3}$/.test(text) && Number(text) < 256 ? Number(text) : undefined;
}
