/** The files of `ringkv bench` and `ringkv plan`: a directory for the time of a measurement, and the file of its figures. */
import { mkdtempSync, readFileSync, renameSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { ZodError } from 'zod';
import { ConfigurationError } from '../base/errors.ts';
import { MiB } from '../base/limits.ts';
import { type BenchFigures, FIGURES_VERSION, figuresSchema } from './bench-figures.ts';
import { ExitCode } from './exit-codes.ts';
import { CommandError, UsageError } from './failure.ts';

const FILE_BYTES_MAX = MiB;

/** Makes an empty directory in `parent`, which must be there. */
export function makeBenchDirectory(parent: string): string {
  try {
    if (!statSync(parent).isDirectory()) throw new UsageError(`--directory ${parent}: not a directory`);
    return mkdtempSync(join(resolve(parent), 'ringkv-bench-'));
  } catch (error) {
    if (error instanceof UsageError) throw error;
    throw new CommandError(`--directory ${parent}: ${(error as Error).message}`, ExitCode.DATA, {
      cause: error,
    });
  }
}
export function removeBenchDirectory(path: string): void {
  rmSync(path, { recursive: true, force: true });
}

/** Written beside its place and renamed: a reader sees the whole file or the one before. */
export function writeFigures(path: string, figures: BenchFigures): void {
  const temporary = `${path}.${process.pid}.partial`;
  try {
    writeFileSync(temporary, `${JSON.stringify(figures, null, 2)}\n`);
    renameSync(temporary, path);
  } catch (error) {
    rmSync(temporary, { force: true });
    throw new CommandError(`${path}: cannot be written: ${(error as Error).message}`, ExitCode.FAILED, {
      cause: error,
    });
  }
}

/** null where there is no such file. Throws ConfigurationError for one that is no figures of this version. */
export function readFigures(path: string): BenchFigures | null {
  let text: string;
  try {
    const { size } = statSync(path);
    if (size > FILE_BYTES_MAX)
      throw new ConfigurationError(`${path}: a file of ${size} bytes; the limit is ${FILE_BYTES_MAX}`);
    text = readFileSync(path, 'utf8');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return null;
    if (error instanceof ConfigurationError) throw error;
    throw new ConfigurationError(`${path}: cannot be read: ${(error as Error).message}`, { cause: error });
  }
  return figuresOf(path, text);
}

function figuresOf(path: string, text: string): BenchFigures {
  let content: unknown;
  try {
    content = JSON.parse(text);
  } catch (error) {
    throw new ConfigurationError(`${path}: not JSON: ${(error as Error).message}`, { cause: error });
  }
  const format = (content as { readonly format?: unknown } | null)?.format;
  if (typeof format === 'number' && format > FIGURES_VERSION)
    throw new ConfigurationError(
      `${path}: figures of format ${format}; this RingKV reads format ${FIGURES_VERSION}`,
    );
  try {
    return figuresSchema.parse(content);
  } catch (error) {
    if (!(error instanceof ZodError)) throw error;
    const { message, path: at } = error.issues[0] ?? { message: '', path: [] };
    throw new ConfigurationError(
      `${path}: not the figures of ringkv bench: ${at.length > 0 ? `${at.join('.')}: ` : ''}${message}`,
      { cause: error },
    );
  }
}
