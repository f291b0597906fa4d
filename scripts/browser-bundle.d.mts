/** The code of the bundle of an entry, and what it still imports. */
export function bundleOf(
  entry: string,
  minify?: boolean,
): Promise<{ readonly code: string; readonly external: readonly string[] }>;
