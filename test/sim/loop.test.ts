/** Virtual time: order of events, cancelling, and the ways to run. */
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { createEventLoop } from "../../src/sim/index.ts";

describe("the event loop", () => {
  it("law: events run in order of time, and of one instant in the order they were asked for", () => {
    fc.assert(
      fc.property(fc.array(fc.integer({ min: 0, max: 20 })), (delays) => {
        const loop = createEventLoop();
        const ran: (readonly [number, number])[] = [];
        delays.forEach((delay, i) => {
          loop.after(delay, () => ran.push([loop.nowNs(), i]));
        });
        loop.runUntilIdle();
        const expected = delays
          .map((delay, i) => [delay, i] as const)
          .sort((a, b) => a[0] - b[0] || a[1] - b[1]);
        expect(ran).toEqual(expected);
        expect(loop.pending()).toBe(0);
      }),
    );
  });

  it("law: cancelled events never run, others all do, and cancelling is harmless afterwards", () => {
    const plan = fc.array(fc.tuple(fc.integer({ min: 0, max: 9 }), fc.boolean()));
    fc.assert(
      fc.property(plan, fc.integer({ min: 0, max: 9 }), (events, untilNs) => {
        const loop = createEventLoop();
        const ran = new Set<number>();
        const timers = events.map(([delay], i) => loop.after(delay, () => ran.add(i)));
        for (const [i, [, isCancelled]] of events.entries())
          if (isCancelled) loop.cancel(timers[i] as number);
        expect(loop.pending()).toBe(events.filter(([, isCancelled]) => !isCancelled).length);
        loop.runUntil(untilNs);
        for (const timer of timers) loop.cancel(timer);
        expect(loop.pending()).toBe(0);
        loop.runUntilIdle();
        const due = events.flatMap(([delay, isCancelled], i) =>
          !isCancelled && delay <= untilNs ? [i] : [],
        );
        expect([...ran].sort((a, b) => a - b)).toEqual(due);
      }),
    );
  });

  it("runs what events ask for, at the same instant too, and cancels from within", () => {
    const loop = createEventLoop(100);
    const ran: string[] = [];
    const never = loop.after(10, () => ran.push("never"));
    loop.after(5, () => {
      ran.push(`a${loop.nowNs()}`);
      loop.after(0, () => ran.push(`b${loop.nowNs()}`));
      loop.cancel(never);
    });
    loop.runUntilIdle();
    expect(ran).toEqual(["a105", "b105"]);
    expect(loop.nowNs()).toBe(105);
  });

  it("runUntil runs events up to its instant, that one included, and leaves the clock there", () => {
    const loop = createEventLoop();
    const ran: number[] = [];
    for (const delay of [1, 5, 6]) loop.after(delay, () => ran.push(delay));
    loop.runUntil(5);
    expect([ran, loop.nowNs(), loop.pending()]).toEqual([[1, 5], 5, 1]);
    expect(() => loop.runUntil(4)).toThrow(/forward/);
  });

  it("runWhile stops as soon as nothing is waited for, and the clock stands where that was", () => {
    const loop = createEventLoop();
    let count = 0;
    for (const delay of [1, 2, 3]) loop.after(delay, () => count++);
    loop.runWhile(() => count < 2, 100);
    expect([count, loop.nowNs(), loop.pending()]).toEqual([2, 2, 1]);
    loop.runWhile(() => false, 100);
    expect(loop.nowNs()).toBe(2);
  });

  it("runWhile lets the time run out where what it waits for never comes", () => {
    const loop = createEventLoop();
    loop.after(200, () => undefined);
    loop.runWhile(() => true, 100);
    expect([loop.nowNs(), loop.pending()]).toEqual([100, 1]);
    loop.runWhile(() => true, 50); // a time that is over
    expect(loop.nowNs()).toBe(100);
  });

  it("refuses delays that are no whole numbers, and runs that never end", () => {
    const loop = createEventLoop();
    for (const delay of [-1, 0.5, Number.NaN, Number.POSITIVE_INFINITY])
      expect(() => loop.after(delay, () => undefined)).toThrow(/integer/);
    expect(() => createEventLoop(2 ** 53 - 1).after(1, () => undefined)).toThrow(/whole numbers/);
    const again = (): void => void loop.after(1, again);
    again();
    expect(() => loop.runUntilIdle(1000)).toThrow(/never empties/);
  });
});
