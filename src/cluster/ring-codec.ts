/**
 * A ring map as bytes: one CBOR item, sent between nodes, kept on disk and agreed on by Paxos. What comes from outside is
 * checked in full before it is used: length first, then every field, then that owners are members.
 *
 * | field | CBOR | |
 * | --- | --- | --- |
 * | v | integer | 1 |
 * | n | integer | number of the ring |
 * | name, id | text | cluster's name and id |
 * | q, r | integer | vnodes, replicas |
 * | m | array of [number, nodeId, address, url, rack, zone, weight in thousandths] | members |
 * | o | byte string | owners: 16 bits, little-endian, a vnode |
 * | c | null or [kind, node, by, phase, m, o] | the change: kind join, leave, replace, reweigh; phase copying, switching |
 *
 * Equal rings have equal bytes: fields are written in this order.
 */
import { Encoder } from 'cbor-x';
import { BadRequestError } from '../base/errors.ts';
import { limits } from '../base/limits.ts';
import { weightUnits } from './ring-balance.ts';
import type { RingChange, RingMap, RingMember, RingPhase } from './ring-map.ts';

const CBOR_OPTIONS = { useRecords: false, mapsAsObjects: true, tagUint8Array: false, int64AsNumber: true };
const cbor = new Encoder(CBOR_OPTIONS);
const FORMAT = 1;
const KINDS: readonly string[] = ['join', 'leave', 'replace', 'reweigh'];
const PHASES: readonly string[] = ['copying', 'switching'];

/** Throws BadRequestError where the ring would not be read back: see checkMember. */
export function encodeRing(ring: RingMap): Uint8Array {
  const { change } = ring;
  const bytes = cbor.encode({
    v: FORMAT,
    n: ring.number,
    name: ring.clusterName,
    id: ring.clusterId,
    q: ring.vnodes,
    r: ring.replicas,
    m: membersOut(ring.members),
    o: ownersOut(ring.owners),
    c:
      change === null
        ? null
        : [
            change.kind,
            change.node,
            change.by,
            change.phase,
            membersOut(change.members),
            ownersOut(change.owners),
          ],
  });
  if (bytes.length > limits.ringMapBytesMax)
    throw new BadRequestError(`a ring of ${bytes.length} bytes; the limit is ${limits.ringMapBytesMax}`);
  // The encoder's buffer is shared by what it encodes next.
  return Uint8Array.from(bytes);
}

/** Throws BadRequestError that says what is wrong. The ring shares no bytes with `bytes`. */
export function decodeRing(bytes: Uint8Array): RingMap {
  if (bytes.length > limits.ringMapBytesMax)
    throw new BadRequestError(`a ring of ${bytes.length} bytes; the limit is ${limits.ringMapBytesMax}`);
  let decoded: unknown;
  try {
    decoded = cbor.decode(bytes);
  } catch (cause) {
    throw new BadRequestError(`a ring is not one CBOR item: ${(cause as Error).message.slice(0, 200)}`, {
      cause,
    });
  }
  if (typeof decoded !== 'object' || decoded === null) throw new BadRequestError('a ring is no CBOR map');
  const map = decoded as Record<string, unknown>;
  if (map.v !== FORMAT) throw new BadRequestError(`a ring of format ${String(map.v)}; this node reads 1`);
  const vnodes = integer(map.q, 'vnodes', 1, limits.vnodesMax);
  if ((vnodes & (vnodes - 1)) !== 0) throw new BadRequestError(`${vnodes} vnodes: no power of two`);
  const clusterId = text(map.id, 'cluster id');
  if (!/^[0-9a-f]{32}$/.test(clusterId))
    throw new BadRequestError(`cluster id ${clusterId} is not 32 hexadecimal digits`);
  const members = membersIn(map.m);
  return {
    number: integer(map.n, 'number', 1, Number.MAX_SAFE_INTEGER),
    clusterName: text(map.name, 'cluster name'),
    clusterId,
    vnodes,
    replicas: integer(map.r, 'replicas', 1, limits.ringReplicasMax),
    members,
    owners: ownersIn(map.o, vnodes, members),
    change: changeIn(map.c, vnodes),
  };
}

