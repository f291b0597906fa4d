/** bare-server.ts as a process. */
import { spawn } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { OwnProcess } from '../target/own-process.ts';

const SCRIPT = fileURLToPath(new URL('./bare-server.js', import.meta.url));
const READY_MS_MAX = 30_000;
const STOP_MS_MAX = 5000;

export class BareProcess extends OwnProcess {
  readonly name: string;
  url = '';
  constructor(name: string) {
    super(STOP_MS_MAX);
    this.name = name;
  }
  async start(): Promise<void> {
    const child = spawn(process.execPath, [SCRIPT], { stdio: ['pipe', 'pipe', 'inherit'] });
    this.child = child;
    this.url = await new Promise((resolve, reject) => {
      const late = setTimeout(
        () => reject(new Error(`${this.name} does not listen after ${READY_MS_MAX} ms`)),
        READY_MS_MAX,
      );
      const end = (act: () => void): void => {
        clearTimeout(late);
        act();
      };
      child.once('error', (error) => end(() => reject(error)));
      child.once('exit', (code, by) => end(() => reject(new Error(`${this.name} ended with ${by ?? code}`))));
      child.stdout.setEncoding('utf8').once('data', (text: string) => {
        const url = /^ready (\S+)$/m.exec(text)?.[1];
        end(() => (url === undefined ? reject(new Error(`${this.name}: ${text}`)) : resolve(url)));
      });
    });
  }
}
