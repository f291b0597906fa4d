/**
 * Says before certificates for other nodes expire, and that they have: those of this node, and the CAs that it trusts. Owned by the peer
 * worker; the clock is injected.
 *
 * 1. Each is warned of once when so much is left as WARN_DAYS says; from the last of these on, and when it has expired, once a day.
 * 2. A certificate is known by its fingerprint: what was said of one is not said again because another file was renewed.
 */
import type { X509Certificate } from 'node:crypto';
import type { Clock } from '../base/clock.ts';
import type { ClusterWorld } from '../cluster/contract.ts';
import { certificatesOf } from '../peer/pem.ts';
import type { PeerTls } from '../peer/tls.ts';

/** Days that are left. */
export const WARN_DAYS = [30, 7, 1] as const;
const DAY_MS = 86_400_000;
const HOUR_MS = 3_600_000;
const SUBJECT_CHARACTERS = 200;

export interface TlsExpiryOptions {
  readonly clock: Pick<Clock, 'nowMs' | 'monotonicMs'>;
  readonly log: ClusterWorld['log'];
  readonly paths: Readonly<Record<'cert' | 'ca', string>>;
}

interface Watched {
  /** What it is, and where. */
  readonly name: string;
  readonly consequence: string;
  /** Milliseconds since 1970. */
  readonly untilMs: number;
  /** How many of WARN_DAYS have been reached, and one more where it has expired, when it was looked at last. */
  stage: number;
  /** By the monotonic clock. */
  saidMs: number;
}

export class TlsExpiry {
  readonly #options: TlsExpiryOptions;
  /** By fingerprint. */
  #watched: ReadonlyMap<string, Watched> = new Map();

  constructor(options: TlsExpiryOptions) {
    this.#options = options;
  }

  /** These are in use from now on. They have been checked. */
  use({ cert, ca }: PeerTls): void {
    const { paths } = this.#options;
    const watched = new Map<string, Watched>();
    const watch = (certificate: X509Certificate, what: string, consequence: string): void => {
      const { fingerprint256: id, subject, serialNumber, validTo } = certificate;
      const known = watched.get(id) ?? this.#watched.get(id);
      const shown = subject?.replaceAll('\n', ', ').slice(0, SUBJECT_CHARACTERS) ?? 'no subject';
      const name = `${what} (${shown}, serial ${serialNumber})`;
      watched.set(id, known ?? { name, consequence, untilMs: Date.parse(validTo), stage: 0, saidMs: 0 });
    };
    for (const [i, one] of certificatesOf(cert).entries())
      watch(
        one,
        `${i === 0 ? 'the certificate' : 'a further certificate'} for other nodes in peer-tls-cert ${paths.cert}`,
        'other nodes refuse connections with this one',
      );
    for (const one of certificatesOf(ca))
      watch(
        one,
        `a CA in peer-tls-ca ${paths.ca}`,
        'this node refuses those whose certificates have no other CA',
      );
    this.#watched = watched;
  }

  /** Called from time to time. */
  look(): void {
    const { clock, log } = this.#options;
    const nowMs = clock.nowMs();
    const monotonicMs = clock.monotonicMs();
    for (const one of this.#watched.values()) {
      const leftMs = one.untilMs - nowMs;
      const stage = WARN_DAYS.filter((days) => leftMs <= days * DAY_MS).length + (leftMs <= 0 ? 1 : 0);
      const isDue = stage > one.stage || (stage >= WARN_DAYS.length && monotonicMs - one.saidMs >= DAY_MS);
      // It falls where the clock was set back.
      one.stage = stage;
      if (!isDue) continue;
      one.saidMs = monotonicMs;
      const at = new Date(one.untilMs).toISOString();
      if (leftMs <= 0) log('error', `${one.name} has expired, at ${at}: ${one.consequence}`);
      else log('warn', `${one.name} expires in ${spanOf(leftMs)}, at ${at}: then ${one.consequence}`);
    }
  }
}

const spanOf = (ms: number): string =>
  ms >= 2 * DAY_MS ? `${Math.floor(ms / DAY_MS)} days` : `${Math.ceil(ms / HOUR_MS)} hours`;