/** Throws BadRequestError where a member cannot stand in a ring. */
export function checkMember(member: RingMember): void {
  integer(member.number, 'node number', 1, 0xffff_ffff);
  if (!/^[0-9a-f]{32}$/.test(member.nodeId))
    throw new BadRequestError(`node id ${member.nodeId.slice(0, 64)} is not 32 hexadecimal digits`);
  if (Number.parseInt(member.nodeId.slice(0, 8), 16) !== member.number)
    throw new BadRequestError(`node ${member.number} is not the first 8 digits of its id ${member.nodeId}`);
  text(member.address, 'address');
  text(member.url, 'url');
  text(member.rack, 'rack');
  text(member.zone, 'zone');
  const units = weightUnits(member.weight);
  integer(units, 'weight in thousandths', 0, limits.ringWeightMax * limits.ringWeightUnits);
  if (units / limits.ringWeightUnits !== member.weight)
    throw new BadRequestError(`weight ${member.weight} is no multiple of 1/${limits.ringWeightUnits}`);
}

function membersOut(members: readonly RingMember[]): unknown[] {
  return members.map(({ number, nodeId, address, url, rack, zone, weight }) => [
    number,
    nodeId,
    address,
    url,
    rack,
    zone,
    weightUnits(weight),
  ]);
}

function membersIn(value: unknown): RingMember[] {
  const rows = array(value, 'members', 1, limits.ringMembersMax);
  const numbers = new Set<number>();
  return rows.map((row) => {
    const fields = array(row, 'a member', 7, 7);
    const units = integer(
      fields[6],
      'weight in thousandths',
      0,
      limits.ringWeightMax * limits.ringWeightUnits,
    );
    const member: RingMember = {
      number: integer(fields[0], 'node number', 1, 0xffff_ffff),
      nodeId: text(fields[1], 'node id'),
      address: text(fields[2], 'address'),
      url: text(fields[3], 'url'),
      rack: text(fields[4], 'rack'),
      zone: text(fields[5], 'zone'),
      weight: units / limits.ringWeightUnits,
    };
    checkMember(member);
    if (numbers.has(member.number)) throw new BadRequestError(`node ${member.number} is in a ring twice`);
    numbers.add(member.number);
    return member;
  });
}

function ownersOut(owners: Uint16Array): Uint8Array {
  const bytes = new Uint8Array(owners.length * 2);
  for (let i = 0; i < owners.length; i++) {
    const owner = owners[i] as number;
    bytes[2 * i] = owner & 0xff;
    bytes[2 * i + 1] = owner >>> 8;
  }
  return bytes;
}

function ownersIn(value: unknown, vnodes: number, members: readonly RingMember[]): Uint16Array {
  if (!(value instanceof Uint8Array) || value.length !== 2 * vnodes)
    throw new BadRequestError(`owners of a ring are not ${2 * vnodes} bytes`);
  const owners = new Uint16Array(vnodes);
  for (let i = 0; i < vnodes; i++) {
    const owner = (value[2 * i] as number) | ((value[2 * i + 1] as number) << 8);
    if (owner >= members.length)
      throw new BadRequestError(`vnode ${i} is owned by member ${owner} of ${members.length}`);
    owners[i] = owner;
  }
  return owners;
}

function changeIn(value: unknown, vnodes: number): RingChange | null {
  if (value === null) return null;
  const fields = array(value, 'a change', 6, 6);
  const kind = word(fields[0], 'kind', KINDS) as RingChange['kind'];
  const phase = word(fields[3], 'phase', PHASES) as RingPhase;
  const members = membersIn(fields[4]);
  return {
    kind,
    node: integer(fields[1], 'node of the change', 1, 0xffff_ffff),
    by: integer(fields[2], 'replacement of the change', 0, 0xffff_ffff),
    phase,
    members,
    owners: ownersIn(fields[5], vnodes, members),
  };
}

function array(value: unknown, what: string, least: number, most: number): readonly unknown[] {
  if (!Array.isArray(value) || value.length < least || value.length > most)
    throw new BadRequestError(`${what} of a ring: no array of ${least} to ${most}`);
  return value;
}
function integer(value: unknown, what: string, least: number, most: number): number {
  if (typeof value !== 'number' || !Number.isSafeInteger(value) || value < least || value > most)
    throw new BadRequestError(`${what} ${String(value).slice(0, 40)} of a ring is not ${least} to ${most}`);
  return value;
}
function text(value: unknown, what: string): string {
  if (typeof value !== 'string') throw new BadRequestError(`${what} of a ring is no text`);
  const bytes = Buffer.byteLength(value);
  if (bytes > limits.ringNameBytesMax)
    throw new BadRequestError(`${what} of ${bytes} bytes in a ring; the limit is ${limits.ringNameBytesMax}`);
  return value;
}
function word(value: unknown, what: string, words: readonly string[]): string {
  if (typeof value !== 'string' || !words.includes(value))
    throw new BadRequestError(`${what} ${String(value).slice(0, 40)} of a change is not ${words.join(', ')}`);
  return value;
}
