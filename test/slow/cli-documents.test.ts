/** A node whose documents of the cluster are damaged, as a real process: it says which file, and does not start as another. */
import { readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { Workplace } from './cli-process.ts';
import { eventually, statusOf } from './cluster-processes.ts';

let place: Workplace;
beforeEach(() => {
  place = new Workplace();
});
afterEach(() => place.remove());

const flags = ['--data', 'data', '--vnodes', '64', '--peer-port', '0'];

describe('ringkv serve with a damaged document of the cluster', () => {
  it('names the file and ends with exit code 5, whichever it is, and serves when it is whole again', async () => {
    const { server, url } = await place.serve(...flags);
    const { clusterId, self } = await statusOf(url);
    const directory = place.path('data/cluster');
    const documents = (): string[] => readdirSync(directory).filter((name) => !name.includes('.'));
    await eventually('the ring, the membership and the generation are on disk', async () =>
      ['ring', 'ring-member', 'generation'].every((name) => documents().includes(name)),
    );
    server.kill('SIGTERM');
    expect((await server.ended).code).toBe(0);

    for (const name of documents()) {
      const path = `${directory}/${name}`;
      const whole = readFileSync(path);
      const damaged = Buffer.from(whole);
      const at = damaged.length - 1;
      damaged.writeUInt8(damaged.readUInt8(at) ^ 1, at);
      writeFileSync(path, damaged);
      const { code, out, err } = await place.run('serve', '--port', '0', ...flags);
      expect({ code, out }, `${name}: ${err}`).toEqual({ code: 5, out: '' });
      expect(err.split('\n').filter((line) => line.startsWith('ringkv: '))).toEqual([
        expect.stringContaining(`data/cluster/${name}: corrupt`),
      ]);
      writeFileSync(path, whole);
    }

    const ring = readFileSync(`${directory}/ring`);
    rmSync(`${directory}/ring`);
    const { code, err } = await place.run('serve', '--port', '0', ...flags);
    expect({ code }, err).toEqual({ code: 5 });
    expect(err).toContain('data/cluster/ring');
    writeFileSync(`${directory}/ring`, ring);

    const again = await place.serve(...flags);
    const status = await statusOf(again.url);
    expect([status.clusterId, status.self, status.nodes.length]).toEqual([clusterId, self, 1]);
  });
});
