/** Which port NAT takes of those that a rule or a port's class allows (kernel net/netfilter/nf_nat_core.c). */
import type { Prng } from "../../base/index.ts";

/** Ports `low .. low + count - 1`, of which the kernel tries some from a random one on. */
export interface PortQuestion {
  readonly manip: "src" | "dst";
  readonly low: number;
  readonly count: number;
  /** First place in the range, where the rule says so. */
  readonly offset: number | undefined;
  /** May evict a closing connection when few attempts are left. */
  isFree(port: number, attemptsLeft: number): boolean;
}

/** Answers with the port to use; one that is taken means that the packet is dropped when it is confirmed. */
export type PortChooser = (question: PortQuestion) => number;

const attemptsMax = 128;
/** Attempts, at the end, that may evict closing connections (NF_NAT_HARDER_THRESH). */
export const evictingAttempts = 32;

/** The kernel's own search. */
export function drawPort({ low, count, offset, isFree }: PortQuestion, random: Prng): number {
  let attempts = Math.min(count, attemptsMax);
  let place = offset ?? random.below(count);
  for (;;) {
    let port = low;
    for (let i = 0; i < attempts; i++, place = (place + 1) & 0xffff) {
      port = low + (place % count);
      if (isFree(port, attempts - i)) return port;
    }
    if (attempts >= count || attempts < 16) return port;
    attempts >>>= 1;
    place = random.below(count);
  }
}
