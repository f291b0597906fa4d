/** placeholder until h/table lands */
import type { FileSystem } from '../vfs/file-system.ts';
import type { EngineOptions } from './contract.ts';
import type { TableAccess } from './engine-tables.ts';

export function tableAccess(_options: EngineOptions, _fs: FileSystem): TableAccess {
  throw new Error('no tables yet');
}
