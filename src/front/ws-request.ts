/**
 * A message of requests, decoded in columns into arrays that are made once. Front-end thread. A message is decoded, and so
 * refused, as a whole before any of its requests is carried out; what is wrong with one request alone (a key that is too
 * long, an unknown op) is found later, and is that request's answer.
 */
import { limits } from '../base/limits.ts';
import { CborReader, MalformedError } from './cbor-reader.ts';
import { short } from './outcome.ts';
import { REQUEST_COLUMNS, type RequestColumn } from './ws-wire.ts';

/** The message is sound, and beyond a limit. */
export class PolicyError extends MalformedError {}

const MAX = limits.wsBatchRequestsMax;
const EMPTY = new Uint8Array(0);
/** Stands for an element that is null: no number of a message is infinite. */
export const NONE = Number.NEGATIVE_INFINITY;

/** What a column holds in a message: nothing, one element for all requests, or one for each. */
const ABSENT = -2;
const FOR_ALL = -1;

abstract class Column {
  readonly name: RequestColumn;
  /** ABSENT, FOR_ALL, or how many elements there are. */
  count = ABSENT;
  constructor(name: RequestColumn) {
    this.name = name;
  }

  get given(): boolean {
    return this.count !== ABSENT;
  }
  get forAll(): boolean {
    return this.count === FOR_ALL;
  }
  /** Where the element of the request `index` lies. */
  protected place(index: number): number {
    return this.count === FOR_ALL ? 0 : index;
  }

  read(reader: CborReader): void {
    if (!reader.isArray()) {
      this.readOne(reader, 0);
      this.count = FOR_ALL;
      return;
    }
    const { name } = this;
    const count = reader.array(name);
    if (count > MAX) throw new PolicyError(`${name} has ${count} elements; the limit is ${MAX} a message`);
    for (let index = 0; index < count; index++) this.readOne(reader, index);
    this.count = count;
  }
  protected abstract readOne(reader: CborReader, index: number): void;
}

