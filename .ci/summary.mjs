// Prints the closing line from vitest's JSON reports (npm test, npm run test:long) and the results of the cluster's scenarios; fails
// where one failed or none ran.
import { readFileSync } from 'node:fs';

const [tests, hunts, faults] = process.argv.slice(2).map((path) => {
  const text = readFileSync(path, 'utf8');
  // Whoever ended before it could report has failed.
  return text === '' ? null : JSON.parse(text);
});
const runs = [tests, hunts];
const sum = (of) => runs.reduce((total, run) => total + of(run), 0);
const failedTests = sum((run) =>
  run === null ? 1 : run.numFailedTests + (run.success || run.numFailedTests > 0 ? 0 : 1),
);
const passedTests = sum((run) => run?.numPassedTests ?? 0);
const skipped =
  sum((run) => (run?.numPendingTests ?? 0) + (run?.numTodoTests ?? 0)) + (faults?.skipped.length ?? 0);
const failed = failedTests + (faults?.failed ?? 1);
const notRun = runs
  .flatMap((run) => run?.testResults ?? [])
  .flatMap(({ assertionResults }) =>
    assertionResults
      .filter(({ status }) => status !== 'passed' && status !== 'failed')
      .map(({ fullName }) => fullName),
  );
if (notRun.length > 0) console.log(`tests skipped on this machine: ${notRun.join(', ')}`);
if (faults?.skipped.length > 0)
  console.log(`scenarios skipped on this machine: ${faults.skipped.join(', ')}`);
if (skipped > 0) console.log(`${skipped} skipped`);
console.log(`${passedTests + (faults?.passed ?? 0)} passed, ${failed} failed`);
process.exit(failed > 0 || runs.some((run) => (run?.numPassedTests ?? 0) === 0) ? 1 : 0);
