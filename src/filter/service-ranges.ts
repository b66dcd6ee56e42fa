/**
 * Arithmetic of `ServiceRange` lists: protocols that connections are opened by, and their destination ports (of ICMP and
 * ICMPv6, types). A list is sorted by protocol and port, and its ranges neither overlap nor touch; equal sets of services
 * are so equal lists.
 */
import type { ServiceRange } from "../base/index.ts";
import { IpProtocol } from "../wire/index.ts";

export type Services = readonly ServiceRange[];

const portMax = 0xffff;
const typeMax = 0xff;

/** Everything that a connection can ask for. */
export const everyService: Services = [
  { protocol: IpProtocol.icmp, first: 0, last: typeMax },
  { protocol: IpProtocol.tcp, first: 0, last: portMax },
  { protocol: IpProtocol.udp, first: 0, last: portMax },
  { protocol: IpProtocol.icmpv6, first: 0, last: typeMax },
  { protocol: IpProtocol.sctp, first: 0, last: portMax },
];

/** The list of any ranges, in any order. */
export function servicesOf(ranges: Iterable<ServiceRange>): Services {
  const sorted = [...ranges].sort((a, b) => a.protocol - b.protocol || a.first - b.first);
  const services: ServiceRange[] = [];
  for (const range of sorted) {
    const before = services.at(-1);
    if (before?.protocol === range.protocol && range.first <= before.last + 1)
      services[services.length - 1] = { ...before, last: Math.max(before.last, range.last) };
    else services.push(range);
  }
  return services;
}

/** What is in both lists. */
export function commonServices(a: Services, b: Services): Services {
  const common: ServiceRange[] = [];
  for (const { protocol, first, last } of a)
    for (const other of b) {
      if (other.protocol !== protocol || other.first > last || other.last < first) continue;
      common.push({ protocol, first: Math.max(first, other.first), last: Math.min(last, other.last) });
    }
  return common;
}

/** What is not in the list. */
export function otherServices(services: Services): Services {
  return everyService.flatMap(({ protocol, last }) => {
    const gaps: ServiceRange[] = [];
    let first = 0;
    for (const range of services) {
      if (range.protocol !== protocol) continue;
      if (range.first > first) gaps.push({ protocol, first, last: range.first - 1 });
      first = range.last + 1;
    }
    return first > last ? gaps : [...gaps, { protocol, first, last }];
  });
}

/** Equal for equal lists. */
export function servicesText(services: Services): string {
  return services.map(({ protocol, first, last }) => `${protocol}:${first}-${last}`).join(",");
}

export function areSameServices(a: Services, b: Services): boolean {
  return a === b || (a.length === b.length && servicesText(a) === servicesText(b));
}
