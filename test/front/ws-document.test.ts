import { readFileSync, writeFileSync } from 'node:fs';
import { resolve } from 'node:path';
import { describe, expect, it } from 'vitest';
import { Consistency } from '../../src/base/consistency.ts';
import { limits } from '../../src/base/limits.ts';
import { Status } from '../../src/base/status.ts';
import { outcomeOf } from '../../src/front/outcome.ts';
import { encodeLimits } from '../../src/front/ws-answers.ts';
import { limitsTold } from '../../src/front/ws-limits.ts';
import { WsRequests } from '../../src/front/ws-request.ts';
import { sizesOf } from '../../src/front/ws-sizes.ts';
import {
  ANSWER_COLUMNS,
  CloseCode,
  REQUEST_COLUMNS,
  SUB_PROTOCOL,
  WS_PATH,
  WsOp,
} from '../../src/front/ws-wire.ts';
import { decode, encode, type Item } from './ws-client.ts';
import { diagnose, refusals, type Vector, vectors } from './ws-vectors.ts';

const path = resolve(import.meta.dirname, '../../docs/websocket.md');
const document = (): string => readFileSync(path, 'utf8');

/** Cells of the table whose first column has this heading, without its head. */
function table(heading: string): string[][] {
  const lines = document().split('\n');
  const start = lines.findIndex((line) => line.startsWith(`| ${heading} |`));
  expect(start, `a table that begins with ${heading}`).toBeGreaterThan(0);
  const end = lines.findIndex((line, index) => index > start && !line.startsWith('|'));
  return lines.slice(start + 2, end).map((line) =>
    line
      .slice(1, -1)
      .split('|')
      .map((cell) => cell.trim().replaceAll('`', '')),
  );
}
const section = (name: string): string => {
  const found = new RegExp(`<!-- ${name} -->\n([\\s\\S]*?)<!-- /${name} -->`).exec(document());
  if (found === null) throw new Error(`docs/websocket.md has no section ${name}`);
  return found[1] as string;
};

const spaced = (hex: string): string => hex.replaceAll(' ', '').replace(/(.{64})(?=.)/g, '$1\n    ');
const sentHex = ({ request, hex }: Vector): string =>
  request === undefined ? (hex ?? '').replaceAll(' ', '') : encode(request).toString('hex');

const vectorText = (): string =>
  vectors
    .map((vector) => {
      const { name, request, says, answer } = vector;
      const reads = request === undefined ? says : diagnose(request);
      return [
        `**${name}**\n`,
        '```',
        `>   ${reads}`,
        `    ${spaced(sentHex(vector))}`,
        `<   ${diagnose(answer)}`,
        `    ${spaced(encode(answer).toString('hex'))}`,
        '```\n',
      ].join('\n');
    })
    .join('\n');
