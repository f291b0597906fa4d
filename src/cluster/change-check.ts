/**
 * A change of the cluster as an operator asked for it (administration.ts), checked: from outside come any JSON and any fields. Pure.
 * Fields that a change does not have are refused: `{"nod": ...}` must not decommission the node that was asked. Errors name field, value
 * and limit.
 */
import { parseAddress } from '../base/address.ts';
import { BadRequestError } from '../base/errors.ts';
import { limits } from '../base/limits.ts';
import { RACK, RACK_TEXT } from '../base/rack.ts';
import type { ClusterChange } from './administration.ts';
import { weightUnits } from './ring-balance.ts';

type Fields = Readonly<Record<string, unknown>>;

const NODE_DIGITS_MAX = 32;
/** With fewer, what is meant as a number of the first or third node may be the first digit of another's id. */
const NODE_DIGITS_MIN = 4;
const NODE = /^[0-9a-fA-F]{4,32}$/;
const VALUE_CHARACTERS_MAX = 80;

/** Throws BadRequestError. `vnodes` of the ring. */
export function checkChange(fields: Fields, vnodes: number): ClusterChange {
  switch (fields.do) {
    case 'join':
      onlyFields(fields, ['seeds']);
      return { do: 'join', seeds: seedsOf(fields.seeds) };
    case 'decommission':
      onlyFields(fields, ['node']);
      return { do: 'decommission', ...(fields.node === undefined ? {} : { node: nodeOf(fields, 'node') }) };
    case 'replace':
      onlyFields(fields, ['node', 'by']);
      return { do: 'replace', node: nodeOf(fields, 'node'), by: nodeOf(fields, 'by') };
    case 'reweigh':
      onlyFields(fields, ['node', 'weight', 'rack']);
      return reweighOf(fields);
    case 'repair':
      onlyFields(fields, ['vnodes']);
      return {
        do: 'repair',
        ...(fields.vnodes === undefined ? {} : { vnodes: vnodesOf(fields.vnodes, vnodes) }),
      };
    case 'drain':
    case 'undo':
      onlyFields(fields, []);
      return { do: fields.do };
    default:
      throw new BadRequestError(`${shown(fields.do)} is no change of a cluster`);
  }
}

function reweighOf(fields: Fields): ClusterChange {
  const { weight, rack } = fields;
  const node = nodeOf(fields, 'node');
  if (weight === undefined && rack === undefined)
    throw new BadRequestError('reweigh needs the field weight, the field rack, or both');
  if (weight !== undefined && !isWeight(weight))
    throw new BadRequestError(
      `weight ${shown(weight)} is no number from 0 to ${limits.ringWeightMax} in steps of 1/${limits.ringWeightUnits}`,
    );
  if (rack !== undefined) checkRack(rack);
  return {
    do: 'reweigh',
    node,
    ...(weight === undefined ? {} : { weight: weight as number }),
    ...(rack === undefined ? {} : { rack: rack as string }),
  };
}

function isWeight(weight: unknown): boolean {
  if (typeof weight !== 'number' || !(weight >= 0 && weight <= limits.ringWeightMax)) return false;
  return weightUnits(weight) / limits.ringWeightUnits === weight;
}

/** What `serve --rack` takes: a node could not be started with another. */
function checkRack(rack: unknown): void {
  if (typeof rack !== 'string' || !RACK.test(rack))
    throw new BadRequestError(`rack ${shown(rack)} is not ${RACK_TEXT}`);
}

function nodeOf(fields: Fields, name: string): string {
  const value = fields[name];
  if (value === undefined) throw new BadRequestError(`the field ${name} is missing: id of a node`);
  if (typeof value !== 'string' || !NODE.test(value))
    throw new BadRequestError(
      `${name} ${shown(value)} is no id of a node: ${NODE_DIGITS_MIN} to ${NODE_DIGITS_MAX} hexadecimal digits`,
    );
  return value;
}

function seedsOf(value: unknown): readonly string[] {
  const isList = Array.isArray(value) && value.every((one) => typeof one === 'string');
  if (!isList || value.length === 0 || value.length > limits.seedsMax)
    throw new BadRequestError(`seeds ${shown(value)} are no array of 1 to ${limits.seedsMax} addresses`);
  for (const seed of value as readonly string[])
    try {
      parseAddress(seed);
    } catch (error) {
      throw new BadRequestError(`seeds: ${(error as Error).message}`, { cause: error });
    }
  return value;
}

function vnodesOf(value: unknown, vnodes: number): readonly number[] {
  if (!Array.isArray(value) || value.length === 0 || value.length > vnodes)
    throw new BadRequestError(`vnodes ${shown(value)} are no array of 1 to ${vnodes} numbers`);
  for (const vnode of value as readonly unknown[])
    if (!(typeof vnode === 'number' && Number.isInteger(vnode) && vnode >= 0 && vnode < vnodes))
      throw new BadRequestError(`vnode ${shown(vnode)} is no whole number from 0 to ${vnodes - 1}`);
  return [...new Set(value as readonly number[])];
}

function onlyFields(fields: Fields, names: readonly string[]): void {
  const unknown = Object.keys(fields).find((name) => name !== 'do' && !names.includes(name));
  if (unknown === undefined) return;
  const known = names.length === 0 ? 'it has none' : `it has ${names.join(', ')}`;
  throw new BadRequestError(`${shown(fields.do)} has no field ${shown(unknown)}: ${known}`);
}

/** As JSON, cut where it is long. */
function shown(value: unknown): string {
  const text = JSON.stringify(value) ?? 'nothing';
  return text.length > VALUE_CHARACTERS_MAX ? `${text.slice(0, VALUE_CHARACTERS_MAX)}...` : text;
}
