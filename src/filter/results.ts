/** Allocation of `HookResults`, sized to a batch. */
import { createBatch } from "../packet/index.ts";
import type { HookResults } from "./datapath.ts";

/** The largest packet that a hook sends back: an ICMPv6 error of the minimum MTU (RFC 8200 section 5). */
const answerSizeMax = 1280;

/** Room for the answers to a batch of `capacity` rows. */
export function createHookResults(capacity: number): HookResults {
  return {
    verdict: new Uint8Array(capacity),
    detail: new Int32Array(capacity),
    way: new Uint8Array(capacity),
    rule: new Int32Array(capacity).fill(-1),
    events: [],
    emitted: createBatch(Math.min(capacity, 1024), answerSizeMax),
  };
}
