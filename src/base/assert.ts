/**
 * Assertions that stay on in production. A broken invariant crashes the thread, loudly: going on would
 * serve or store wrong data. The message is a constant or a thunk, so that a check that holds allocates
 * nothing.
 */
export class AssertionError extends Error {
  override readonly name = 'AssertionError';
}

export function assert(condition: boolean, message: string | (() => string)): asserts condition {
  if (!condition) throw new AssertionError(typeof message === 'string' ? message : message());
}

/** Narrows away undefined where an invariant says that the value is there. */
export function defined<T>(value: T | undefined, message: string): T {
  if (value === undefined) throw new AssertionError(message);
  return value;
}
