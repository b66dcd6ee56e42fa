/** Assertions that stay on in production: a broken invariant must stop the run, never give a wrong verdict. */

/** A broken assumption of podwire's own: a bug to report. */
export class AssertionError extends Error {
  override readonly name = "AssertionError";
}

/** @throws AssertionError when `condition` is false: a programmer error, never bad input. */
export function assert(condition: unknown, message: string): asserts condition {
  if (!condition) throw new AssertionError(message);
}

/** Closes a `switch` over a sum type: compiles only if every member is handled. */
export function unreachable(value: never, message = "unreachable case"): never {
  throw new AssertionError(`${message}: ${JSON.stringify(value)}`);
}
