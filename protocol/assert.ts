// Assertions for mistakes of ours. A peer's mistake is a value in a union, never one of these.

/** Thrown when the program broke its own rule. The shell catches it once, logs it, and fails closed. */
export class AssertionError extends Error {
  override readonly name = 'AssertionError';
}

/** Throws {@link AssertionError} with `message` unless `condition` holds. */
export function assert(condition: boolean, message: string): asserts condition {
  if (!condition) throw new AssertionError(message);
}

/** Returns `value` when it is neither null nor undefined, else throws {@link AssertionError} naming `what`. */
export function must<T>(value: T | null | undefined, what: string): T {
  if (value === null || value === undefined) throw new AssertionError(`missing: ${what}`);
  return value;
}

/** Ends a switch over a union: compiles only when every case was handled, throws if one slips in at run time. */
export function unreachable(value: never): never {
  throw new AssertionError(`unhandled case: ${JSON.stringify(value)}`);
}
