/** What the first message of a WebSocket connection tells of this node's limits: docs/websocket.md. */
import { limits } from '../base/limits.ts';
import { messageBytesMax } from './ws-wire.ts';

export const limitsTold = (maxKeyBytes: number, maxValueBytes: number): Readonly<Record<string, number>> => ({
  keyBytesMax: maxKeyBytes,
  valueBytesMax: maxValueBytes,
  messageBytesMax: messageBytesMax(maxKeyBytes, maxValueBytes),
  messageRequestsMax: limits.wsBatchRequestsMax,
  inFlightMax: limits.wsInFlightMax,
  inFlightBytesMax: limits.wsInFlightBytesMax,
  pausedBytes: limits.wsPausedBytes,
  unreadBytesMax: limits.wsBufferedBytesMax,
  timeoutMsDefault: limits.requestTimeoutMsDefault,
  timeoutMsMax: limits.requestTimeoutMsMax,
});
