import type { Socket } from 'node:net';
import { describe, expect, it } from 'vitest';
import { HttpTransport } from '../../load/transports/http.ts';
import { HttpAnswers } from '../../load/transports/http-answers.ts';
import { JsonDialect, RawDialect } from '../../load/transports/http-dialects.ts';
import { Answer, freshSlot, keyText, type Slot } from '../../load/transports/transport.ts';
import { type Listener, opened, serverOf, values } from './transport-harness.ts';

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

  /** Counts its connections; each answers, and says how long it may be idle where `told` says so. */
  async function counting(told: string): Promise<{ url: string; sockets: Socket[] }> {
    const sockets: Socket[] = [];
    const url = await serverOf((socket) => {
      sockets.push(socket);
      socket.on('data', () => socket.write(`HTTP/1.1 200 OK\r\nContent-Length: 1\r\n${told}\r\nx`));
    });
    return { url, sockets };
  }
  async function readOnce(transport: HttpTransport, listener: Listener, slot: Slot): Promise<void> {
    const from = listener.events.length;
    transport.read(slot);
    await listener.until(`idle ${slot.index}`, from);
  }

  it('a connection that was idle for as long as the node keeps one is made anew before it is used, and no other', async () => {
    // A second of what is told is for the way: nothing is left of this one.
    for (const [told, connections] of [
      ['Keep-Alive: timeout=1\r\n', 3],
      ['Keep-Alive: timeout=60\r\n', 1],
      ['', 1],
    ] as const) {
      const { url, sockets } = await counting(told);
      const slot = freshSlot(0);
      const transport = transportTo(url);
      const listener = await opened(transport, [slot]);
      for (let i = 0; i < 3; i++) await readOnce(transport, listener, slot);
      expect(sockets.length, told).toBe(connections);
      expect(listener.events.filter((event) => !/^(idle|answered) 0/.test(event))).toEqual([]);
      expect(listener.heard.map(({ answer, value }) => [answer, value])).toEqual(
        Array(3).fill([Answer.OK, 'x']),
      );
    }
  });

  it('a connection that the node half-closes takes nothing more', async () => {
    const { url, sockets } = await counting('');
    const slot = freshSlot(0);
    const transport = transportTo(url);
    const listener = await opened(transport, [slot]);
    await readOnce(transport, listener, slot);
    const from = listener.events.length;
    sockets[0]?.end();
    await listener.until('gone 0', from);
    await listener.until('idle 0', from);
    expect(listener.events.slice(from)).toEqual(['gone 0', 'idle 0']);
    await readOnce(transport, listener, slot);
    expect(sockets.length).toBe(2);
  });
});
