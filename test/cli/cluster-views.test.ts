import { describe, expect, it } from 'vitest';
import { MiB } from '../../src/base/limits.ts';
import { statusText } from '../../src/cli/cluster-views.ts';
import type { ClusterStatus, NodeStatus } from '../../src/cluster/administration.ts';
import { QUIET } from './cluster-statuses.ts';

const LEAVER: NodeStatus = {
  nodeId: '1f3a77c0'.repeat(4),
  address: '127.0.0.1:9081',
  url: 'http://127.0.0.1:8081',
  rack: 'default',
  weight: 1,
  state: 'up',
  member: true,
  vnodes: 341,
  replicas: 1024,
  ring: 7,
  gains: 0,
  gained: 0,
  gainedBytes: 0,
  leaveHintBytes: 3 * MiB,
  leaveHintBytesMost: 12 * MiB,
  leaveMarks: 4,
  leaveMarksMost: 17,
  hintBytes: 0,
};
const STATUS: ClusterStatus = {
  clusterName: 'ringkv',
  clusterId: '0'.repeat(32),
  ring: 7,
  vnodes: 1024,
  replicas: 3,
  self: LEAVER.nodeId,
  nodes: [LEAVER],
  refusal: '',
  change: {
    kind: 'leave',
    node: LEAVER.nodeId,
    by: '',
    phase: 'switching',
    waitsFor: ['node 9c04d1e2 is down'],
  },
  repair: QUIET,
};

describe('the status of a cluster', () => {
  it('shows how far a node that leaves is with hints and marks, and what the change waits for', () => {
    expect(statusText(STATUS).slice(-4)).toEqual([
      'change: leave 1f3a77c0, switching',
      '  1f3a77c0 has 3.0 MiB of 12.0 MiB of hints to hand on',
      '  1f3a77c0 has 4 of 17 vnodes marked for repair to hand on',
      '  waits: node 9c04d1e2 is down',
    ]);
  });

  it('shows none of it where there is nothing left', () => {
    const done = { ...LEAVER, leaveHintBytes: 0, leaveMarks: 0 };
    const text = statusText({ ...STATUS, nodes: [done], change: null }).join('\n');
    expect(text).not.toContain('hand on');
    expect(text).not.toContain('waits');
  });
});
