/** Checks what came as a message about the ring: plain data of any shape until then. Rings inside stay bytes here. */
import { BadRequestError } from '../base/errors.ts';
import { limits } from '../base/limits.ts';
import { checkMember } from './ring-codec.ts';
import type { RingMember } from './ring-map.ts';
import type { RepairMessage, RingBallot, RingMessage, TopologyOperation } from './ring-messages.ts';

type Fields = Readonly<Record<string, unknown>>;

/** Throws BadRequestError that names the field. What is returned has no other fields than those of its kind. */
export function checkRingMessage(value: unknown): RingMessage | RepairMessage {
  const fields = fieldsOf(value, 'a message about the ring');
  const { kind } = fields;
  switch (kind) {
    case 'ring-prepare':
    case 'ring-accepted':
      return { kind, slot: slotOf(fields), ballot: ballotOf(fields, 'ballot', 1) };
    case 'ring-promise':
      return {
        kind,
        slot: slotOf(fields),
        ballot: ballotOf(fields, 'ballot', 1),
        acceptedAt: ballotOf(fields, 'acceptedAt', 0),
        ring: fields.ring === null ? null : ringOf(fields),
      };
    case 'ring-accept':
      return { kind, slot: slotOf(fields), ballot: ballotOf(fields, 'ballot', 1), ring: ringOf(fields) };
    case 'ring-refused':
      return {
        kind,
        slot: slotOf(fields),
        ballot: ballotOf(fields, 'ballot', 1),
        promised: ballotOf(fields, 'promised', 1),
      };
    case 'ring-decided':
      return { kind, ring: ringOf(fields) };
    case 'ring-fetch':
      return { kind, have: integer(fields.have, 'have', 0, Number.MAX_SAFE_INTEGER) };
    case 'topology-request':
      return { kind, id: idOf(fields), operation: operationOf(fields.operation) };
    case 'topology-answer':
      return {
        kind,
        id: idOf(fields),
        error: text(fields.error, 'error'),
        warnings: list(fields.warnings, 'warnings', limits.topologyWarningsMax).map((one) =>
          text(one, 'a warning'),
        ),
      };
    case 'repair-marks':
      return {
        kind,
        id: idOf(fields),
        vnodes: list(fields.vnodes, 'vnodes', limits.repairMarksPerMessageMax).map((one) =>
          integer(one, 'a vnode', 0, limits.vnodesMax - 1),
        ),
      };
    case 'repair-marks-kept':
      return { kind, id: idOf(fields) };
    default:
      throw new BadRequestError(`${shown(kind)} is no kind of message about the ring`);
  }
}

function operationOf(value: unknown): TopologyOperation {
  const fields = fieldsOf(value, 'operation');
  const { op } = fields;
  switch (op) {
    case 'join':
    case 'reweigh':
      return { op, member: memberOf(fields.member) };
    case 'leave':
    case 'drain':
      return { op, node: nodeOf(fields.node, 'node') };
    case 'replace':
      return { op, node: nodeOf(fields.node, 'node'), member: memberOf(fields.member) };
    case 'undo':
      return { op };
    default:
      throw new BadRequestError(`${shown(op)} is no operation on the ring`);
  }
}

function memberOf(value: unknown): RingMember {
  const fields = fieldsOf(value, 'member');
  const { weight } = fields;
  if (typeof weight !== 'number' || !Number.isFinite(weight))
    throw new BadRequestError(`weight ${shown(weight)} of a member is no number`);
  const member = {
    number: nodeOf(fields.number, 'number'),
    nodeId: text(fields.nodeId, 'nodeId'),
    address: text(fields.address, 'address'),
    url: text(fields.url, 'url'),
    rack: text(fields.rack, 'rack'),
    zone: text(fields.zone, 'zone'),
    weight,
  };
  checkMember(member);
  return member;
}

function fieldsOf(value: unknown, what: string): Fields {
  if (typeof value !== 'object' || value === null || Array.isArray(value))
    throw new BadRequestError(`${what} is no map`);
  return value as Fields;
}
function slotOf(fields: Fields): number {
  return integer(fields.slot, 'slot', 1, Number.MAX_SAFE_INTEGER);
}
function idOf(fields: Fields): number {
  return integer(fields.id, 'id', 1, 0x7fff_ffff);
}
function nodeOf(value: unknown, what: string): number {
  return integer(value, what, 1, 0xffff_ffff);
}
function ballotOf(fields: Fields, name: string, least: number): RingBallot {
  const ballot = fieldsOf(fields[name], name);
  return {
    round: integer(ballot.round, `${name}.round`, least, limits.ringRoundsMax),
    node: integer(ballot.node, `${name}.node`, least, 0xffff_ffff),
  };
}
function ringOf(fields: Fields): Uint8Array {
  const { ring } = fields;
  if (!(ring instanceof Uint8Array) || ring.length > limits.ringMapBytesMax)
    throw new BadRequestError(`ring of a message is not up to ${limits.ringMapBytesMax} bytes`);
  return ring;
}
function list(value: unknown, what: string, most: number): readonly unknown[] {
  if (!Array.isArray(value) || value.length > most)
    throw new BadRequestError(`${what} are no array of up to ${most}`);
  return value;
}
function text(value: unknown, what: string): string {
  if (typeof value !== 'string' || value.length > limits.replyMessageBytesMax)
    throw new BadRequestError(`${what} is no text of up to ${limits.replyMessageBytesMax} characters`);
  return value;
}
function integer(value: unknown, what: string, least: number, most: number): number {
  if (typeof value !== 'number' || !Number.isSafeInteger(value) || value < least || value > most)
    throw new BadRequestError(
      `${what} ${shown(value)} of a message about the ring is not ${least} to ${most}`,
    );
  return value;
}
function shown(value: unknown): string {
  return String(value).slice(0, 40);
}