class NumberColumn extends Column {
  readonly #values = new Float64Array(MAX);
  readonly #nullable: boolean;
  constructor(name: RequestColumn, nullable = true) {
    super(name);
    this.#nullable = nullable;
  }
  /** NONE where nothing is given. */
  at(index: number): number {
    return this.given ? (this.#values[this.place(index)] as number) : NONE;
  }
  protected override readOne(reader: CborReader, index: number): void {
    this.#values[index] = this.#nullable && reader.absent() ? NONE : reader.number(this.name);
  }
}

class BooleanColumn extends Column {
  readonly #values = new Float64Array(MAX);
  /** 1, 0, or NONE. */
  at(index: number): number {
    return this.given ? (this.#values[this.place(index)] as number) : NONE;
  }
  protected override readOne(reader: CborReader, index: number): void {
    this.#values[index] = reader.absent() ? NONE : reader.boolean(this.name) ? 1 : 0;
  }
}

const NO_STRING = 0xffff_ffff;
type StringKind = 'key' | 'bytes' | 'text';

/** Strings, as their places in the message. One for each request. */
class StringColumn extends Column {
  readonly #starts = new Uint32Array(MAX);
  readonly #ends = new Uint32Array(MAX);
  readonly #kind: StringKind;
  constructor(name: RequestColumn, kind: StringKind) {
    super(name);
    this.#kind = kind;
  }
  has(index: number): boolean {
    return this.given && this.#starts[index] !== NO_STRING;
  }
  start(index: number): number {
    return this.#starts[index] as number;
  }
  end(index: number): number {
    return this.#ends[index] as number;
  }
  override read(reader: CborReader): void {
    if (!reader.isArray()) reader.array(this.name);
    super.read(reader);
  }
  protected override readOne(reader: CborReader, index: number): void {
    const { name } = this;
    if (this.#kind === 'key') reader.string(name);
    else if (reader.absent()) {
      this.#starts[index] = NO_STRING;
      return;
    } else if (this.#kind === 'bytes') reader.byteString(name);
    else reader.text(name);
    this.#starts[index] = reader.start;
    this.#ends[index] = reader.end;
  }
}

export class WsRequests {
  readonly ids = new NumberColumn('ids', false);
  readonly ops = new NumberColumn('ops', false);
  readonly keys = new StringColumn('keys', 'key');
  readonly values = new StringColumn('values', 'bytes');
  readonly versions = new NumberColumn('versions');
  readonly exists = new BooleanColumn('exists');
  readonly ttls = new NumberColumn('ttls');
  readonly consistency = new NumberColumn('consistency');
  readonly sloppy = new BooleanColumn('sloppy');
  readonly timeouts = new NumberColumn('timeouts');
  readonly idempotencyKeys = new StringColumn('idempotencyKeys', 'text');
  /** Any column but the three that are always there, and values. */
  hasOptions = false;
  /** The message: views of it are valid as long as it is. */
  bytes: Uint8Array = EMPTY;
  readonly #reader = new CborReader();
  readonly #columns: readonly Column[];
  readonly #names = new ColumnNames();

  constructor() {
    this.#columns = REQUEST_COLUMNS.map((name) => this[name]);
  }

  get count(): number {
    return this.ids.count;
  }

  /** Throws a MalformedError where the message is not what docs/websocket.md describes. */
  decode(bytes: Uint8Array): void {
    const reader = this.#reader;
    this.bytes = bytes;
    reader.load(bytes);
    for (const column of this.#columns) column.count = ABSENT;
    this.hasOptions = false;
    for (let pairs = reader.map('the message'); pairs > 0; pairs--) {
      reader.text('a name of a column');
      const index = this.#names.find(bytes, reader.start, reader.end);
      const column = this.#columns[index];
      if (column === undefined) throw unknownColumn(bytes, reader.start, reader.end);
      if (column.given) throw new MalformedError(`column ${column.name} is given twice`);
      column.read(reader);
      if (index > VALUES_INDEX) this.hasOptions = true;
    }
    reader.finish();
    this.#check();
  }

  /** Lets go of the message. */
  clear(): void {
    this.bytes = EMPTY;
    this.#reader.clear();
  }

  #check(): void {
    const { ids, ops, keys } = this;
    for (const column of [ids, ops, keys])
      if (!column.given) throw new MalformedError(`column ${column.name} is missing`);
    if (ids.forAll) throw new MalformedError('ids is a number, not an array: each request has its own');
    const { count } = ids;
    for (const column of this.#columns)
      if (column.count >= 0 && column.count !== count)
        throw new MalformedError(`${column.name} has ${column.count} elements and ids has ${count}`);
    for (let index = 0; index < count; index++) {
      const id = ids.at(index);
      if (!Number.isSafeInteger(id) || id < 0)
        throw new MalformedError(`id ${id} is not an integer from 0 to ${Number.MAX_SAFE_INTEGER}`);
    }
  }
}

const VALUES_INDEX = REQUEST_COLUMNS.indexOf('values');
const SHOWN_BYTES_MAX = 64;

function unknownColumn(bytes: Uint8Array, start: number, end: number): MalformedError {
  const shown = Buffer.from(bytes.subarray(start, Math.min(end, start + SHOWN_BYTES_MAX + 1))).toString();
  return new MalformedError(`unknown column ${short(shown)}`);
}

/** Finds a column by the bytes of its name: a string for each would be an allocation. */
class ColumnNames {
  readonly #names = REQUEST_COLUMNS.map((name) => new TextEncoder().encode(name));

  /** Index in REQUEST_COLUMNS, -1 where there is none. */
  find(bytes: Uint8Array, start: number, end: number): number {
    return this.#names.findIndex((name) => {
      if (name.length !== end - start) return false;
      for (let i = 0; i < name.length; i++) if (bytes[start + i] !== name[i]) return false;
      return true;
    });
  }
}
