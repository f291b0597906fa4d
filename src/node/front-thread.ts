/**
 * A front-end thread: HTTP on uWebSockets.js, and a client of every shard. It does what the main thread says.
 *
 * A thread that ends while uWebSockets.js is open in it aborts the whole process. So it ends in this order, always:
 * the front end is closed, then the client, then the port is told and closed; the event loop is empty then, and the
 * thread ends by itself. Where it cannot listen the same happens, after `failed`.
 */
import { systemClock } from '../base/clock.ts';
import { startFront } from '../front/front.ts';
import { newShardRequest, RingShardClient } from '../shard/shard-client.ts';
import { SwitchingClient } from '../shard/switching-client.ts';
import type { ClientCommand, ClientEvent } from './client-thread.ts';
import type { ConnectionLimits } from './connection-limits.ts';
import type { FrontCommand, FrontEvent, FrontThreadData } from './front-protocol.ts';
import { plainError } from './job-port.ts';

export function runFrontThread(data: FrontThreadData): void {
  const { port, host, sharedPort, maxKeyBytes, maxValueBytes, shards, vnodes, index } = data;
  const tell = (event: FrontEvent | ClientEvent): void => port.postMessage(event);
  const request = newShardRequest();
  const common = { vnodes, clock: systemClock, request };
  const client = new SwitchingClient(
    new RingShardClient({ ...common, shards, doorbell: data.doorbell }),
    new RingShardClient({ ...common, shards: 1, doorbell: data.coordinatorDoorbell }),
    systemClock,
  );
  let reason = 'the node is starting';
  let closeFront: (graceMs: number) => Promise<void> = () => Promise.resolve();

  const end = async (graceMs: number): Promise<void> => {
    await closeFront(graceMs);
    client.close();
    tell({ kind: 'closed' });
    port.close();
  };
  const listen = async (listenPort: number, connections: ConnectionLimits): Promise<void> => {
    try {
      const front = await startFront({
        client,
        clock: systemClock,
        host,
        port: listenPort,
        sharedPort,
        maxKeyBytes,
        maxValueBytes,
        notReady: () => client.held || reason,
        frontend: index,
        ...connections,
      });
      closeFront = (graceMs) => front.close(graceMs);
      tell({ kind: 'listening', port: front.port });
    } catch (error) {
      tell({ kind: 'failed', error: plainError(error) });
      await end(0);
    }
  };
  const obey = (command: FrontCommand | ClientCommand): void => {
    switch (command.kind) {
      case 'attach':
        client.direct.attach(command.ends);
        tell({ kind: 'attached', shard: command.ends.shard });
        return;
      case 'detach':
        client.direct.detach(command.shard);
        return;
      case 'coordinator':
        client.coordinator.attach(command.ends);
        return;
      case 'coordinate':
        client.coordinate(() => tell({ kind: 'coordinating' }));
        return;
      case 'hold':
        client.hold(command.reason, () => tell({ kind: 'held' }));
        return;
      case 'release':
        client.release();
        return;
      case 'not-ready':
        reason = command.reason;
        return;
      case 'listen':
        void listen(command.port, command.connections);
        return;
      case 'close':
        void end(command.graceMs);
    }
  };
  port.on('message', obey);
}
