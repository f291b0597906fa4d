import { once } from 'node:events';
import { afterEach, describe, expect, it } from 'vitest';
import { ChannelReader, ChannelWriter } from '../../src/ipc/channel.ts';
import { createDoorbell } from '../../src/ipc/doorbell.ts';
import { ClientLink } from '../../src/shard/client-link.ts';
import { HeldRequests } from '../../src/shard/held-requests.ts';
import { connectShard, type ShardClientEnds } from '../../src/shard/shard-ends.ts';

interface World {
  readonly link: ClientLink;
  readonly ends: ShardClientEnds;
  readonly requests: ChannelWriter;
  readonly replies: ChannelReader;
}
const open: World[] = [];
afterEach(() => {
  for (const { link, requests, replies } of open.splice(0)) {
    link.close();
    requests.close();
    replies.close();
  }
});
function world(): World {
  const doorbells = { clientDoorbell: createDoorbell(), shardDoorbell: createDoorbell() };
  const { client: ends, server } = connectShard({
    shard: 0,
    client: 3,
    ...doorbells,
    memtables: null,
    ringBytes: 256,
  });
  const link = new ClientLink(server, () => undefined);
  const one = {
    link,
    ends,
    requests: new ChannelWriter(ends.requests),
    replies: new ChannelReader(ends.replies, () => undefined),
  };
  open.push(one);
  return one;
}
/** One record of 8 bytes. */
function put(writer: ChannelWriter | ClientLink['out']): boolean {
  if (!writer.reserve(8)) return false;
  writer.commit(8);
  return true;
}

describe('the link of a shard to a client', () => {
  it('has no request to take while a reply waits for room, or a request for its reply', () => {
    const { link, requests } = world();
    expect(link.waiting()).toBe(false);
    put(requests);
    requests.flush();
    expect([link.blocked, link.waiting()]).toEqual([false, true]);
    link.unanswered = true;
    expect([link.blocked, link.waiting()]).toEqual([true, false]);
    link.unanswered = false;
    const held = new HeldRequests(1);
    held.append(link.stuck, held.take(link, 0, 0));
    expect([link.blocked, link.waiting()]).toEqual([true, false]);
    held.shift(link.stuck);
    expect([link.blocked, link.waiting()]).toEqual([false, true]);
    expect(link.reader.next()).toBe(true);
    expect(link.waiting()).toBe(false);
  });

  it('shows replies when it is told to, and nothing more once it is closed', () => {
    const { link, replies } = world();
    put(link.out);
    link.flush();
    expect(replies.pending()).toBe(false);
    link.dirty = true;
    link.flush();
    expect([replies.pending(), link.dirty]).toEqual([true, false]);
    replies.next();
    put(link.out);
    link.dirty = true;
    link.close();
    link.flush();
    expect(replies.pending()).toBe(false);
  });

  it('gives back the memory of requests that are through, but not of one that is to be run again', () => {
    const { link, requests } = world();
    let sent = 0;
    while (put(requests)) sent++;
    requests.flush();
    for (let taken = 0; taken < sent; taken++) expect(link.reader.next()).toBe(true);
    link.unanswered = true;
    link.release();
    expect(put(requests)).toBe(false);
    link.unanswered = false;
    link.release();
    expect(put(requests)).toBe(true);
    // Nobody will read what is sent to a shard that is gone.
    requests.flush();
    link.reader.next();
    const before = requests.usedBytes();
    link.close();
    link.release();
    expect(requests.usedBytes()).toBe(before);
  });

  it('closes all its ports, and may be closed again', async () => {
    const { link, ends } = world();
    const ports = [ends.requests.bell, ends.requests.side, ends.replies.bell, ends.replies.side];
    for (const port of ports) port.ref();
    const closed = Promise.all(ports.map((port) => once(port, 'close')));
    link.close();
    link.close();
    await closed;
  });
});
