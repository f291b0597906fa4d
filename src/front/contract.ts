/** What the front end needs from the thread that runs it, and gives back. */
import type { Clock } from '../base/clock.ts';
import type { ShardClient } from '../shard/contract.ts';

export interface FrontOptions {
  readonly client: ShardClient;
  readonly clock: Clock;
  readonly host: string;
  /** 0 takes a free one. */
  readonly port: number;
  /** Whether other threads of this process listen on the same port. */
  readonly sharedPort: boolean;
  readonly maxKeyBytes: number;
  readonly maxValueBytes: number;
  /** '' while the node serves, otherwise why it does not: for /readyz. */
  readonly notReady: () => string;
  /** Which front end of its process this is, from 0: a label of its metrics. */
  readonly frontend?: number;
  /** limits.connectionsMax where absent. */
  readonly connectionsMax?: number;
  /** Connections beyond it that are answered 503: limits.connectionsRefusedMax where absent. */
  readonly connectionsRefusedMax?: number;
  /** limits.wsConnectionsMax where absent. */
  readonly wsConnectionsMax?: number;
  /** limits.wsUnfinishedBytesMax where absent. */
  readonly wsUnfinishedBytesMax?: number;
  /** limits.wsBufferedTotalBytesMax where absent. */
  readonly wsAnswersBytesMax?: number;
  /** limits.httpAnswersBytesMax where absent. */
  readonly httpAnswersBytesMax?: number;
}

/** Made by `startFront(options): Promise<Front>` (front.ts), which rejects with a ListenError that names host and port. */
export interface Front {
  readonly port: number;
  /** Stops accepting, lets requests in flight end for at most `graceMs`, then closes every connection. */
  close(graceMs: number): Promise<void>;
}
