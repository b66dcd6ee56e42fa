/**
 * The helpers that programs of each type may call, by number (include/uapi/linux/bpf.h). Not offered, and refused by
 * number: socket lookups, tunnel keys, VLAN tags, room adjustment, FIB lookups, device maps.
 */
import { ProgramType } from "../context.ts";
import type { Helper } from "../machine-options.ts";
import { clockHelpers } from "./clock.ts";
import type { HelperEnvironment } from "./environment.ts";
import { mapHelpers } from "./maps.ts";
import { outputHelpers } from "./output.ts";
import { skbHelpers } from "./skb.ts";
import { xdpHelpers } from "./xdp.ts";

export type { HelperEnvironment, OutputEvent, Redirect } from "./environment.ts";

/** Of the helpers on socket buffers, what socket filters and cgroup programs may call too. */
export const loadsOnly: readonly number[] = [26, 68];
/** Helpers that take a socket buffer, or whose answer is one of tc's. */
export const skbOnly: readonly number[] = [9, 10, 11, 13, 26, 32, 34, 38, 39, 40, 43, 68, 152, 155];
/** Helpers that take an XDP buffer. */
export const xdpOnly: readonly number[] = [44, 54, 65, 188, 189, 190];

export function helpersFor(type: ProgramType, environment: HelperEnvironment): ReadonlyMap<number, Helper> {
  const skb = skbHelpers(environment);
  const ofType =
    type === ProgramType.xdp
      ? [...xdpHelpers(environment), ...skb.filter(([id]) => id === 28)]
      : type === ProgramType.schedCls
        ? skb
        : skb.filter(([id]) => loadsOnly.includes(id));
  return new Map([
    ...mapHelpers(environment),
    ...clockHelpers(environment),
    ...outputHelpers(environment),
    ...ofType,
  ]);
}
