/** What the first message of a WebSocket connection tells of this node's limits: docs/websocket.md. */
import { limits } from '../base/limits.ts';

export const limitsTold = (
  maxKeyBytes: number,
  maxValueBytes: number,
  messageBytes: number,
): Readonly<Record<string, number>> => ({
  keyBytesMax: maxKeyBytes,
  valueBytesMax: maxValueBytes,
  messageBytesMax: messageBytes,
  messageRequestsMax: limits.wsBatchRequestsMax,
  inFlightMax: limits.wsInFlightMax,
  inFlightBytesMax: limits.wsInFlightBytesMax,
  pausedBytes: limits.wsPausedBytes,
  unreadBytesMax: limits.wsBufferedBytesMax,
  timeoutMsDefault: limits.requestTimeoutMsDefault,
  timeoutMsMax: limits.requestTimeoutMsMax,
});