const refusalText = (): string =>
  [
    '| message | hex | code | reason |',
    '| --- | --- | ---: | --- |',
    ...refusals.map(
      ({ name, hex, code, reason }) =>
        `| ${name} | ${hex === null ? '`{}` as text' : `\`${hex.replaceAll(' ', '')}\``} | ${code} | ${reason} |`,
    ),
    '',
  ].join('\n');

function update(name: string, text: string): void {
  if (process.env.RINGKV_UPDATE_DOCS === undefined) return;
  writeFileSync(
    path,
    document().replace(
      new RegExp(`(<!-- ${name} -->\n)[\\s\\S]*?(<!-- /${name} -->)`),
      (_, before: string, after: string) => `${before}${text}${after}`,
    ),
  );
}

describe('docs/websocket.md and the code agree on', () => {
  it('path and sub-protocol', () => {
    expect(document()).toContain(`GET ${WS_PATH}`);
    expect(document()).toContain(`Sec-WebSocket-Protocol: ${SUB_PROTOCOL}`);
  });
  it('statuses, which are those of the store, with the HTTP status of each', () => {
    const rows = table('status | name');
    expect(rows.map(([number, name]) => [Number(number), name])).toEqual(
      Object.entries(Status).map(([name, number]) => [number, name]),
    );
    for (const [number, , http] of rows)
      expect(http?.split(', ').map(Number), `status ${number}`).toContain(outcomeOf(Number(number)).http);
  });
  it('ops and levels of consistency', () => {
    expect(table('op')).toEqual(
      Object.entries(WsOp).map(([name, number]) => [name.toLowerCase(), `${number}`]),
    );
    expect(table('consistency')).toEqual(
      Object.entries(Consistency).map(([name, number]) => [name, `${number}`]),
    );
  });
  it('columns, in their order', () => {
    const lines = document().split('\n');
    const columnsAfter = (heading: string): string[] => {
      const rows: string[] = [];
      for (const line of lines.slice(lines.indexOf(heading))) {
        const name = /^\| `([A-Za-z]+)` \|/.exec(line)?.[1];
        if (name !== undefined) rows.push(name);
        else if (rows.length > 0) break;
      }
      return rows;
    };
    expect(columnsAfter('### Requests')).toEqual([...REQUEST_COLUMNS]);
    expect(columnsAfter('### Answers')).toEqual([...ANSWER_COLUMNS]);
  });
  it('the limits of the first message', () => {
    const told = limitsTold(limits.keyBytesMax, limits.valueBytesMax, limits.wsMessageBytesMax);
    expect(table('name').map(([name, figure]) => [name, Number(figure)])).toEqual(Object.entries(told));
    expect(decode(Buffer.from(encodeLimits(told)))).toEqual({ ids: [], statuses: [], limits: told });
  });
  it('numbers of the flow control', () => {
    const text = document();
    for (const [figure, ofText] of [
      [limits.wsBufferedTotalBytesMax / 2 ** 20, 'more than # MiB together'],
      [limits.wsValuesBytesMax / 2 ** 20, 'no more than # MiB wait'],
      [limits.wsDrainPeriodBytesMin / 2 ** 10, 'less than # KiB in'],
      [limits.wsDrainPeriodMs / 1000, 'KiB in # s while'],
      [limits.wsSilenceMs / 1000, 'or pong in # s'],
      [limits.wsPingMs / 1000, 'again every # s,'],
      [limits.wsClosingMs / 1000, 'count for # s as if'],
      [limits.wsCloseBufferedBytesMax / 2 ** 10, 'more than # KiB wait for it'],
      [limits.wsReasonBytesMax, 'cut to the # bytes'],
      [limits.wsConnectionsMax.toLocaleString('en-US'), 'has # WebSocket connections'],
      [limits.connectionsMax.toLocaleString('en-US'), 'among its # connections'],
      [limits.wsUnfinishedBytesMax / 2 ** 30, 'at most # GiB'],
      [limits.wsSmallValueBytesMax / 2 ** 10, 'a `valueBytesMax` of # KiB'],
      [limits.wsErrorTextBytesMax.toLocaleString('en-US'), 'at most # bytes'],
    ] as const)
      expect(text).toContain(ofText.replace('#', String(figure)));
  });
  it('how many connections have messages of which length', () => {
    const sizes = sizesOf(limits.keyBytesMax, limits.valueBytesMax);
    const rows = table('connections of a front end').map((row) =>
      row.map((cell) => Number(cell.replaceAll(',', ''))),
    );
    expect(rows.slice(0, -1).map(([count]) => count)).toEqual(
      sizes.slice(0, -1).map(({ connectionsMax }) => connectionsMax),
    );
    expect(rows.map(([, messageBytes]) => messageBytes)).toEqual(
      sizes.map(({ messageBytesMax }) => messageBytesMax),
    );
    expect(rows.map(([, , valueBytes]) => valueBytes)).toEqual(
      sizes.map(
        ({ greeting }) =>
          (decode(Buffer.from(greeting)) as unknown as { limits: Record<string, number> }).limits
            .valueBytesMax,
      ),
    );
  });
  it('close codes', () => {
    expect(table('code').map(([code]) => Number(code))).toEqual(
      [...Object.values(CloseCode), 1006].sort((a, b) => a - b),
    );
  });
  it('what is written by hand, which is the first vector', () => {
    const [, byHand = ''] = document().split('## Write one by hand');
    const [, block = ''] = byHand.split('```');
    const hexOf = (text: string): string =>
      text
        .split('\n')
        .map((line) => /^ *((?:[0-9a-f]{2,} ?)+)(?: |$)/.exec(line)?.[1]?.replaceAll(' ', '') ?? '')
        .join('');
    const [request = '', answer = ''] = block.trim().split('\n\n');
    const [first] = vectors;
    expect(hexOf(request)).toBe(encode(first?.request ?? null).toString('hex'));
    expect(hexOf(answer)).toBe(encode(first?.answer ?? null).toString('hex'));
  });
  it('the vectors', () => {
    update('vectors', vectorText());
    expect(section('vectors')).toBe(vectorText());
  });
  it('what is refused', () => {
    update('refusals', refusalText());
    expect(section('refusals')).toBe(refusalText());
  });
});

describe('the decoder', () => {
  const requests = new WsRequests();
  it.each(vectors.filter(({ request }) => request !== undefined))('reads: $name', ({ request }) => {
    const { ids, keys } = request as { ids: number[]; keys: Item[] };
    requests.decode(encode(request as Item));
    expect(Array.from(ids, (_, index) => requests.ids.at(index))).toEqual(ids);
    expect(
      keys.map((_, index) =>
        Buffer.from(requests.bytes.subarray(requests.keys.start(index), requests.keys.end(index))),
      ),
    ).toEqual(keys.map((key) => Buffer.from(key as string)));
  });
  it.each(refusals.filter(({ hex }) => hex !== null))('refuses: $name', ({ hex, reason }) => {
    const bytes = Buffer.from((hex ?? '').replaceAll(' ', ''), 'hex');
    expect(() => requests.decode(bytes)).toThrow(reason);
  });
});
