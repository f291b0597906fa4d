import { describe, expect, it } from 'vitest';
import { readCommandLine } from '../../load/command-line.ts';
import { EtcdDialect } from '../../load/peers/etcd-dialect.ts';
import { RedisTransport } from '../../load/peers/redis.ts';
import { Answer, freshSlot, keyText } from '../../load/transports/transport.ts';
import { opened, serverOf, values } from './transport-harness.ts';

describe('other stores', () => {
  it('--peers runs the same for each, RingKV first', () => {
    const runs = readCommandLine(['--peers', '--transport', 'ws', '--keys', '50'])?.runs ?? [];
    expect(runs.map(({ scenario, transport, peer }) => `${scenario.name} ${transport} ${peer}`)).toEqual([
      'ringkv-ws ws null',
      'redis-always redis redis-always',
      'redis-everysec redis redis-everysec',
      'etcd etcd etcd',
    ]);
    const [own, ...others] = runs;
    for (const { scenario, seed } of others) {
      expect(scenario).toMatchObject({ records: 50, rate: { share: 0.7 }, mix: { read: 0.5, update: 0.5 } });
      expect(seed).toBe(own?.seed);
    }
  });

  it('Redis: commands and replies of its protocol, in whatever pieces they come', async () => {
    const got: Buffer[] = [];
    const replies = ['+OK\r\n', '$5\r\nhello\r\n', '$-1\r\n', '-OOM no memory\r\n', ':1\r\n'];
    const url = await serverOf((socket) => {
      socket.on('data', (chunk) => {
        got.push(chunk);
        const reply = replies[got.length - 1] ?? '';
        // The head of a string alone, and then its rest but for the end.
        socket.write(reply.slice(0, -3));
        setImmediate(() => socket.write(reply.slice(-3)));
      });
    });
    const slot = { ...freshSlot(0), key: 3, serial: 8, valueBytes: 64 };
    const transport = new RedisTransport([url], values, 0);
    const listener = await opened(transport, [slot]);
    const sends = [
      () => transport.write(slot),
      () => transport.read(slot),
      () => transport.read(slot),
      () => transport.write({ ...slot, ttlMs: 1500 }),
      () => transport.delete(slot),
    ];
    for (const send of sends) {
      const from = listener.events.length;
      send();
      await listener.until('idle 0', from);
    }
    expect(listener.heard.map(({ answer, value, failure }) => [answer, value, failure])).toEqual([
      [Answer.OK, null, ''],
      [Answer.OK, 'hello', ''],
      [Answer.ABSENT, null, ''],
      [Answer.UNKNOWN, null, 'OOM no memory'],
      [Answer.OK, null, ''],
    ]);
    const value = Buffer.alloc(64);
    values.write(value, 0, 64, 3, 0, 8);
    const head = `*3\r\n$3\r\nSET\r\n$14\r\n${keyText(3)}\r\n$64\r\n`;
    expect(got[0]?.equals(Buffer.concat([Buffer.from(head), value, Buffer.from('\r\n')]))).toBe(true);
    expect(got[1]?.toString()).toBe(`*2\r\n$3\r\nGET\r\n$14\r\n${keyText(3)}\r\n`);
    expect(got[4]?.toString()).toBe(`*2\r\n$3\r\nDEL\r\n$14\r\n${keyText(3)}\r\n`);
  });

  it('etcd: keys and values in base64, and an answer without a value is an absent key', () => {
    const dialect = new EtcdDialect(values, 0, 4096);
    const slot = { ...freshSlot(0), key: 3, serial: 8, valueBytes: 100 };
    const body = Buffer.alloc(dialect.bodyBytes(slot));
    dialect.writeBody(slot, body, 0);
    const parsed = JSON.parse(body.toString()) as { key: string; value: string };
    expect(Buffer.from(parsed.key, 'base64').toString()).toBe(keyText(3));
    expect(values.serialOf(Buffer.from(parsed.value, 'base64'), 3, 0)).toBe(8);
    expect(dialect.writeHead(slot)).toContain(`Content-Length: ${body.length}\r\n`);
    const [head = '', read = ''] = dialect.read(slot).split('\r\n\r\n');
    expect(head).toContain(`Content-Length: ${read.length}`);
    expect(dialect.valueIn(body)?.length).toBe(100);
    expect(dialect.valueIn(Buffer.from('{"header":{}}'))).toBeNull();
  });
});
