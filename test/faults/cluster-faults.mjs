// Breaks a cluster of real processes under load, in one way after another, and compares what is there afterwards with what had
// been acknowledged. Clients write, delete and read over HTTP at QUORUM, write on conditions, and compare and set.
//
//   npm run build && npm run test:cluster-faults -- [--seed 7] [--scenario kill,cut] [--short] [--verbose] [--results FILE]
//
// It fails where an acknowledged write is lost, where an answer contradicts what had been acknowledged, where a request at
// QUORUM fails (5xx) though two of three nodes could answer and the fault is older than its detection may take, where a replica
// still lacks an acknowledged write a while after the faults (hints), and where replicas differ at the end, after a repair. Needs Linux; root and from Debian iproute2 and iptables for `cut`, `cut-in`
// and `cut-out`, faketime for `clock-ahead` and `clock-behind`: where they are missing those are skipped, by name.
// Figures: docs/reliability.md.
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { differingOf, lostOf, readEverywhere } from './cluster/check.mjs';
import { Load } from './cluster/load.mjs';
import { Machine } from './cluster/machine.mjs';
import { Network } from './cluster/network.mjs';
import { Cluster, FAKETIME } from './cluster/nodes.mjs';
import { Random, sleep, until } from './cluster/random.mjs';
import { scenarios } from './cluster/scenarios.mjs';

const { limits } = await import('../../dist/src/base/limits.js');

const { values: flags } = parseArgs({
  options: {
    seed: { type: 'string', default: String(Date.now() % 2 ** 31) },
    scenario: { type: 'string', default: '' },
    short: { type: 'boolean', default: false },
    verbose: { type: 'boolean', default: false },
    keep: { type: 'boolean', default: false },
    results: { type: 'string', default: '' },
  },
});

/** A probe each round or two, its helpers, the whole suspicion, and the news of it. */
const DETECTION_MS = 2 * limits.gossipIntervalMs + limits.suspicionMsMax + 1000;
const BEYOND_DETECTION_MS = 4000;
const SOME_WRITES = flags.short ? 300 : 1500;
const CLIENTS = 12;
const KEYS_OF_EACH = 30;
/** What hints and read repair set right by themselves; then nodes are asked for a repair. */
const ALONE_MS_MAX = flags.short ? 15_000 : 60_000;
const REPAIR_MS_MAX = 90_000;
const TOLD_MAX = 10;

const seconds = (ms) => (ms / 1000).toFixed(1);

class Run {
  random;
  short = flags.short;
  #scenario;
  #faults = [];
  #startMs = performance.now();

  constructor(scenario) {
    this.#scenario = scenario;
    this.random = new Random(Number(flags.seed));
  }

  event(text) {
    if (flags.verbose) console.log(`  ${seconds(performance.now() - this.#startMs).padStart(6)} s  ${text}`);
  }
  fault(text) {
    this.event(text);
    this.#faults.push({ startMs: performance.now(), endMs: Number.POSITIVE_INFINITY });
  }
  over(text) {
    this.event(text);
    const now = performance.now();
    for (const fault of this.#faults) fault.endMs = Math.min(fault.endMs, now);
  }
  async beyondDetection() {
    await sleep(DETECTION_MS + BEYOND_DETECTION_MS);
  }
  async someWrites() {
    const wanted = this.load.acknowledged + SOME_WRITES;
    await until(`${SOME_WRITES} more acknowledged writes`, 120_000, () => this.load.acknowledged >= wanted);
  }

  /** Excused while a fault is not detected yet. */
  #isWithin({ startMs, endMs }) {
    return this.#faults.some((fault) => endMs >= fault.startMs && startMs <= fault.startMs + DETECTION_MS);
  }

