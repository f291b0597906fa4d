/**
 * The files of this node's certificate for other nodes: read at the start, and again while the node runs, so that a renewed certificate
 * needs no restart. Owned by the peer worker.
 *
 * 1. They are compared by what they hold, every limits.peerTlsLookMs, and at once where somebody asks (SIGHUP): whoever renews them may
 *    rename, write in place, or turn a link, and none of that shows reliably in times of files.
 * 2. Three files are not replaced at one moment. Without being asked the node takes only what two looks in a row have found.
 * 3. What would not do (checkRenewal), or is not whole (checkPem), is not taken: the node goes on with what it has, and says why, once.
 * 4. It says before what is in use expires (tls-expiry.ts).
 */
import type { Clock } from '../base/clock.ts';
import { ConfigurationError } from '../base/errors.ts';
import { limits } from '../base/limits.ts';
import type { ClusterWorld, Timers } from '../cluster/contract.ts';
import { checkPem, type PeerTls, validUntilMs } from '../peer/tls.ts';
import type { FileSystem } from '../vfs/file-system.ts';
import { TlsExpiry } from './tls-expiry.ts';

export interface TlsPaths {
  readonly cert: string;
  readonly key: string;
  readonly ca: string;
}

export interface TlsFilesOptions {
  readonly fs: FileSystem;
  readonly paths: TlsPaths;
  readonly timers: Timers;
  readonly clock: Pick<Clock, 'nowMs' | 'monotonicMs'>;
  /** Throw ConfigurationError where files are of no use, at the start and in the place of others. */
  readonly check: (tls: PeerTls) => void;
  readonly checkRenewal: (tls: PeerTls) => void;
  readonly onRenewed: (tls: PeerTls) => void;
  readonly log: ClusterWorld['log'];
}

/** For /metrics. */
export interface TlsFigures {
  /** Of the certificate in use: milliseconds since 1970. */
  readonly validUntilMs: number;
  readonly renewals: number;
  /** Faults of files that were to take the place of those in use: each once until it is another. */
  readonly refusals: number;
}

/** What the files hold, or why they cannot be read. */
interface Found {
  readonly tls: PeerTls | null;
  readonly fault: string;
}

export class TlsFiles {
  readonly #options: TlsFilesOptions;
  readonly #expiry: TlsExpiry;
  #tls: PeerTls;
  /** Of the last look, where that was not what is in use. */
  #seen: Found | null = null;
  /** What was said of files that would not do; '' where they do. */
  #said = '';
  #validUntilMs: number;
  #renewals = 0;
  #refusals = 0;
  #cancel: (() => void) | null = null;

  /** Throws ConfigurationError. */
  constructor(options: TlsFilesOptions) {
    this.#options = options;
    this.#tls = this.#read();
    options.check(this.#tls);
    this.#validUntilMs = validUntilMs(this.#tls);
    this.#expiry = new TlsExpiry(options);
    this.#expiry.use(this.#tls);
  }

  get tls(): PeerTls {
    return this.#tls;
  }
  get figures(): TlsFigures {
    return { validUntilMs: this.#validUntilMs, renewals: this.#renewals, refusals: this.#refusals };
  }

  start(): void {
    this.#expiry.look();
    this.#lookLater();
  }
  #lookLater(): void {
    this.#cancel = this.#options.timers.after(limits.peerTlsLookMs, () => {
      this.#lookLater();
      this.#look(false);
      this.#expiry.look();
    });
  }
  stop(): void {
    this.#cancel?.();
    this.#cancel = null;
  }

  /** Takes what is there now, if it will do. */
  renew(): void {
    this.#look(true);
  }

  #look(isAsked: boolean): void {
    const { log } = this.#options;
    const found = this.#find();
    if (isSame(found, { tls: this.#tls, fault: '' })) {
      this.#seen = null;
      this.#said = '';
      if (isAsked) log('info', 'the certificate for other nodes is the one in use already');
      return;
    }
    const isSettled = isAsked || (this.#seen !== null && isSame(found, this.#seen));
    this.#seen = found;
    if (!isSettled) return;
    const fault = found.fault === '' ? this.#faultOf(found.tls) : found.fault;
    if (fault === '' && found.tls !== null) {
      this.#take(found.tls);
      return;
    }
    if (fault === this.#said && !isAsked) return;
    this.#said = fault;
    this.#refusals++;
    log(
      'error',
      `the certificate for other nodes is not renewed, and the one in use (valid until ${new Date(this.#validUntilMs).toISOString()}) stays: ${fault}`,
    );
  }

  #take(tls: PeerTls): void {
    const { log, onRenewed } = this.#options;
    this.#tls = tls;
    this.#seen = null;
    this.#said = '';
    this.#renewals++;
    this.#validUntilMs = validUntilMs(tls);
    this.#expiry.use(tls);
    onRenewed(tls);
    log(
      'info',
      `the certificate for other nodes was renewed (valid until ${new Date(this.#validUntilMs).toISOString()}): connections from now on use it`,
    );
  }

  #faultOf(tls: PeerTls | null): string {
    try {
      if (tls !== null) this.#options.checkRenewal(tls);
      return '';
    } catch (error) {
      return (error as Error).message;
    }
  }
  #find(): Found {
    try {
      return { tls: this.#read(), fault: '' };
    } catch (error) {
      return { tls: null, fault: (error as Error).message };
    }
  }

  #read(): PeerTls {
    const { fs, paths } = this.#options;
    const read = (what: keyof TlsPaths): string => {
      const named = (why: string, error: unknown): ConfigurationError =>
        new ConfigurationError(`peer-tls-${what} ${paths[what]}: ${why}${(error as Error).message}`, {
          cause: error,
        });
      let text: string;
      try {
        text = readText(fs, paths[what]);
      } catch (error) {
        throw named('cannot be read: ', error);
      }
      try {
        checkPem(what, text);
      } catch (error) {
        throw named('', error);
      }
      return text;
    };
    return { cert: read('cert'), key: read('key'), ca: read('ca') };
  }
}

function isSame(a: Found, b: Found): boolean {
  const { tls: one, fault } = a;
  const { tls: other } = b;
  if (one === null || other === null) return one === other && fault === b.fault;
  return one.cert === other.cert && one.key === other.key && one.ca === other.ca;
}

function readText(fs: FileSystem, path: string): string {
  const file = fs.open(path, 'read');
  try {
    const size = file.size();
    if (size > limits.pemFileBytesMax)
      throw new ConfigurationError(`a file of ${size} bytes; the limit is ${limits.pemFileBytesMax}`);
    const bytes = new Uint8Array(size);
    file.readSync(bytes, 0, size, 0);
    return new TextDecoder().decode(bytes);
  } finally {
    file.close();
  }
}
