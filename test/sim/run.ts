/** placeholder */
import { simulate } from './simulation.ts';
const seed = Number(process.argv[2]);
const count = Number(process.argv[3] ?? 1);
process.on('unhandledRejection', (e) => { console.error('unhandled', e); process.exit(3); });
for (let s = seed; s < seed + count; s++) {
  const t = performance.now();
  try {
    const r = await simulate({ seed: s, verbose: process.argv[4] === 'v', defect: (process.argv[5] ?? null) as never });
    console.log(s, r.violations.length, Math.round(performance.now() - t), 'ms', JSON.stringify(r.stats), r.setting, r.history.hash());
    if (process.argv[4] === 'v') console.log(r.history.lines().join('\n'));
    for (const v of r.violations.slice(0, 4)) console.log('   ', v.promise, '|', v.key, '|', v.what);
  } catch (e) { console.log(s, 'ERROR', e); }
}
