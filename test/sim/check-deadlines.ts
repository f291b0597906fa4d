/**
 * Whether requests end by the deadlines that they were given, and are not timed out before, whatever is made of the clocks of the
 * machines meanwhile. Judged by the true time, which clocks drift from by half a percent at most.
 */
import { Status } from '../../src/base/status.ts';
import type { Violation } from './check-quorum.ts';
import type { History, Operation } from './history.ts';

/** Of the clocks of a coordinator and a replica together: twice 0.5%, and what the simulation rounds. */
const DRIFT = 0.011;
/** What is left is told in whole milliseconds, at each hop. */
const ROUNDED_US = 5000;

export function checkDeadlines({ operations }: History): Violation[] {
  const violations: Violation[] = [];
  for (const operation of operations) {
    const what = faultOf(operation);
    if (what !== '')
      violations.push({ promise: 'j: requests end at their deadlines', key: operation.key, what });
  }
  return violations;
}

function faultOf({
  id,
  node,
  status,
  invokedUs,
  deadlineUs,
  dueUs,
  endedUs,
  ranThrough,
  message,
}: Operation): string {
  if (!ranThrough) return '';
  const tookMs = (endedUs - invokedUs) / 1000;
  if (status < 0)
    return `#${id}: ${node} had not answered ${(dueUs - deadlineUs) / 1000} ms after the deadline`;
  const earliestUs = deadlineUs - (deadlineUs - invokedUs) * DRIFT - ROUNDED_US;
  if (status === Status.TIMEOUT && endedUs < earliestUs)
    return `#${id}: ${node} timed out after ${tookMs} of ${(deadlineUs - invokedUs) / 1000} ms: ${message}`;
  return '';
}
