/**
 * Many calls of one kind as one: a bounded number of them, and of bytes, is in progress at a time, and those that are begun
 * in one turn of the loop share messages. All are tried, whatever becomes of the others.
 */
import { BadRequestError } from '../base/errors.ts';
import { limits } from '../base/limits.ts';
import { PartialFailureError } from './errors.ts';

/** The results in order. Rejects with the signal's reason where it is aborted, and with a
 * PartialFailureError where any failed; `bytesOf` is what one sends of values. */
export async function allOf<I, T>(
  name: string,
  items: readonly I[],
  bytesOf: (item: I) => number,
  signal: AbortSignal | undefined,
  run: (item: I) => Promise<T>,
): Promise<T[]> {
  if (items.length > limits.clientManyMax)
    throw new BadRequestError(`${name} of ${items.length} entries; the limit is ${limits.clientManyMax}`);
  const results: (T | Error)[] = new Array(items.length);
  let next = 0;
  let inProgress = 0;
  let bytesInProgress = 0;
  let failures = 0;
  await new Promise<void>((done) => {
    const one = async (item: I, at: number, bytes: number): Promise<void> => {
      try {
        results[at] = await run(item);
      } catch (error) {
        failures++;
        results[at] = error instanceof Error ? error : new Error(String(error));
      }
      inProgress--;
      bytesInProgress -= bytes;
      begin();
    };
    const begin = (): void => {
      while (next < items.length && inProgress < limits.clientManyInProgressMax) {
        const item = items[next] as I;
        const bytes = bytesOf(item);
        if (inProgress > 0 && bytesInProgress + bytes > limits.clientManyBytesMax) return;
        inProgress++;
        bytesInProgress += bytes;
        void one(item, next++, bytes);
      }
      if (inProgress === 0) done();
    };
    begin();
  });
  if (failures === 0) return results as T[];
  signal?.throwIfAborted();
  const cause = results.find((result) => result instanceof Error) as Error;
  throw new PartialFailureError(
    `${failures} of the ${items.length} entries of ${name} failed, the first with: ${cause.message}`,
    results,
    { cause },
  );
}
