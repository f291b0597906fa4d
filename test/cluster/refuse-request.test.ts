import { describe, expect, it } from 'vitest';
import { ManualClock } from '../../src/base/clock.ts';
import { Status } from '../../src/base/status.ts';
import { ANY_CONNECTION, type Network } from '../../src/cluster/contract.ts';
import { MessageError } from '../../src/cluster/message-bytes.ts';
import { decodeMessage } from '../../src/cluster/message-decode.ts';
import { isRequest, Kind } from '../../src/cluster/message-kinds.ts';
import { refuseRequest } from '../../src/cluster/rpc-service.ts';
import { NO_NETWORK } from './event-queue.ts';
import { NOW_MS, samples } from './message-samples.ts';

/** What a node that serves nothing sends to node 7 for a message of it. */
function answersTo(bytes: Uint8Array): object[] {
  const answers: object[] = [];
  const network: Network = {
    ...NO_NETWORK,
    send: (to, message) => {
      expect(to).toBe(7);
      answers.push(decodeMessage(message, NOW_MS));
      return true;
    },
  };
  refuseRequest({ self: 9, clock: new ManualClock(NOW_MS), network }, 7, bytes, 'it is starting', ANY_CONNECTION);
  return answers;
}

describe('a node that serves no requests yet', () => {
  for (const [name, bytes] of samples) {
    const message = decodeMessage(bytes, NOW_MS);
    const isAnswered = isRequest(message) && message.kind !== Kind.END_TREE;
    it(`${isAnswered ? 'refuses' : 'drops'} a message of kind "${name}"`, () => {
      if (isAnswered)
        expect(answersTo(bytes)).toEqual([
          {
            kind: Kind.REFUSED,
            generation: message.generation,
            id: message.id,
            status: Status.UNAVAILABLE,
            message: 'node 00000009 serves no requests: it is starting',
          },
        ]);
      else expect(answersTo(bytes)).toEqual([]);
    });
  }
  it('says of a malformed message that it is one', () => {
    expect(() => answersTo(Buffer.from('ff', 'hex'))).toThrow(MessageError);
  });
});
