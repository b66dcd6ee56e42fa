/** Allocation of `HookResults`, sized to a batch. */
import { createBatch } from "../packet/index.ts";
import type { HookResults } from "./datapath.ts";

export function createHookResults(capacity: number): HookResults {
  return {
    verdict: new Uint8Array(capacity),
    detail: new Int32Array(capacity),
    rule: new Int32Array(capacity).fill(-1),
    events: [],
    emitted: createBatch(Math.min(capacity, 1024), 640),
  };
}
