/** A promise with its ends outside. Nobody has to wait for it: a rejection that nobody hears is none. */
export interface Settled<T> {
  readonly promise: Promise<T>;
  resolve(value: T): void;
  reject(error: Error): void;
}

export function newSettled<T>(): Settled<T> {
  let resolve: (value: T) => void = () => undefined;
  let reject: (error: Error) => void = () => undefined;
  const promise = new Promise<T>((one, other) => {
    resolve = one;
    reject = other;
  });
  promise.catch(() => undefined);
  return { promise, resolve, reject };
}
