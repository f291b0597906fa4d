import { describe, expect, it } from 'vitest';
import { GossipReader, GossipWriter } from '../../src/cluster/membership-bytes.ts';

describe('text in gossip', () => {
  it.each(['', 'n1:9080', '\x7f', 'zürich', '日本', 'a🎈'])('is read as it was written: %j', (text) => {
    const writer = new GossipWriter();
    writer.text(text);
    expect(new GossipReader(writer.take()).text(100)).toBe(text);
  });
  it('is refused where it is not UTF-8', () => {
    expect(() => new GossipReader(Uint8Array.of(2, 0, 0x61, 0xff)).text(100)).toThrow(/not UTF-8/);
  });
});
