/** The version of this package, from its own package.json, wherever it is installed. */
import { createRequire } from 'node:module';

// A package may import itself by name; the path to package.json differs between src/ and dist/.
const description = createRequire(import.meta.url)('ringkv/package.json') as { readonly version: string };

export const packageVersion: string = description.version;
