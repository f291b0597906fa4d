import { createServer, type Server, type Socket } from 'node:net';
import { decode, encode } from 'cbor-x';
import { afterEach, describe, expect, it } from 'vitest';
import { HttpTransport } from '../../load/transports/http.ts';
import { HttpAnswers } from '../../load/transports/http-answers.ts';
import { JsonDialect, RawDialect } from '../../load/transports/http-dialects.ts';
import {
  Answer,
  type AnswerSink,
  freshSlot,
  keyText,
  type Slot,
  type Transport,
} from '../../load/transports/transport.ts';
import { WsTransport } from '../../load/transports/ws.ts';
import { FrameReader } from '../../load/transports/ws-frames.ts';
import { AnswerBatch, RequestBatch, WsOp } from '../../load/transports/ws-messages.ts';
import { Values } from '../../load/values.ts';

const values = new Values({ seed: 1, min: 64, max: 4096 });

interface Heard {
  readonly slot: number;
  readonly answer: number;
  readonly value: string | null;
  readonly failure: string;
}
/** Remembers what a transport tells. */
class Listener implements AnswerSink {
  readonly heard: Heard[] = [];
  readonly events: string[] = [];
  readonly #waiting: (() => void)[] = [];
  answered(slot: Slot, answer: number, value: Buffer | null, failure: string): void {
    this.heard.push({
      slot: slot.index,
      answer,
      value: value === null ? null : value.toString('latin1'),
      failure,
    });
    this.#tell(`answered ${slot.index}`);
  }
  scanned(slot: Slot, key: Buffer): void {
    this.#tell(`scanned ${slot.index} ${key.toString()}`);
  }
  idle(slot: Slot): void {
    this.#tell(`idle ${slot.index}`);
  }
  gone(slot: Slot): void {
    this.#tell(`gone ${slot.index}`);
  }
  broken(error: Error): void {
    this.#tell(`broken ${error.message}`);
  }
  #tell(event: string): void {
    this.events.push(event);
    for (const wake of this.#waiting.splice(0)) wake();
  }
  /** Until `event` was told after the first `from` events; how many there are then. The test's own time limit bounds it. */
  async until(event: string, from = 0): Promise<number> {
    while (!this.events.slice(from).some((one) => one.startsWith(event)))
      await new Promise<void>((resolve) => this.#waiting.push(resolve));
    return this.events.length;
  }
}

const cleanups: (() => Promise<unknown>)[] = [];
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});
/** A server that hands its sockets to `serve`; its URL. */
async function serverOf(serve: (socket: Socket) => void): Promise<string> {
  const sockets = new Set<Socket>();
  const server: Server = createServer((socket) => {
    sockets.add(socket);
    socket.on('error', () => undefined);
    serve(socket);
  });
  await new Promise<void>((done) => server.listen(0, '127.0.0.1', done));
  cleanups.push(() => {
    for (const socket of sockets) socket.destroy();
    return new Promise((done) => server.close(done));
  });
  const address = server.address();
  if (address === null || typeof address === 'string') throw new Error('no port');
  return `http://127.0.0.1:${address.port}`;
}
async function opened(transport: Transport, slots: readonly Slot[]): Promise<Listener> {
  const listener = new Listener();
  cleanups.push(() => transport.close());
  await transport.open(slots, listener);
  for (const { index } of slots) await listener.until(`idle ${index}`);
  return listener;
}

describe('answers of HTTP', () => {
  it('are read however their bytes are cut', () => {
    const answer = Buffer.from(
      'HTTP/1.1 200 OK\r\nContent-Length: 5\r\nETag: "1"\r\n\r\nhello' +
        'HTTP/1.1 404 Not Found\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n4\r\ndefg\r\n0\r\n\r\n' +
        'HTTP/1.1 204 No Content\r\n\r\n',
    );
    const ends = [answer.indexOf('hello') + 5, answer.indexOf('0\r\n\r\n') + 5, answer.length];
    for (let size = 1; size < 80; size++) {
      const got: string[] = [];
      const answers = new HttpAnswers(
        (status, body) => got.push(`${status} ${body.toString()}`),
        (why) => got.push(why),
      );
      // As one connection gives them: nothing of the next answer before this one was taken.
      let at = 0;
      for (const end of ends)
        for (; at < end; at = Math.min(end, at + size))
          answers.push(answer.subarray(at, Math.min(end, at + size)));
      expect(got, `pieces of ${size}`).toEqual(['200 hello', '404 abcdefg', '204 ']);
    }
  });
  it('what is no HTTP, or more than was asked for, is told', () => {
    const wrong = (text: string): string => {
      let told = '';
      new HttpAnswers(
        () => undefined,
        (why) => {
          told = why;
        },
      ).push(Buffer.from(text));
      return told;
    };
    expect(wrong('SSH-2.0-x\r\n\r\n')).toContain('no answer of HTTP');
    expect(wrong('HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nab')).toContain('more bytes');
    expect(wrong('HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n')).toContain('chunk');
    expect(wrong(`HTTP/1.1 200 OK\r\nX: ${'x'.repeat(70_000)}`)).toContain('65536');
    expect(wrong('HTTP/1.1 200 OK\r\nContent-Length: 99999999\r\n\r\n')).toBe('');
  });
});

