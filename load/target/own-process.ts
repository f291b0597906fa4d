/** A process that the suite starts and ends: what is the same of a node and of another store. */
import type { ChildProcess } from 'node:child_process';
import { once } from 'node:events';

export abstract class OwnProcess {
  protected child: ChildProcess | null = null;
  readonly #stopMsMax: number;

  /** `stopMsMax`: between SIGTERM and SIGKILL. */
  protected constructor(stopMsMax: number) {
    this.#stopMsMax = stopMsMax;
  }

  get running(): boolean {
    return this.child !== null && this.child.exitCode === null && this.child.signalCode === null;
  }
  get pid(): number | null {
    return this.running ? (this.child?.pid ?? null) : null;
  }

  /** As `kill -9` does. */
  async kill(): Promise<void> {
    await this.#end('SIGKILL');
  }
  async stop(): Promise<void> {
    await this.#end('SIGTERM');
  }

  async #end(signal: NodeJS.Signals): Promise<void> {
    const { child } = this;
    if (child === null || !this.running) return;
    const ended = once(child, 'exit');
    child.kill(signal);
    const late = setTimeout(() => child.kill('SIGKILL'), this.#stopMsMax);
    await ended;
    clearTimeout(late);
  }
}
