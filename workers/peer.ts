/** Entry of the peer worker: src/node/peer-thread.ts. */
import { workerData } from 'node:worker_threads';
import type { PeerThreadData } from '../src/node/peer-protocol.ts';
import { runPeerThread } from '../src/node/peer-thread.ts';

runPeerThread(workerData as PeerThreadData);
