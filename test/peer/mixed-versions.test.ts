import { afterEach, describe, expect, it } from 'vitest';
import { systemClock } from '../../src/base/clock.ts';
import { limits } from '../../src/base/limits.ts';
import { PeerStatus, Status } from '../../src/base/status.ts';
import { ANY_CONNECTION, type ConnectionId, type NodeNumber } from '../../src/cluster/contract.ts';
import { FEATURES, Feature } from '../../src/cluster/features.ts';
import { KnownMessages } from '../../src/cluster/known-messages.ts';
import { encodePlain, MessageError } from '../../src/cluster/message-bytes.ts';
import { decodeMessage } from '../../src/cluster/message-decode.ts';
import { Kind, type Message } from '../../src/cluster/message-kinds.ts';
import { encodeRead } from '../../src/cluster/messages.ts';
import { NODE_STARTS, refuseRequest } from '../../src/cluster/rpc-service.ts';
import { monotonic } from '../base/clocks.ts';
import { closeAll, connected, TestPeer, until } from './harness.ts';

afterEach(closeAll);

/** Of a build to come: a request in the envelope of all requests, and what needs no answer. */
const NEWER_REQUEST = 26;
const NEWER_NOTICE = 4;
const request = (id: unknown, generation: unknown = 3): Uint8Array =>
  encodePlain([NEWER_REQUEST, generation as number, id as number, 7, 500, 'a field', [1, 2]]);
const read = encodeRead(
  { generation: 3, id: 9, ring: 7, remainingMs: 500 },
  {
    tokenHi: 1,
    tokenLo: 2,
    keyspace: 0,
    headOnly: false,
    key: Buffer.from('k'),
    deadlineMs: monotonic(0),
  },
);

/** Node 2, of this build, takes what node 1 sends it: known messages are noted, others are left to KnownMessages. */
async function pair(isStarting = false) {
  const known: number[] = [];
  const logged: string[] = [];
  const answers: Message[] = [];
  const newer = await new TestPeer(1, {
    features: FEATURES | 0x8000,
    onMessage: (_, bytes) => answers.push(decodeMessage(bytes, monotonic(0))),
  }).listen();
  const messages = (): KnownMessages => taker;
  const older: TestPeer = await new TestPeer(2, {
    onMessage: (from: NodeNumber, bytes: Uint8Array, over: ConnectionId) => {
      if (isStarting)
        refuseRequest(
          { self: 2, clock: systemClock, network: older.transport },
          from,
          bytes,
          NODE_STARTS,
          over,
        );
      else {
        const message = messages().decode(from, bytes, over);
        if (message !== null) known.push(message.kind);
      }
    },
  }).listen();
  const taker = new KnownMessages({
    self: 2,
    clock: systemClock,
    network: older.transport,
    log: (_, text) => void logged.push(text),
  });
  await connected(newer, older);
  return { newer, older, known, logged, answers };
}

describe('a node that gets messages of a later build', () => {
  it('says of a request that it does not know it, serves what it knows, and keeps the connection', async () => {
    const { newer, older, known, logged, answers } = await pair();
    for (let id = 1; id <= 50; id++) newer.transport.send(2, request(id));
    newer.transport.send(2, encodePlain([NEWER_NOTICE, 'news']));
    newer.transport.send(2, read);
    await until(() => answers.length === 50 && known.length === 1);
    expect(answers[49]).toEqual({
      kind: Kind.REFUSED,
      generation: 3,
      id: 50,
      status: PeerStatus.UNKNOWN_REQUEST,
      message: 'node 00000002 does not know messages of kind 26: its build is an earlier one',
    });
    expect(known).toEqual([Kind.READ]);
    // Each kind is logged once.
    expect(logged).toEqual(
      [NEWER_REQUEST, NEWER_NOTICE].map(
        (kind) =>
          `node 00000001 sends messages of kind ${kind}, which this build does not know: they are not served`,
      ),
    );
    for (const peer of [newer, older])
      expect(peer.events.filter((event) => event.startsWith('-'))).toEqual([]);
  });

  it('answers so while it starts as well', async () => {
    const { newer, older, answers } = await pair(true);
    newer.transport.send(2, request(1));
    newer.transport.send(2, encodePlain([NEWER_NOTICE, 'news']));
    newer.transport.send(2, read);
    await until(() => answers.length === 2);
    expect(answers).toMatchObject([
      { id: 1, status: Status.UNAVAILABLE },
      { id: 9, status: Status.UNAVAILABLE },
    ]);
    expect(older.events).not.toContain('-1 0');
  });

  it('answers none whose caller it cannot make out, logs so many kinds and no more, and takes no malformed message for a later one', () => {
    const logged: string[] = [];
    const sent: ConnectionId[] = [];
    const known = new KnownMessages({
      self: 2,
      clock: systemClock,
      network: {
        send: (_, __, over) => sent.push(over ?? ANY_CONNECTION) > 0,
        sendTo: () => false,
        setAddress: () => undefined,
        features: () => 0,
        forget: () => undefined,
      },
      log: (_, text) => void logged.push(text),
    });
    for (const bytes of [request('x'), request(-1), request(1, null), encodePlain([NEWER_REQUEST])])
      expect(known.decode(1, bytes, ANY_CONNECTION)).toBeNull();
    for (let node = 1; node <= 2 * limits.unknownKindsLoggedMax; node++)
      expect(known.decode(node, request('x'), ANY_CONNECTION)).toBeNull();
    expect(sent).toEqual([]);
    // Where it can, over the connection that the request came by: another may lead to a later process of the caller.
    expect(known.decode(1, request(1), 5)).toBeNull();
    expect(sent).toEqual([5]);
    expect(logged.length).toBe(limits.unknownKindsLoggedMax);
    for (const wrong of [
      encodePlain([-1, 1, 1]),
      encodePlain([1.5]),
      encodePlain(['read']),
      encodePlain([Kind.READ, 1]),
    ])
      expect(() => known.decode(1, wrong, ANY_CONNECTION)).toThrow(MessageError);
  });
});

describe('the features of a build', () => {
  it('are known of each node that greeted, as of its last start, and none of any other', async () => {
    const { newer, older } = await pair();
    // A node whose address is known is not forgotten with its last connection.
    older.transport.setAddress(1, newer.address);
    expect(older.transport.features(1)).toBe(FEATURES | 0x8000);
    expect(newer.transport.features(2)).toBe(FEATURES);
    expect(newer.transport.features(3)).toBe(0);
    await newer.transport.close();
    const again = await new TestPeer(1, { generation: 2, features: 0 }).listen();
    await connected(again, older);
    await until(() => older.transport.features(1) === 0);
  });

  it('are bits of their own', () => {
    const bits: readonly number[] = Object.values(Feature);
    for (const bit of bits) expect(Math.log2(bit) % 1).toBe(0);
    expect(new Set(bits).size).toBe(bits.length);
    expect(FEATURES).toBe(bits.reduce((all, bit) => all + bit, 0));
  });
});
