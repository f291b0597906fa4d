import type { Socket } from 'node:net';
import { decode, encode } from 'cbor-x';
import { describe, expect, it } from 'vitest';
import { Answer, freshSlot, keyText } from '../../load/transports/transport.ts';
import { WsTransport } from '../../load/transports/ws.ts';
import { FrameReader } from '../../load/transports/ws-frames.ts';
import { AnswerBatch, RequestBatch, WsOp } from '../../load/transports/ws-messages.ts';
import { opened, serverOf, values } from './transport-harness.ts';

/** A server of ringkv.v1 that answers by `reply`. */
const wsServer = (reply: (message: Record<string, unknown>, socket: Socket) => void): Promise<string> =>
  serverOf((socket) => {
    let shaken = false;
    // Frames of clients are masked: the bit is taken off, for the mask is zeros.
    let rest = Buffer.alloc(0);
    socket.on('data', (chunk: Buffer) => {
      if (!shaken) {
        shaken = true;
        socket.write('HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n');
        socket.write(serverFrame(encode({ ids: [], statuses: [], limits: { inFlightMax: 1024 } })));
        return;
      }
      rest = Buffer.concat([rest, chunk]);
      for (;;) {
        const found = clientFrame(rest);
        if (found === null) return;
        rest = rest.subarray(found.used);
        if (found.opcode === 2) reply(decode(found.payload) as Record<string, unknown>, socket);
      }
    });
  });
function serverFrame(payload: Uint8Array, opcode = 2): Buffer {
  const { length } = payload;
  const head =
    length < 126
      ? Buffer.from([0x80 | opcode, length])
      : Buffer.from([0x80 | opcode, 126, length >> 8, length & 255]);
  return Buffer.concat([head, payload]);
}
function clientFrame(bytes: Buffer): { opcode: number; payload: Buffer; used: number } | null {
  if (bytes.length < 8) return null;
  const short = (bytes[1] as number) & 0x7f;
  const length =
    short < 126 ? short : short === 126 ? bytes.readUInt16BE(2) : Number(bytes.readBigUInt64BE(2));
  const head = 2 + (short < 126 ? 0 : short === 126 ? 2 : 8) + 4;
  if (bytes.length < head + length) return null;
  expect((bytes[1] as number) & 0x80, 'masked').toBe(0x80);
  return {
    opcode: (bytes[0] as number) & 0x0f,
    payload: bytes.subarray(head, head + length),
    used: head + length,
  };
}