  async go(directory) {
    const { starts = 3, needsNetwork = false, needsClock = false } = this.#scenario;
    this.network = needsNetwork ? new Network() : null;
    this.cluster = new Cluster(directory, this.network);
    this.machine = new Machine(join(directory, 'sync-probe'));
    try {
      const nodes = Array.from({ length: starts }, () => this.cluster.add());
      if (needsClock) for (const node of nodes.slice(1)) node.useFakeClock();
      await Promise.all(nodes.map((node) => node.start()));
      for (const node of nodes) node.serves = true;
      await this.cluster.settled(starts);
      this.event(`${starts} nodes serve`);
      this.load = new Load(this.cluster, this.random, { clients: CLIENTS, keysOfEach: KEYS_OF_EACH });
      await this.someWrites();
      await this.#scenario.run(this);
      await this.load.stop();
      return await this.#judge();
    } finally {
      await this.load?.stop();
      await this.clean();
    }
  }
  /** Leaves no process and no network behind. */
  async clean() {
    await this.cluster.end();
    await this.machine.stop();
    this.network?.remove();
  }

  /**
   * What a write that failed left on some replicas stays there until a repair, a read or the next write. But no replica may lack
   * what was acknowledged: because every write of the key was, or because the newest record is of one that was.
   */
  #isMissed({ name, newest }) {
    const { keys, registers } = this.load;
    const key = keys.find((one) => one.name === name);
    if (key !== undefined) return key.isCertain || key.acknowledgedAs(newest);
    return registers.find((one) => one.name === name).isCertain;
  }

  async #judge() {
    const { cluster, load } = this;
    const startMs = performance.now();
    const nodes = cluster.serving;
    this.event(`the load has ended: ${load.acknowledged} writes acknowledged, ${load.unknown} unknown`);
    const names = [...load.keys, ...load.registers].map(({ name }) => name);
    let differing = [];
    const differs = async (of) => {
      differing = await differingOf(of, nodes);
      return differing;
    };
    /** Until none of those that differ matters. Those that differed are asked first, then all. */
    const converged = (msMax, matters) =>
      until('all replicas hold the same', msMax, async () => {
        const open = differing.filter(matters).map(({ name }) => name);
        if (open.length > 0 && (await differs(open)).some(matters)) return false;
        return !(await differs(names)).some(matters);
      }).catch((error) => {
        if (differing.length === 0) throw error;
      });
    const first = await differs(names);
    await converged(ALONE_MS_MAX, (one) => this.#isMissed(one));
    const differingAlone = differing;
    this.event(
      differing.length === 0 ? 'all replicas hold the same' : `${differing.length} keys differ: repair`,
    );
    for (const one of differing.slice(0, TOLD_MAX)) this.event(`${one.name}: ${one.held.join(', ')}`);
    const missed = this.#scenario.losesHints ? [] : differing.filter((one) => this.#isMissed(one));
    // Only now, for reads repair what they find.
    await readEverywhere(load, nodes);
    const lostBefore = await lostOf(load, nodes, false);
    if (differing.length > 0) {
      await Promise.all(nodes.map((node) => node.change('repair')));
      await converged(REPAIR_MS_MAX, () => true);
    }
    const convergeMs = performance.now() - startMs;
    const lost = [...lostBefore, ...(await lostOf(load, nodes, true))];
    const failures = load.failures.filter((one) => !one.isCutOff);
    const excused = failures.filter((one) => this.#isWithin(one));
    const later = failures.filter((one) => !this.#isWithin(one));
    const isSlow = (one) => one.isTimeout && this.machine.wasSlow(one.startMs, one.endMs);
    const beyond = later.filter((one) => !isSlow(one));
    const row = {
      name: this.#scenario.name,
      acknowledged: load.acknowledged,
      sloppy: load.sloppy,
      unknown: load.unknown,
      reads: load.reads,
      contended: load.contended,
      lost: lost.length,
      wrong: load.violations.length,
      within: excused.length,
      beyond: beyond.length,
      slow: later.length - beyond.length,
      syncMsMax: this.machine.msMax,
      cutOff: load.failures.filter(({ isCutOff }) => isCutOff).length,
      differingAtEnd: first.length,
      differingAlone: differingAlone.length,
      differing: differing.length,
      convergeMs,
    };
    const told = [
      ...lost.map((text) => `lost: ${text}`),
      ...load.violations.map((text) => `wrong: ${text}`),
      ...beyond.map(({ startMs: at, text }) => `beyond: ${seconds(at - this.#startMs)} s ${text}`),
      ...missed.map(({ name, held }) => `not handed on: ${name}: ${held.join(', ')}`),
      ...differing.map(({ name, held }) => `differs: ${name}: ${held.join(', ')}`),
    ];
    if (flags.verbose)
      for (const { startMs: at, text } of excused.slice(0, TOLD_MAX))
        console.log(`  within: ${seconds(at - this.#startMs)} s ${text}`);
    return { row, told };
  }
}

function lacksOf({ needsNetwork = false, needsClock = false }, network) {
  if (needsNetwork && network !== '') return `no namespaces, bridges or iptables here: ${network}`;
  if (needsClock && FAKETIME === '') return 'libfaketimeMT.so.1 is missing (Debian package faketime)';
  return '';
}

const chosen = flags.scenario === '' ? null : flags.scenario.split(',');
for (const name of chosen ?? [])
  if (!scenarios.some((one) => one.name === name))
    throw new Error(
      `--scenario ${name}: there is none; there are ${scenarios.map((one) => one.name).join(', ')}`,
    );
const wanted = scenarios.filter((one) =>
  chosen === null ? !(flags.short && one.longOnly) : chosen.includes(one.name),
);
console.log(`cluster faults: seed ${flags.seed}, ${wanted.length} scenarios${flags.short ? ', short' : ''}`);
const network = wanted.some(({ needsNetwork }) => needsNetwork) ? Network.lacks() : '';
const base = mkdtempSync(join(tmpdir(), 'ringkv-cluster-faults-'));
let run = null;
for (const signal of ['SIGINT', 'SIGTERM'])
  process.once(signal, () => {
    const cleaned = run?.clean() ?? Promise.resolve();
    cleaned.finally(() => {
      if (!flags.keep) rmSync(base, { recursive: true, force: true });
      process.exit(1);
    });
  });
const rows = [];
const failed = [];
const skipped = [];
try {
  for (const scenario of wanted) {
    const lacks = lacksOf(scenario, network);
    if (lacks !== '') {
      console.log(`SKIPPED ${scenario.name}: ${lacks}`);
      skipped.push(scenario.name);
      continue;
    }
    const startMs = performance.now();
    let told;
    try {
      run = new Run(scenario);
      const result = await run.go(join(base, scenario.name));
      rows.push(result.row);
      told = result.told;
    } catch (error) {
      told = [error.stack];
    }
    console.log(
      `${told.length === 0 ? 'ok' : 'FAILED'} ${scenario.name}: ${scenario.what} (${seconds(performance.now() - startMs)} s)`,
    );
    for (const text of told.slice(0, TOLD_MAX)) console.log(`    ${text}`);
    if (told.length > TOLD_MAX) console.log(`    and ${told.length - TOLD_MAX} more`);
    if (told.length > 0) failed.push(scenario.name);
  }
} finally {
  if (flags.keep) console.log(`kept: ${base}`);
  else rmSync(base, { recursive: true, force: true });
}
console.log(
  '\n| scenario | acknowledged | unknown | by stand-ins | contended | reads | lost | wrong | 5xx within | beyond | by a slow disk | at a node cut off or gone | differing at the end | after hints | after repair | converged after | longest sync |',
);
console.log(`|${' --- |'.repeat(17)}`);
for (const one of rows)
  console.log(
    `| ${one.name} | ${one.acknowledged} | ${one.unknown} | ${one.sloppy} | ${one.contended} | ${one.reads} | ${one.lost} | ${one.wrong} | ${one.within} | ${one.beyond} | ${one.slow} | ${one.cutOff} | ${one.differingAtEnd} | ${one.differingAlone} | ${one.differing} | ${seconds(one.convergeMs)} s | ${Math.round(one.syncMsMax)} ms |`,
  );
const passed = wanted.length - failed.length - skipped.length;
if (skipped.length > 0) console.log(`\nSKIPPED: ${skipped.join(', ')}`);
if (flags.results !== '')
  writeFileSync(flags.results, JSON.stringify({ passed, failed: failed.length, skipped }));
console.log(`\n${passed} scenarios passed, ${failed.length} failed, ${skipped.length} skipped`);
process.exitCode = failed.length > 0 ? 1 : 0;
