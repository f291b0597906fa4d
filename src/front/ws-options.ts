/** The options of one request of a WebSocket message, by the rules of HTTP. Front-end thread; one reused object. */
import { BadRequestError } from '../base/errors.ts';
import { Condition, type ConditionCode, Sloppy } from '../shard/contract.ts';
import {
  consistencyOfCode,
  RequestOptions,
  readIdempotencyKey,
  timeoutMsOf,
  ttlMsOf,
  versionOf,
} from './request-options.ts';
import { NONE, type WsRequests } from './ws-request.ts';
import { WsOp } from './ws-wire.ts';

/** A column of numbers or booleans. */
interface OptionColumn {
  readonly name: string;
  readonly forAll: boolean;
  at(index: number): number;
}

export class WsOptions extends RequestOptions {
  condition: ConditionCode = Condition.NONE;
  /** Of the condition; 0 where there is none, as it is over HTTP: fingerprints of idempotency keys hold it. */
  wantedVersion = 0;
  #requests: WsRequests | null = null;

  override reset(): void {
    super.reset();
    this.condition = Condition.NONE;
    this.wantedVersion = 0;
  }

  /** The options of this message come next. */
  begin(requests: WsRequests): void {
    this.#requests = requests;
    this.reset();
  }

  /** Those of the request `index`. Throws BadRequestError for what is wrong with one, or does not go with the op. */
  take(index: number, op: number): void {
    const requests = this.#requests;
    if (requests === null || !requests.hasOptions) return;
    this.reset();
    const level = requests.consistency.at(index);
    if (level !== NONE) this.consistency = consistencyOfCode(level);
    const timeout = requests.timeouts.at(index);
    if (timeout !== NONE) this.timeoutMs = timeoutMsOf(timeout, 'timeout', String(timeout));
    const isWrite = op !== WsOp.GET;
    const ttl = optionOf(requests.ttls, index, op === WsOp.PUT, op);
    if (ttl !== NONE) this.ttlMs = ttlMsOf(ttl);
    const sloppy = optionOf(requests.sloppy, index, isWrite, op);
    if (sloppy !== NONE) this.sloppy = sloppy === 1 ? Sloppy.YES : Sloppy.NO;
    this.#takeCondition(
      optionOf(requests.versions, index, isWrite, op),
      optionOf(requests.exists, index, isWrite, op),
    );
    const { idempotencyKeys: keys, bytes } = requests;
    if (!keys.has(index)) return;
    if (!isWrite) throw new BadRequestError(`${keys.name} beside op ${op}, which takes none`);
    const text = Buffer.from(bytes.subarray(keys.start(index), keys.end(index))).toString();
    readIdempotencyKey(text, this, 'idempotency key');
  }

  #takeCondition(version: number, exists: number): void {
    if (version !== NONE && exists !== NONE)
      throw new BadRequestError('versions and exists for one request; a write takes one of them');
    if (version !== NONE) {
      this.condition = Condition.VERSION;
      this.wantedVersion = versionOf(version);
    } else if (exists === 1) this.condition = Condition.EXISTS;
    else if (exists === 0) this.condition = Condition.VERSION;
  }
}

/** What is said for all requests goes to those that take it; said for one that does not, it is a mistake. */
function optionOf(column: OptionColumn, index: number, isTaken: boolean, op: number): number {
  const value = column.at(index);
  if (value === NONE || isTaken) return value;
  if (column.forAll) return NONE;
  throw new BadRequestError(`${column.name} beside op ${op}, which takes none`);
}
