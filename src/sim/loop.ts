/**
 * Virtual time: integer nanoseconds and a queue of events. Events of one instant run in the order they were asked for,
 * so that a run is a function of its inputs alone.
 */
import { assert } from "../base/index.ts";

export interface EventLoop {
  readonly nowNs: () => number;
  /** Runs `action` after `delayNs` (an integer >= 0). Returns a number that `cancel` takes. */
  after(delayNs: number, action: () => void): number;
  cancel(timer: number): void;
  /** Runs events up to and including `untilNs`, then sets the clock there. */
  runUntil(untilNs: number): void;
  /** Runs until `isDone` answers true (asked after every event) or the clock would pass `untilNs`. */
  runWhile(isPending: () => boolean, untilNs: number): void;
  /** Runs everything that is queued. @throws AssertionError past `eventsMax`: something reschedules for ever. */
  runUntilIdle(eventsMax?: number): void;
  readonly pending: () => number;
}

interface QueuedEvent {
  readonly atNs: number;
  readonly sequence: number;
  readonly action: () => void;
}

export function createEventLoop(startNs = 0): EventLoop {
  let now = startNs;
  let sequence = 0;
  const heap: QueuedEvent[] = [];
  const cancelled = new Set<number>();

  const isBefore = (a: QueuedEvent, b: QueuedEvent): boolean =>
    a.atNs < b.atNs || (a.atNs === b.atNs && a.sequence < b.sequence);
  const push = (event: QueuedEvent): void => {
    heap.push(event);
    for (let i = heap.length - 1; i > 0; ) {
      const parent = (i - 1) >> 1;
      if (!isBefore(heap[i] as QueuedEvent, heap[parent] as QueuedEvent)) break;
      [heap[i], heap[parent]] = [heap[parent] as QueuedEvent, heap[i] as QueuedEvent];
      i = parent;
    }
  };
  const pop = (): QueuedEvent | undefined => {
    const top = heap[0];
    const last = heap.pop();
    if (heap.length === 0 || last === undefined) return top;
    heap[0] = last;
    for (let i = 0; ; ) {
      let least = i;
      for (const child of [2 * i + 1, 2 * i + 2])
        if (child < heap.length && isBefore(heap[child] as QueuedEvent, heap[least] as QueuedEvent))
          least = child;
      if (least === i) break;
      [heap[i], heap[least]] = [heap[least] as QueuedEvent, heap[i] as QueuedEvent];
      i = least;
    }
    return top;
  };
  const runNext = (untilNs: number): boolean => {
    const next = heap[0];
    if (next === undefined || next.atNs > untilNs) return false;
    pop();
    if (cancelled.delete(next.sequence)) return true;
    now = next.atNs;
    next.action();
    return true;
  };
  return {
    nowNs: () => now,
    after(delayNs, action) {
      assert(Number.isSafeInteger(delayNs) && delayNs >= 0, `delay must be an integer >= 0: ${delayNs}`);
      const event = { atNs: now + delayNs, sequence: sequence++, action };
      push(event);
      return event.sequence;
    },
    cancel(timer) {
      if (heap.some((event) => event.sequence === timer)) cancelled.add(timer);
    },
    runUntil(untilNs) {
      assert(untilNs >= now, "time runs forward only");
      while (runNext(untilNs));
      now = untilNs;
    },
    runWhile(isPending, untilNs) {
      while (isPending() && runNext(untilNs));
      if (isPending()) now = Math.max(now, untilNs);
    },
    runUntilIdle(eventsMax = 10_000_000) {
      let count = 0;
      while (runNext(Number.MAX_SAFE_INTEGER)) assert(++count <= eventsMax, "the event queue never empties");
    },
    pending: () => heap.length - cancelled.size,
  };
}
