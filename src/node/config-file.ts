/**
 * Finds and reads the configuration file: the one named by a flag, by RINGKV_CONFIG, or ./ringkv.json where it
 * exists. Read once at start, so synchronously.
 */
import { readFileSync } from 'node:fs';
import { ConfigurationError } from '../base/errors.ts';
import { MiB } from '../base/limits.ts';
import type { ConfigSources } from './config.ts';

const DEFAULT_PATH = './ringkv.json';
const FILE_BYTES_MAX = MiB;

/** `named` is undefined where no flag names a file. Throws ConfigurationError. */
export function readConfigFile(
  named: string | undefined,
  environment: ConfigSources['environment'],
): ConfigSources['file'] {
  const path = named ?? environment.RINGKV_CONFIG ?? DEFAULT_PATH;
  const optional = named === undefined && environment.RINGKV_CONFIG === undefined;
  let text: string;
  try {
    text = readFileSync(path, 'utf8');
  } catch (error) {
    if (optional && (error as NodeJS.ErrnoException).code === 'ENOENT') return null;
    throw new ConfigurationError(`file ${path}: cannot be read: ${(error as Error).message}`, {
      cause: error,
    });
  }
  if (text.length > FILE_BYTES_MAX)
    throw new ConfigurationError(`file ${path}: ${text.length} characters; the limit is ${FILE_BYTES_MAX}`);
  try {
    return { path, content: JSON.parse(text) as unknown };
  } catch (error) {
    throw new ConfigurationError(`file ${path}: not JSON: ${(error as Error).message}`, { cause: error });
  }
}
