/** Entry of a generator thread. */
import { parentPort, workerData } from 'node:worker_threads';
import { transportOf } from '../transports/choose.ts';
import { Generator } from './generator.ts';
import type { FromThread, ThreadData, ToThread } from './thread-protocol.ts';

const port = parentPort;
if (port === null) throw new Error('generator-thread.ts runs as a worker thread');
const data = workerData as ThreadData;
const send = (message: FromThread): void => port.postMessage(message);
const generator = new Generator(
  data.options,
  (values) => transportOf(data, values),
  (part) => send({ kind: 'interval', part }),
);

async function obey(message: ToThread): Promise<void> {
  if (message.kind === 'run')
    send({ kind: 'result', result: await generator.run(message.phase, message.startMs) });
  else if (message.kind === 'counters') send({ kind: 'counters', counters: await generator.counters() });
  else {
    await generator.close();
    send({ kind: 'closed' });
  }
}
const failed = (error: unknown): void => send({ kind: 'error', message: (error as Error).message });

port.on('message', (message: ToThread) => {
  obey(message).catch(failed);
});
generator.open().then(() => send({ kind: 'opened' }), failed);
