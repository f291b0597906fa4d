/** Entry of a front-end thread: src/node/front-thread.ts. */
import { workerData } from 'node:worker_threads';
import type { FrontThreadData } from '../src/node/front-protocol.ts';
import { runFrontThread } from '../src/node/front-thread.ts';

runFrontThread(workerData as FrontThreadData);
