/**
 * How far V8 lets heaps grow between full collections, for the process of a node that has others. Left to itself it takes a thread that has been idle
 * once for one that should grow slowly, to 1.3 times what lives; and it counts buffers that the next scavenge would free. So a busy
 * peer worker whose live heap is 10 MB marked and swept all of it 3.3 times a second. Figures: docs/performance.md.
 */
import { setFlagsFromString } from 'node:v8';

/** Above what lives, percent. What this adds is bounded by it: the threads' live heaps are some 10 MB each. */
const GROWTH_PERCENT = 250;

/**
 * V8 looks at it in each collection, of all threads of the process. For a node that is connected with another: one that is alone has a
 * peer worker with nothing to do, and memory that it need not take.
 */
export function letHeapsGrow(): void {
  setFlagsFromString(`--heap-growing-percent=${GROWTH_PERCENT}`);
}
