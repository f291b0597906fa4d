/** The figures of `ringkv bench` as a table for a person. */
import { formatAmountBytes } from '../base/units.ts';
import type { BenchFigures, LoadFigures } from './bench-figures.ts';
import { tableOf } from './text-table.ts';

const US_OF_MS = 1000;
const whole = (value: number): string => Math.round(value).toLocaleString('en-US');
const ms = (value: number): string => (value < 1 ? value.toFixed(3) : value.toFixed(1));
const us = (value: number): string => value.toFixed(1);

export function figureLines(figures: BenchFigures): string[] {
  const { disk, getMemory, getTables, machine, memory, put, settings, space } = figures;
  const { blockCacheBytes, compressible, compression, durability, inFlight, shards, valueBytes } = settings;
  const row = (name: string, load: LoadFigures, cpuUs: number): string[] => [
    name,
    whole(load.perSecond),
    ...[load.p50Ms, load.p99Ms, load.p999Ms, load.maxMs].map(ms),
    us(cpuUs),
  ];
  const written = put.writtenPerByte === null ? 'not told by this system' : put.writtenPerByte.toFixed(2);
  const merging =
    space.compactionCpuUsPerMiB === null
      ? 'too little was merged to tell its processor time'
      : `${(space.compactionCpuUsPerMiB / US_OF_MS).toFixed(1)} ms of processor time for each MiB that was merged`;
  const unsettled = put.isSettled ? '' : ' (compactions had not come to an end)';
  return [
    `${machine.processor}, ${machine.cores} cores, ${formatAmountBytes(machine.memoryBytes)} of memory; ${machine.platform}, Node.js ${machine.node}`,
    `values of ${whole(valueBytes)} bytes, ${compressible} of them compressible (${compression}); ${shards} shards, durability ${durability}, ` +
      `${inFlight} in flight, block cache ${formatAmountBytes(blockCacheBytes)}`,
    '',
    ...tableOf([
      ['EMBEDDED', 'A SECOND', 'P50 MS', 'P99 MS', 'P99.9 MS', 'MAX MS', 'CPU US'],
      row('put', put, put.cpuUsSettled),
      row('get from memory', getMemory, getMemory.cpuUs),
      row('get from tables, no block cached', getTables, getTables.cpuUs),
    ]),
    '',
    ...tableOf([
      [
        'sync of the disk',
        `p50 ${ms(disk.syncP50Ms)} ms, p99 ${ms(disk.syncP99Ms)} ms, at most ${ms(disk.syncMaxMs)} ms (${whole(disk.syncs)} writes of ${formatAmountBytes(disk.syncWriteBytes)})`,
      ],
      ['written and synced', `${formatAmountBytes(disk.bytesPerSecond)}/s in steps of 1 MiB`],
      ['bytes written for each byte put', `${written}${unsettled}`],
      [
        'bytes on disk for each object',
        `${whole(space.bytesPerObject)} after compaction: ${space.amplification.toFixed(3)} for each byte of key and value (${whole(space.objects)} objects)`,
      ],
      [
        'tables before and after it',
        `${formatAmountBytes(space.tableBytesBefore)}, ${formatAmountBytes(space.tableBytes)}; ${merging}`,
      ],
      [
        'memory',
        `${formatAmountBytes(memory.openBytes)} before the first operation, at most ${formatAmountBytes(memory.peakBytes)}; budgets ${formatAmountBytes(memory.budgetBytes)}, beside them ${formatAmountBytes(memory.besideBytes)}`,
      ],
    ]),
    '',
    'CPU US: processor time of one operation over all threads, with flushes and compactions for put, and with this load.',
  ];
}