describe('HTTP', () => {
  it('JSON and raw write the same value, with ttl and consistency where each has them', () => {
    const slot = { ...freshSlot(0), key: 7, serial: 3, valueBytes: 100, ttlMs: 1500 };
    const query = 'consistency=ALL&sloppy=false';
    const raw = new RawDialect(values, 0, query);
    const json = new JsonDialect(values, 0, query, 4096);
    const body = Buffer.alloc(raw.bodyBytes(slot));
    raw.writeBody(slot, body, 0);
    expect(values.serialOf(body, 7, 0)).toBe(3);
    expect(raw.writeHead(slot)).toContain(`PUT /v1/kv/${keyText(7)}?ttl=1.5&${query} HTTP/1.1\r\n`);
    const text = Buffer.alloc(json.bodyBytes(slot));
    json.writeBody(slot, text, 0);
    const parsed = JSON.parse(text.toString()) as Record<string, unknown>;
    expect(parsed).toEqual({ value: body.toString('base64'), consistency: 'ALL', sloppy: false, ttl: 1.5 });
    expect(json.writeHead(slot)).toContain(`PUT /v1/kv/${keyText(7)} HTTP/1.1\r\n`);
    expect(raw.read(slot)).toContain(`?consistency=ALL HTTP/1.1`);
    const answer = Buffer.from(`{"key":"x","value":"${body.toString('base64')}","version":1}`);
    expect(json.valueIn(answer)?.equals(body)).toBe(true);
    expect(json.valueIn(Buffer.from('{}'))).toBeNull();
  });

  const transportTo = (...urls: string[]): HttpTransport =>
    new HttpTransport(urls, new RawDialect(values, 0, ''), '');

  it('statuses say whether something may have been written', async () => {
    const replies = [
      '200 OK\r\nContent-Length: 2\r\n\r\nhi',
      '404 Not Found\r\nContent-Length: 0\r\n\r\n',
      '503 X\r\nContent-Length: 36\r\n\r\n{"error":{"code":"OVERLOADED","x":1}}'.replace('36', '37'),
      '503 X\r\nContent-Length: 31\r\n\r\n{"error":{"code":"UNAVAILABLE"}}'.replace('31', '32'),
      '507 X\r\nContent-Length: 0\r\n\r\n',
      '504 X\r\nContent-Length: 0\r\n\r\n',
    ];
    let at = 0;
    const url = await serverOf((socket) => {
      socket.on('data', () => socket.write(`HTTP/1.1 ${replies[at++]}`));
    });
    const slot = { ...freshSlot(0), valueBytes: 64 };
    const transport = transportTo(url);
    const listener = await opened(transport, [slot]);
    for (const [index] of replies.entries()) {
      const from = listener.events.length;
      if (index < 2) transport.read(slot);
      else transport.write(slot);
      await listener.until('idle 0', from);
    }
    expect(listener.heard.map(({ answer, failure }) => [answer, failure])).toEqual([
      [Answer.OK, ''],
      [Answer.ABSENT, ''],
      [Answer.REFUSED, '503 OVERLOADED'],
      [Answer.UNKNOWN, '503 UNAVAILABLE'],
      [Answer.REFUSED, '507'],
      [Answer.UNKNOWN, '504'],
    ]);
    expect(listener.heard[0]?.value).toBe('hi');
  });

  it('a connection that ends: its request is of unknown outcome, the slot is gone, and comes back at the next node', async () => {
    const first = await serverOf((socket) => socket.on('data', () => socket.destroy()));
    const second = await serverOf((socket) => {
      socket.on('data', () => socket.write('HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nsecond'));
    });
    const slot = { ...freshSlot(0), valueBytes: 64 };
    const transport = transportTo(first, second);
    const listener = await opened(transport, [slot]);
    const from = listener.events.length;
    transport.write(slot);
    await listener.until('idle 0', from);
    expect(listener.events.slice(from)).toEqual(['gone 0', 'answered 0', 'idle 0']);
    expect(listener.heard).toEqual([
      { slot: 0, answer: Answer.UNKNOWN, value: null, failure: 'connection lost' },
    ]);
    transport.read(slot);
    await listener.until('idle 0', listener.events.length);
    expect(listener.heard.at(-1)?.value).toBe('second');
  });
});

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
    batch.add({ ...freshSlot(1), key: 6 }, WsOp.GET);
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
