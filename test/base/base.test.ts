import { describe, expect, it } from 'vitest';
import xxhash from 'xxhash-addon';
import { assert } from '../../src/base/assert.ts';
import { checksumMatches, writeChecksum } from '../../src/base/checksum.ts';
import { HybridClock, ManualClock, systemClock } from '../../src/base/clock.ts';
import { CorruptionError, errorOfStatus, RingKvError, UnavailableError } from '../../src/base/errors.ts';
import { Random } from '../../src/base/random.ts';
import { Status, statusName } from '../../src/base/status.ts';
import { hashToken, shardOf, token, vnodeOf } from '../../src/base/token.ts';
import { formatDurationMs, formatSizeBytes, parseDurationMs, parseSizeBytes } from '../../src/base/units.ts';
import { testSeed } from '../seed.ts';

describe('tokens', () => {
  it('are XXH64 with seed 0: published vectors', () => {
    // github.com/Cyan4973/xxHash, doc/xxhash_spec.md and tests/sanity_test_vectors: empty input and "abc".
    hashToken(new Uint8Array(0));
    expect([token.hi, token.lo]).toEqual([0xef46db37, 0x51d8e999]);
    hashToken(Buffer.from('abc'));
    expect([token.hi, token.lo]).toEqual([0x44bc2cf5, 0xad770999]);
  });
  it('are those of xxhash-addon for keys of every length up to 100, by either way of hashing', () => {
    const random = new Random(7);
    for (let length = 0; length <= 100; length++) {
      const keys = [Buffer.alloc(length), Buffer.alloc(length, 0xff)];
      for (let i = 0; i < 200; i++) keys.push(Buffer.from(random.bytes(length)));
      for (const key of keys) {
        hashToken(key);
        const digest = xxhash.XXHash64.hash(key);
        const same = token.hi === digest.readUInt32BE(0) && token.lo === digest.readUInt32BE(4);
        if (!same) expect.fail(`${token.hi}, ${token.lo} for ${key.toString('hex')}`);
      }
    }
  });
  it('belong to the vnode of their top bits and to the shard vnode modulo shards', () => {
    expect([vnodeOf(0, 1024), vnodeOf(0xffffffff, 1024), vnodeOf(0x00400000, 1024)]).toEqual([0, 1023, 1]);
    expect(vnodeOf(0xffffffff, 1)).toBe(0);
    expect(shardOf(0xffffffff, 1024, 3)).toBe(1023 % 3);
  });
});

describe('checksums', () => {
  it('see every flipped bit and bind bytes to their seed', () => {
    const bytes = new Random(3).bytes(64);
    const stored = new Uint8Array(8);
    writeChecksum(bytes, 0, 64, stored, 0, 5);
    expect(checksumMatches(bytes, 0, 64, stored, 0, 5)).toBe(true);
    expect(checksumMatches(bytes, 0, 64, stored, 0, 6)).toBe(false);
    for (let bit = 0; bit < 512; bit++) {
      const flipped = Uint8Array.from(bytes);
      flipped[bit >> 3] = (flipped[bit >> 3] ?? 0) ^ (1 << (bit & 7));
      expect(checksumMatches(flipped, 0, 64, stored, 0, 5)).toBe(false);
    }
  });
});

describe('the hybrid clock', () => {
  it('rises strictly while the wall clock stands or goes back', () => {
    const wall = new ManualClock(1000);
    const clock = new HybridClock(wall);
    const first = clock.next();
    expect(clock.next()).toBe(first + 1);
    wall.advanceMs(-500);
    expect(clock.next()).toBe(first + 2);
    wall.advanceMs(5000);
    expect(clock.next()).toBe(5_500_000);
  });
  it('moves above every version seen and refuses one that no honest clock gave', () => {
    const clock = new HybridClock(new ManualClock(1000));
    clock.observe(9_000_000);
    expect(clock.next()).toBe(9_000_001);
    expect(() => clock.observeForeign(Number.MAX_SAFE_INTEGER)).toThrow(/limit is 600000000 us/);
  });
  it('gives versions in microseconds since 1970', () => {
    expect(Math.abs(systemClock.nowUs() / 1000 - Date.now())).toBeLessThan(60_000);
  });
});

describe('units', () => {
  it.each([
    ['500ms', 500],
    ['10s', 10_000],
    ['5m', 300_000],
    ['3h', 10_800_000],
    ['10d', 864_000_000],
    ['250', 250],
    ['1.5s', 1500],
  ])('read the duration %s', (text, ms) => {
    expect(parseDurationMs(text)).toBe(ms);
  });
  it.each([
    ['64KiB', 65_536],
    ['64MiB', 67_108_864],
    ['2GiB', 2_147_483_648],
    ['12', 12],
  ])('read the size %s', (text, bytes) => {
    expect(parseSizeBytes(text)).toBe(bytes);
  });
  it.each(['', 'ten', '10 weeks', '-1s', '1e3', '0.5', '64kb'])('refuse %j by name', (text) => {
    expect(() => parseSizeBytes(text)).toThrow(JSON.stringify(text));
    expect(() => parseDurationMs(text)).toThrow(JSON.stringify(text));
  });
  it('print what they read', () => {
    expect([formatDurationMs(864_000_000), formatSizeBytes(67_108_864), formatSizeBytes(0)]).toEqual([
      '10d',
      '64MiB',
      '0B',
    ]);
  });
});

describe('errors', () => {
  it('have a class and a stable code for every status', () => {
    for (const [name, code] of Object.entries(Status)) {
      expect(statusName(code)).toBe(name);
      if (code === Status.OK || code === Status.NOT_FOUND) continue;
      const error = errorOfStatus(code, 'what', 7);
      expect(error).toBeInstanceOf(RingKvError);
      expect(error.message).toBe('what');
      // The class of what has no other: a status without a class of its own would hide here.
      const unavailable =
        code === Status.UNAVAILABLE || code === Status.READ_ONLY || code === Status.SHARD_DOWN;
      expect(error instanceof UnavailableError, name).toBe(unavailable);
    }
    expect(errorOfStatus(Status.VERSION_MISMATCH, '', 7)).toMatchObject({
      version: 7,
      code: 'VERSION_MISMATCH',
    });
  });
  it('of damaged bytes name file and offset, also where only the message came over', () => {
    const told = new CorruptionError('/data/sst-4', 512, 'checksum of a block');
    expect(told.message).toBe('/data/sst-4: corrupt at byte 512: checksum of a block');
    const again = errorOfStatus(Status.CORRUPTION, told.message);
    expect(again).toBeInstanceOf(CorruptionError);
    expect(again).toMatchObject({ code: 'CORRUPTION', message: told.message, what: told.message, file: '' });
  });
  it('of a broken invariant stop the thread', () => {
    expect(() => assert(false, () => 'why')).toThrow('why');
  });
});

describe('the random generator', () => {
  it('repeats itself from its seed and fills its range evenly', () => {
    const seed = testSeed();
    const one = new Random(seed);
    const two = new Random(seed);
    const counts = new Array<number>(10).fill(0);
    for (let i = 0; i < 10_000; i++) {
      const value = one.below(10);
      expect(two.below(10), `seed ${seed}`).toBe(value);
      counts[value] = (counts[value] ?? 0) + 1;
    }
    expect(Math.min(...counts), `seed ${seed}`).toBeGreaterThan(800);
  });
});
