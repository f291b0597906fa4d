import { readdirSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { writeDocument } from '../../src/node/document.ts';
import { realFileSystem } from '../../src/vfs/real.ts';
import { MAIN, type Process, until, urlOf, Workplace } from './cli-process.ts';

let place: Workplace;
beforeEach(() => {
  place = new Workplace();
});
afterEach(() => place.remove());

const oneLine = /^ringkv: [^\n]+\n$/;
/** What a person reads on standard error, without the log. */
const said = (err: string): string =>
  err
    .split('\n')
    .filter((line) => !line.startsWith('{'))
    .join('\n');

describe('ringkv serve', () => {
  it('prints one line when it serves, ends with 0 at SIGINT and at SIGTERM, and keeps everything', async () => {
    let put = '';
    for (const signal of ['SIGINT', 'SIGTERM', 'SIGINT'] as const) {
      const { server, url } = await place.serve('--data', 'data');
      if (put !== '')
        expect(await place.run('get', 'key', '--url', url)).toMatchObject({ code: 0, out: put });
      put = `value before ${signal}`;
      expect((await place.run('put', 'key', put, '--url', url)).code).toBe(0);
      server.kill(signal);
      const { code, err, out } = await server.ended;
      expect({ code, out }).toEqual({ code: 0, out: `ready ${url}\n` });
      expect(err).toContain(place.path('data'));
      expect(err).toMatch(/durability +always/);
    }
    expect(await place.run('get', 'key', '--data', 'data')).toMatchObject({ code: 0, out: put });
  });

  it('ends with 0 when it is asked to while it looks for a cluster that does not answer', async () => {
    const nobody = createServer();
    await new Promise<void>((done) => nobody.listen(0, '127.0.0.1', done));
    const { port } = nobody.address() as { port: number };
    await new Promise((done) => nobody.close(done));
    const own = ['--data', 'data', '--port', '0', '--peer-port', '0'];
    const server = place.start('serve', ...own, '--seeds', `127.0.0.1:${port}`);
    await until(() => server.err.includes('cannot connect with a seed'), 60_000);
    server.kill('SIGTERM');
    const { code, out, err } = await server.ended;
    expect({ code, out }, err).toEqual({ code: 0, out: '' });
  });

  it('says in one line which port is taken, with exit code 4', async () => {
    const taken = createServer();
    await new Promise<void>((done) => taken.listen(0, '127.0.0.1', done));
    const { port } = taken.address() as { port: number };
    const { code, err, out } = await place.run('serve', '--port', String(port), '--data', 'data');
    await new Promise((done) => taken.close(done));
    expect({ code, out }).toEqual({ code: 4, out: '' });
    expect(said(err)).toMatch(oneLine);
    expect(err).toContain(String(port));
  });

  it('says in one line that another process has the directory, with exit code 5, and so do the commands', async () => {
    const { server, url } = await place.serve('--data', 'data');
    for (const command of [['serve', '--port', '0'], ['put', 'key', 'value'], ['scan'], ['verify']]) {
      const { code, err, out } = await place.run(...command, '--data', 'data');
      expect({ code, out }, command[0]).toEqual({ code: 5, out: '' });
      expect(said(err)).toMatch(oneLine);
      expect(err).toContain(String(server.child.pid));
    }
    expect((await place.run('put', 'key', 'value', '--url', url)).code).toBe(0);
  });

  it('says in one line what is wrong with a setting, a directory or its format', async () => {
    writeFileSync(place.path('file'), '');
    writeFileSync(place.path('ringkv.json'), '{"shards": "many"}');
    expect(await place.run('serve')).toMatchObject({
      code: 2,
      err: expect.stringMatching(/shards.*ringkv\.json/),
    });
    writeFileSync(place.path('ringkv.json'), '{}');
    for (const flags of [
      ['--port', '70000'],
      ['--host', '0.0.0.0'],
      ['--admin-port', '1'],
      ['--data', 'file'],
      ['--prot', '1'],
    ]) {
      const { code, err, out } = await place.run('serve', ...flags);
      expect({ code, out }, flags.join(' ')).toEqual({ code: 2, out: '' });
      expect(said(err)).toMatch(oneLine);
    }
    await place.run('put', 'key', 'value', '--data', 'data');
    const fields = { format: 2, createdBy: '9.0.0', nodeId: '0'.repeat(32), vnodes: 1024 };
    writeDocument(realFileSystem, place.path('data'), 'node.json', fields);
    for (const command of [['serve', '--port', '0'], ['get', 'key'], ['verify']]) {
      const { code, err } = await place.run(...command, '--data', 'data');
      expect(code, command[0]).toBe(5);
      expect(said(err)).toMatch(oneLine);
      expect(err).toContain('9.0.0');
    }
  });

  it('ends cleanly under npm start: at Ctrl-C, which comes from the terminal and from npm, and with npm', async () => {
    // npm itself ends by the signal, as it does with every script that a shell runs.
    const ends = [(npm: Process) => npm.killGroup('SIGINT'), (npm: Process) => npm.kill('SIGTERM')];
    for (const [round, end] of ends.entries()) {
      const npm = place.startNpm('--port', '0', '--data', place.path('data'));
      const url = await urlOf(npm);
      expect((await place.run('put', `key ${round}`, 'value', '--url', url)).code).toBe(0);
      end(npm);
      // Its output is closed only when the server has ended too.
      expect((await npm.ended).err).toContain('"msg":"stopped"');
      expect((await place.run('get', `key ${round}`, '--data', 'data')).out).toBe('value');
    }
  });

  it('leaves nothing on disk in memory', async () => {
    const { server, url } = await place.serve('--in-memory');
    await place.run('put', 'key', 'value', '--url', url);
    expect((await place.run('get', 'key', '--url', url)).out).toBe('value');
    server.kill('SIGTERM');
    expect((await server.ended).code).toBe(0);
    expect(readdirSync(place.directory)).toEqual([]);
  });

  it('goes on where the readers of its output have gone', async () => {
    const script = `"${process.execPath}" "$0" serve --port 0 --data data | { read line; echo "$line" >url; exec <&-; sleep 0.1; cat url; }`;
    const shell = place.startShell(script.replace('$0', MAIN));
    await until(() => shell.out.includes('ready '), 60_000);
    const url = /http:\S+/.exec(shell.out)?.[0] ?? '';
    expect((await place.run('put', 'key', 'value', '--url', url)).code).toBe(0);
    await until(() => /kill ([0-9]+)/.test(shell.err), 60_000);
    const pid = Number(/kill ([0-9]+)/.exec(shell.err)?.[1]);
    process.kill(pid, 'SIGINT');
    expect((await shell.ended).code).toBe(0);
  });
});

describe('ringkv', () => {
  it('runs as the package binary, and knows its version', async () => {
    const run = await place.startShell(`npm --prefix "${process.cwd()}" exec --no -- ringkv --version`).ended;
    expect(run.out).toMatch(/^\d+\.\d+\.\d+\n$/);
    expect(await place.run('--version')).toMatchObject({ code: 0, out: run.out });
  });

  it('ends quietly where head has read enough', async () => {
    const records = Array.from(
      { length: 5000 },
      (_, n) => `{"key":"key ${n}","value":"${'v'.repeat(100)}"}\n`,
    );
    writeFileSync(place.path('records'), records.join(''));
    expect((await place.run('import', 'records', '--data', 'data')).code).toBe(0);
    const { code, err, out } = await place.startShell(
      `"${process.execPath}" "${MAIN}" scan --values --data data | head -n 2`,
    ).ended;
    expect({ code, err }).toEqual({ code: 0, err: '' });
    expect(out.split('\n')).toHaveLength(3);
  });
});