describe('WebSocket', () => {
  it('a batch of requests is the map that docs/websocket.md describes', () => {
    const batch = new RequestBatch({ values, writer: 0, query: 'consistency=QUORUM&sloppy=false' });
    const put = { ...freshSlot(300), key: 5, serial: 9, valueBytes: 200, ttlMs: 2500 };
    batch.add(put, WsOp.PUT);
    // As a slot that wrote before.
    batch.add({ ...freshSlot(1), key: 6, ttlMs: 900 }, WsOp.GET);
    batch.add({ ...freshSlot(70_000), key: 7 }, WsOp.DELETE);
    const { bytesMax } = batch;
    const frame = batch.take(Buffer.alloc(bytesMax));
    expect(frame.length).toBeLessThanOrEqual(bytesMax);
    const found = clientFrame(frame);
    expect(found?.used).toBe(frame.length);
    const value = Buffer.alloc(200);
    values.write(value, 0, 200, 5, 0, 9);
    const message = decode(found?.payload ?? Buffer.alloc(0)) as Record<string, unknown[]>;
    expect({
      ...message,
      values: message.values?.map((one) => (one === null ? null : Buffer.from(one as Buffer))),
    }).toEqual({
      ids: [300, 1, 70_000],
      ops: [1, 2, 3],
      keys: [keyText(5), keyText(6), keyText(7)],
      consistency: 2,
      sloppy: false,
      ttls: [2.5, null, null],
      values: [value, null, null],
    });
    expect(batch.count).toBe(0);
    // Gets alone have neither values nor ttls.
    batch.add({ ...freshSlot(1), key: 6 }, WsOp.GET);
    const next = decode(
      clientFrame(batch.take(Buffer.alloc(batch.bytesMax)))?.payload ?? Buffer.alloc(0),
    ) as object;
    expect(Object.keys(next)).toEqual(['ids', 'ops', 'keys', 'consistency', 'sloppy']);
  });

  it('answers are read in any order of columns, also unknown ones, and what is wrong is refused', () => {
    const batch = new AnswerBatch();
    const message = Buffer.from(
      encode({
        statuses: [0, 1, 8],
        news: { a: [1, 'x', null, 1.5] },
        values: [Buffer.from('v'), null, null],
        versions: [2 ** 50, null, null],
        messages: [null, null, 'few'],
        ids: [3, 2 ** 20, 1],
      }),
    );
    batch.read(message);
    expect(batch.count).toBe(3);
    expect(batch.ids.slice(0, 3)).toEqual([3, 2 ** 20, 1]);
    expect(batch.statuses.slice(0, 3)).toEqual([0, 1, 8]);
    expect(message.subarray(batch.valueStarts[0], batch.valueEnds[0]).toString()).toBe('v');
    expect(batch.valueStarts.slice(1, 3)).toEqual([0, 0]);
    // A message without values has none of the one before.
    batch.read(Buffer.from(encode({ ids: [4], statuses: [0] })));
    expect(batch.valueStarts[0]).toBe(0);
    for (const wrong of [[1], { ids: [1, 2], statuses: [0] }, { ids: ['a'], statuses: [0] }])
      expect(() => batch.read(Buffer.from(encode(wrong)))).toThrow();
    for (let cut = 0; cut < message.length; cut++)
      expect(() => batch.read(message.subarray(0, cut)), `${cut} bytes`).toThrow();
  });

  it('frames are read however their bytes are cut, small, of 16 bits and of 64', () => {
    const payloads = [0, 1, 125, 126, 65_535, 65_536, 200_000].map((length) =>
      Buffer.alloc(length, length & 255),
    );
    const head = (length: number): Buffer => {
      if (length < 126) return Buffer.from([0x82, length]);
      const long = Buffer.alloc(length <= 0xffff ? 4 : 10);
      long[0] = 0x82;
      long[1] = length <= 0xffff ? 126 : 127;
      if (length <= 0xffff) long.writeUInt16BE(length, 2);
      else long.writeBigUInt64BE(BigInt(length), 2);
      return long;
    };
    const bytes = Buffer.concat(payloads.flatMap((payload) => [head(payload.length), payload]));
    for (const size of [1, 2, 3, 7, 1000, 65_536, bytes.length]) {
      const got: number[] = [];
      const reader = new FrameReader(
        (opcode, payload) => {
          expect(opcode).toBe(2);
          expect(payload.equals(payloads[got.length] ?? Buffer.alloc(0))).toBe(true);
          got.push(payload.length);
        },
        (why) => expect.fail(why),
      );
      for (let at = 0; at < bytes.length; at += size) reader.push(bytes.subarray(at, at + size));
      expect(got, `pieces of ${size}`).toEqual(payloads.map(({ length }) => length));
    }
  });

  it('what is due in one turn is one message; answers come to their slots in any order', async () => {
    const messages: Record<string, unknown>[] = [];
    const url = await wsServer((message, socket) => {
      messages.push(message);
      const ids = [...(message.ids as number[])].reverse();
      socket.write(serverFrame(Buffer.alloc(3), 9));
      socket.write(
        serverFrame(
          encode({
            ids,
            statuses: ids.map((id) => (id === 2 ? 1 : id === 3 ? 7 : id === 4 ? 9 : 0)),
            values: ids.map((id) => (id < 2 ? Buffer.from(`value ${id}`) : null)),
          }),
        ),
      );
    });
    const slots = [0, 1, 2, 3, 4].map((index) => ({ ...freshSlot(index), key: index, valueBytes: 64 }));
    const transport = new WsTransport([url], { values, writer: 0, query: '' }, 64);
    const listener = await opened(transport, slots);
    const from = listener.events.length;
    for (const slot of slots.slice(0, 3)) transport.read(slot);
    for (const slot of slots.slice(3)) transport.write(slot);
    transport.flush();
    await listener.until('idle 0', from);
    expect(messages.length).toBe(1);
    expect([...listener.heard].sort((a, b) => a.slot - b.slot)).toEqual([
      { slot: 0, answer: Answer.OK, value: 'value 0', failure: '' },
      { slot: 1, answer: Answer.OK, value: 'value 1', failure: '' },
      { slot: 2, answer: Answer.ABSENT, value: null, failure: '' },
      { slot: 3, answer: Answer.REFUSED, value: null, failure: 'OVERLOADED' },
      { slot: 4, answer: Answer.UNKNOWN, value: null, failure: 'TIMEOUT' },
    ]);
  });

  it('slots that are to be apart have a connection each', async () => {
    const askedOn: Socket[] = [];
    const url = await wsServer((message, socket) => {
      askedOn.push(socket);
      const ids = message.ids as number[];
      socket.write(serverFrame(encode({ ids, statuses: ids.map(() => 1) })));
    });
    const slots = [0, 1, 2, 3].map((index) => freshSlot(index));
    const transport = new WsTransport([url], { values, writer: 0, query: '' }, 64, true);
    const listener = await opened(transport, slots);
    const from = listener.events.length;
    for (const slot of slots) transport.read(slot);
    transport.flush();
    for (const { index } of slots) await listener.until(`idle ${index}`, from);
    expect(new Set(askedOn).size).toBe(4);
  });

  it('a connection that ends takes all its slots with it, and brings them back at the next node', async () => {
    const first = await wsServer((_, socket) => socket.destroy());
    const second = await wsServer((message, socket) => {
      const ids = message.ids as number[];
      socket.write(
        serverFrame(
          encode({ ids, statuses: ids.map(() => 0), values: ids.map(() => Buffer.from('second')) }),
        ),
      );
    });
    const slots = [0, 1, 2].map((index) => ({ ...freshSlot(index), valueBytes: 64 }));
    const [slot = freshSlot(0)] = slots;
    const transport = new WsTransport([first, second], { values, writer: 0, query: '' }, 64);
    const listener = await opened(transport, slots);
    const from = listener.events.length;
    // Slots 0 and 2 are on the connection to the first node, 1 on that to the second.
    transport.write(slot);
    transport.flush();
    await listener.until('idle 2', from);
    expect(listener.events.slice(from)).toEqual(['gone 0', 'gone 2', 'answered 0', 'idle 0', 'idle 2']);
    expect(listener.heard).toEqual([
      { slot: 0, answer: Answer.UNKNOWN, value: null, failure: 'connection lost' },
    ]);
    transport.read(slot);
    transport.flush();
    await listener.until('idle 0', listener.events.length);
    expect(listener.heard.at(-1)?.value).toBe('second');
  });

  it('an answer that nobody has asked for, and a connection closed for a mistake, end the run', async () => {
    const stray = await wsServer((_, socket) => {
      socket.write(serverFrame(encode({ ids: [77], statuses: [0] })));
    });
    const closed = await wsServer((_, socket) => {
      socket.write(
        serverFrame(Buffer.concat([Buffer.from([1007 >> 8, 1007 & 255]), Buffer.from('no map')]), 8),
      );
    });
    for (const [url, why] of [
      [stray, 'broken 127.0.0.1'],
      [closed, 'broken 127.0.0.1'],
    ] as const) {
      const slot = { ...freshSlot(0), valueBytes: 64 };
      const transport = new WsTransport([url], { values, writer: 0, query: '' }, 64);
      const listener = await opened(transport, [slot]);
      transport.read(slot);
      transport.flush();
      await listener.until(why);
      expect(listener.events.find((event) => event.startsWith('broken'))).toMatch(
        /77|closed with 1007: no map/,
      );
    }
  });
});
