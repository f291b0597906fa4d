/**
 * What was asked of each key, what came of it, and what may therefore be read.
 *
 * OwnKey: one client writes it, one write after another, so their order is known; all clients read it. A read at QUORUM must
 * give the last acknowledged write, a later one, or any whose outcome is unknown: that may take effect at any time.
 * Register: all clients write it, by compare-and-set. Each value names the one that it followed: the acknowledged ones must
 * all lie on the one chain that leads from the last value back to the first.
 */

/** An operation: 'pending', 'acknowledged', 'refused' (nothing was written), 'unknown'. */
const newOperation = (index, text) => ({
  index,
  text,
  state: 'pending',
  sloppy: false,
  version: 0,
  /** A read showed it. */
  seen: false,
});

export class OwnKey {
  /** The last write that was acknowledged, and the last that home replicas acknowledged (without stand-ins). */
  acknowledged = 0;
  floor = 0;
  /** No completed read, nor write by home replicas, was above this version. */
  version = 0;
  /** By this version a condition must hold; 0 where that cannot be said. */
  expected = 0;
  #operations = [{ ...newOperation(0, null), state: 'acknowledged' }];
  #byText = new Map();

  constructor(name) {
    this.name = name;
  }

  /** `text` null: a delete. */
  begin(text) {
    const operation = newOperation(this.#operations.length, text);
    this.#operations.push(operation);
    if (text !== null) this.#byText.set(text, operation);
    this.expected = 0;
    return operation;
  }
  end(operation, state, version = 0, sloppy = false) {
    operation.state = state;
    operation.sloppy = sloppy;
    operation.version = version;
    if (state !== 'acknowledged') return;
    this.acknowledged = operation.index;
    if (sloppy) return;
    this.floor = operation.index;
    this.version = Math.max(this.version, version);
    this.expected = this.isCertain && operation.text !== null ? version : 0;
  }

  /** Whether all that was asked of it was answered, one way or the other. */
  get isCertain() {
    return this.#operations.every(({ state }) => state === 'acknowledged' || state === 'refused');
  }

  /** Whether a write that home replicas acknowledged got this version. */
  acknowledgedAs(version) {
    return this.#operations.some(
      (one) => one.state === 'acknowledged' && !one.sloppy && one.version === version,
    );
  }

  /** What a read may not have seen: '' where `text` (null: absent) is fine, with the floor as it was when it began. */
  fault(text, floor) {
    const allowed = (operation) =>
      operation.state === 'unknown' || (operation.state !== 'refused' && operation.index >= floor);
    if (text === null) {
      const isDeleted = this.#operations.some((one) => one.text === null && allowed(one));
      return isDeleted ? '' : `is absent; ${this.#told(floor)}`;
    }
    const operation = this.#byText.get(text);
    if (operation === undefined) return `holds ${JSON.stringify(text.slice(0, 60))}, which nobody wrote`;
    operation.seen = true;
    return allowed(operation)
      ? ''
      : `holds write ${operation.index} (${operation.state}); ${this.#told(floor)}`;
  }
  #told(floor) {
    const unknown = this.#operations.filter(({ state }) => state === 'unknown').map(({ index }) => index);
    return `write ${floor} was acknowledged, of ${this.#operations.length - 1}, unknown: ${unknown.join() || 'none'}`;
  }
}

export class Register {
  /** Value to what it followed ('' for none) and its state. */
  #values = new Map();

  constructor(name) {
    this.name = name;
  }
  begin(value, follows) {
    const operation = { value, follows, state: 'pending' };
    this.#values.set(value, operation);
    return operation;
  }
  get isCertain() {
    return [...this.#values.values()].every(({ state }) => state === 'acknowledged' || state === 'refused');
  }

  /** Acknowledged values that are not on the chain back from `last` (null: absent), and refused ones that are. */
  faults(last) {
    const chain = new Set();
    for (let value = last ?? ''; value !== ''; value = this.#values.get(value).follows) {
      if (!this.#values.has(value))
        return [`holds ${JSON.stringify(value.slice(0, 60))}, which nobody wrote`];
      if (chain.has(value)) return [`the chain comes back to ${value}`];
      chain.add(value);
    }
    const faults = [];
    for (const { value, follows, state } of this.#values.values()) {
      if (state === 'acknowledged' && !chain.has(value))
        faults.push(`${value}, acknowledged after ${follows || 'nothing'}, is not in the chain of ${last}`);
      if (state === 'refused' && chain.has(value)) faults.push(`${value} was refused, and is in the chain`);
    }
    return faults;
  }
}
