/**
 * Virtual time: integer nanoseconds and a queue of events. Events of one instant run in the order they were asked for,
 * so that a run is a function of its inputs alone.
 */
import { assert } from "../base/index.ts";

export interface EventLoop {
  readonly nowNs: () => number;
  /** Runs `action` after `delayNs` (an integer >= 0). Returns a number that `cancel` takes. */
  after(delayNs: number, action: () => void): number;
  /** Does nothing to an event that ran, or was cancelled before. */
  cancel(timer: number): void;
  /** Runs events up to and including `untilNs`, then sets the clock there. */
  runUntil(untilNs: number): void;
  /**
   * Runs until `isPending` answers false (asked before each event), or no event is left up to `untilNs`; then the
   * clock stands at `untilNs`.
   */
  runWhile(isPending: () => boolean, untilNs: number): void;
  /** Runs everything that is queued. @throws AssertionError past `eventsMax`: something reschedules for ever. */
  runUntilIdle(eventsMax?: number): void;
  /** Events that are still to run. */
  readonly pending: () => number;
}

interface QueuedEvent {
  readonly atNs: number;
  /** Asked for as the how-manieth: breaks ties, and names the event. */
  readonly sequence: number;
  readonly action: () => void;
}

export function createEventLoop(startNs = 0): EventLoop {
  let now = startNs;
  let sequence = 0;
  const queue = new EventQueue();
  /** Sequence numbers of events that are to run; a cancelled one stays in the queue and is passed over. */
  const live = new Set<number>();

  const runNext = (untilNs: number): boolean => {
    for (let next = queue.first(); next !== undefined && next.atNs <= untilNs; next = queue.first()) {
      queue.removeFirst();
      if (!live.delete(next.sequence)) continue;
      now = next.atNs;
      next.action();
      return true;
    }
    return false;
  };
  return {
    nowNs: () => now,
    after(delayNs, action) {
      assert(Number.isSafeInteger(delayNs) && delayNs >= 0, `delay must be an integer >= 0: ${delayNs}`);
      assert(Number.isSafeInteger(now + delayNs), "virtual time has run out of whole numbers");
      const event = { atNs: now + delayNs, sequence: sequence++, action };
      queue.add(event);
      live.add(event.sequence);
      return event.sequence;
    },
    cancel(timer) {
      live.delete(timer);
    },
    runUntil(untilNs) {
      assert(untilNs >= now, "time runs forward only");
      while (runNext(untilNs));
      now = untilNs;
    },
    runWhile(isPending, untilNs) {
      while (isPending()) {
        if (runNext(untilNs)) continue;
        now = Math.max(now, untilNs);
        return;
      }
    },
    runUntilIdle(eventsMax = 10_000_000) {
      let count = 0;
      while (runNext(Number.MAX_SAFE_INTEGER)) assert(++count <= eventsMax, "the event queue never empties");
    },
    pending: () => live.size,
  };
}

/** A binary heap, earliest event on top. */
class EventQueue {
  readonly #heap: QueuedEvent[] = [];

  first(): QueuedEvent | undefined {
    return this.#heap[0];
  }

  add(event: QueuedEvent): void {
    const heap = this.#heap;
    heap.push(event);
    for (let i = heap.length - 1; i > 0; ) {
      const parent = (i - 1) >> 1;
      if (!isBefore(heap[i]!, heap[parent]!)) break;
      [heap[i], heap[parent]] = [heap[parent]!, heap[i]!];
      i = parent;
    }
  }

  removeFirst(): void {
    const heap = this.#heap;
    const last = heap.pop();
    if (heap.length === 0 || last === undefined) return;
    heap[0] = last;
    for (let i = 0; ; ) {
      let least = i;
      for (const child of [2 * i + 1, 2 * i + 2])
        if (child < heap.length && isBefore(heap[child]!, heap[least]!)) least = child;
      if (least === i) break;
      [heap[i], heap[least]] = [heap[least]!, heap[i]!];
      i = least;
    }
  }
}

function isBefore(a: QueuedEvent, b: QueuedEvent): boolean {
  return a.atNs < b.atNs || (a.atNs === b.atNs && a.sequence < b.sequence);
}
