/** The log of `serve` on standard error: pino's JSON lines, or plain lines where a person reads them. */
import { pino, stdSerializers, stdTimeFunctions } from 'pino';
import type { Log, NodeConfig } from '../node/contract.ts';
import type { Output } from './output.ts';

const TIME_START = 11;
const TIME_END = 23;

export function createLog(level: NodeConfig['logLevel'], { isTerminal, stream }: Output): Log {
  const logger = pino(
    {
      level,
      base: { pid: process.pid },
      timestamp: stdTimeFunctions.isoTime,
      formatters: { level: (label) => ({ level: label }) },
    },
    { write: (line: string) => void stream.write(isTerminal ? plainLine(line) : line) },
  );
  return (severity, message, fields = {}) => logger[severity](serialised(fields), message);
}

function serialised(fields: Readonly<Record<string, unknown>>): Record<string, unknown> {
  const pairs = Object.entries(fields).map(([name, value]) => [
    name,
    value instanceof Error ? stdSerializers.err(value) : value,
  ]);
  return Object.fromEntries(pairs) as Record<string, unknown>;
}

/** `12:00:01.234 warn  message name=value`, from a line of pino. */
function plainLine(line: string): string {
  const { level, time, pid: _, msg, ...fields } = JSON.parse(line) as Readonly<Record<string, unknown>>;
  const rest = Object.entries(fields).map(([name, value]) => `${name}=${JSON.stringify(value)}`);
  const clock = String(time).slice(TIME_START, TIME_END);
  return `${[clock, String(level).padEnd(5), String(msg), ...rest].join(' ')}\n`;
}
