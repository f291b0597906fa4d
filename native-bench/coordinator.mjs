// What coordinating costs: three nodes (ClusterNode and RingReplica) in one thread, over shards that answer from prepared memory
// and a network that frames, copies and checks messages as connections do. No socket, doorbell or disk, so what is left is the
// program text that a peer worker runs for a request, and little of the machine's noise.
//
//   npm run build && node native-bench/coordinator.mjs [--also DIR] [--rounds 7] [--seconds 2] [--profile DIR]
//
// --also DIR: a second build, in another checkout; the two take turns, each measurement in a process of its own. Prints medians,
// for a PUT and for a GET at QUORUM over all three nodes, of
//
//   CPU us    processor time
//   heap B    bytes allocated on the heap: its growth over requests in which nothing was collected
//   buffer B  bytes allocated in array buffers, likewise
//
// --profile DIR: one process more, under the V8 sampling profilers of time and of allocations; DIR gets coordinator.cpuprofile and
// coordinator.heapprofile.
import { execFileSync } from 'node:child_process';
import { mkdirSync, writeFileSync } from 'node:fs';
import { Session } from 'node:inspector/promises';
import { resolve } from 'node:path';
import { cpuUsage, execPath } from 'node:process';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { cluster, IN_FLIGHT, KEYS } from './coordinator/three-nodes.mjs';

const { values: flags } = parseArgs({
  options: {
    also: { type: 'string', default: '' },
    rounds: { type: 'string', default: '7' },
    seconds: { type: 'string', default: '2' },
    profile: { type: 'string', default: '' },
    // Of a process that measures: the build's directory, and what of it.
    measure: { type: 'string', default: '' },
    of: { type: 'string', default: '' },
  },
});
const here = fileURLToPath(new URL('..', import.meta.url));
const WARM_UP = 60_000;
/** Requests in which nothing may be collected: some 60 MB. */
const ALLOCATING = 2000;
/** Times that is measured in a process: in some of them the compilers or gossip allocate too. */
const REPEATS = 15;

const median = (numbers) => [...numbers].sort((a, b) => a - b)[numbers.length >> 1];

// ------------------------------------------------------------------------------------------- one measurement

async function warm({ run }) {
  for (const count of [KEYS * 8, WARM_UP]) {
    await run(count, true);
    await run(count, false);
  }
}

/** Time runs with a young generation as small as a peer worker's, allocations with one that holds all. */
async function measureHere(root, of) {
  const bench = await cluster(root);
  await warm(bench);
  const result = {};
  for (const [name, isPut] of [
    ['PUT', true],
    ['GET', false],
  ]) {
    if (of === 'cpu') {
      let count = 0;
      const start = cpuUsage();
      const end = performance.now() + Number(flags.seconds) * 1000;
      for (; performance.now() < end; count += 5000) await bench.run(5000, isPut);
      const { user, system } = cpuUsage(start);
      result[name] = { cpu: (user + system) / count };
    } else {
      const heap = [];
      const buffer = [];
      for (let i = 0; i < REPEATS; i++) {
        globalThis.gc();
        await bench.run(IN_FLIGHT, isPut);
        const before = process.memoryUsage();
        await bench.run(ALLOCATING, isPut);
        const after = process.memoryUsage();
        heap.push((after.heapUsed - before.heapUsed) / ALLOCATING);
        buffer.push((after.arrayBuffers - before.arrayBuffers) / ALLOCATING);
      }
      result[name] = { heap: median(heap), buffer: median(buffer) };
    }
  }
  return result;
}

async function profileHere(root) {
  const bench = await cluster(root);
  await warm(bench);
  const session = new Session();
  session.connect();
  await session.post('Profiler.enable');
  await session.post('Profiler.setSamplingInterval', { interval: 200 });
  await session.post('Profiler.start');
  for (let i = 0; i < 15; i++) for (const isPut of [true, false]) await bench.run(5000, isPut);
  const { profile: time } = await session.post('Profiler.stop');
  await session.post('HeapProfiler.enable');
  await session.post('HeapProfiler.startSampling', {
    samplingInterval: 4096,
    includeObjectsCollectedByMajorGC: true,
    includeObjectsCollectedByMinorGC: true,
  });
  for (let i = 0; i < 6; i++) for (const isPut of [true, false]) await bench.run(5000, isPut);
  const { profile: heap } = await session.post('HeapProfiler.stopSampling');
  session.disconnect();
  mkdirSync(flags.profile, { recursive: true });
  writeFileSync(resolve(flags.profile, 'coordinator.cpuprofile'), JSON.stringify(time));
  writeFileSync(resolve(flags.profile, 'coordinator.heapprofile'), JSON.stringify(heap));
}

// -------------------------------------------------------------------------------------------------- all of them

function child(root, of) {
  const young =
    of === 'heap' ? ['--min-semi-space-size=256', '--max-semi-space-size=256'] : ['--max-semi-space-size=1'];
  const args = [...young, '--expose-gc', fileURLToPath(import.meta.url), '--measure', root, '--of', of];
  const own = of === 'profile' ? ['--profile', resolve(flags.profile)] : ['--seconds', flags.seconds];
  const text = execFileSync(execPath, [...args, ...own], { stdio: ['ignore', 'pipe', 'inherit'] }).toString();
  return text === '' ? null : JSON.parse(text);
}

if (flags.measure !== '') {
  if (flags.of === 'profile') await profileHere(flags.measure);
  else writeFileSync(1, JSON.stringify(await measureHere(flags.measure, flags.of)));
  // Nodes that are stopped still have timers.
  process.exit(0);
} else {
  const builds = flags.also === '' ? { here } : { here, '--also': flags.also };
  const found = Object.keys(builds).flatMap((build) =>
    ['PUT', 'GET'].map((request) => ({ build, request, cpu: [], heap: [], buffer: [] })),
  );
  for (let round = 0; round < Number(flags.rounds); round++)
    for (const build of round % 2 === 0 ? Object.keys(builds) : Object.keys(builds).reverse())
      for (const of of ['cpu', 'heap']) {
        const result = child(builds[build], of);
        for (const row of found)
          if (row.build === build)
            for (const [figure, amount] of Object.entries(result[row.request])) row[figure].push(amount);
      }
  console.log('build     request   CPU us (least)    heap B  buffer B');
  for (const { build, request, cpu, heap, buffer } of found)
    console.log(
      `${build.padEnd(9)} ${request.padEnd(8)} ${median(cpu).toFixed(1).padStart(7)} (${Math.min(...cpu).toFixed(1)})  ` +
        `${median(heap).toFixed(0).padStart(9)} ${median(buffer).toFixed(0).padStart(9)}`,
    );
  if (flags.profile !== '') child(here, 'profile');
}
