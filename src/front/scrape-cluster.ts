/**
 * What the peer worker counts, on the metrics page: its coordinator, hints, repairs, calls between nodes and connections. It comes as
 * JSON (ClusterMetrics of src/cluster/cluster-metrics.ts, with certificates and connections of src/node); what is missing there is left
 * out here.
 */
import type { ClusterMetrics } from '../cluster/cluster-metrics.ts';
import type { CoordinatorMetrics } from '../cluster/coordinator-metrics.ts';
import type { HintReplayMetrics } from '../cluster/hint-delivery.ts';
import { nodeName } from '../cluster/node-name.ts';
import type { RepairStatistics } from '../cluster/repair-options.ts';
import type { RpcCounts } from '../cluster/rpc.ts';
import type { ReplicaServiceCounts } from '../cluster/rpc-service.ts';
import { type Family, readSamples, type Sample } from './metric-samples.ts';

/** A counter: its field, its name between `ringkv_` and `_total`, and what it counts. */
type Counter<T> = readonly [field: keyof T & string, name: string, help: string];

const HINTS: readonly Counter<HintReplayMetrics>[] = [
  ['hintsReplayed', 'hints_replayed', 'Hints that their nodes took.'],
  ['hintBytesReplayed', 'hints_replayed_bytes', 'Bytes of hints that were handed out.'],
  [
    'hintBatchesFailed',
    'hints_parts_failed',
    'Parts of hints that could not be handed out whole, and are tried again.',
  ],
  ['hintsExpired', 'hints_expired', 'Hints that grew too old: their vnodes are repaired.'],
  ['hintsSettled', 'hints_settled', 'Hints that a promise barred, and SERIAL settled.'],
  ['hintsRedirected', 'hints_redirected', 'Hints that went to the present replicas of their vnode.'],
  [
    'hintsToReplicas',
    'hints_to_replicas',
    'Hints of this node, which leaves, that no other keeps: the replicas that are there hold what was written.',
  ],
  ['hintsHandedOver', 'hints_handed_over', 'Hints that another node keeps now, because this one leaves.'],
  [
    'hintsRefused',
    'hints_refused',
    'Hints that a replica refuses whenever they come: their vnodes are repaired.',
  ],
  [
    'hintBytesDamaged',
    'hints_damaged_bytes',
    'Bytes of hints that cannot be read: their vnodes are repaired.',
  ],
  [
    'resurrections',
    'hints_resurrections',
    'Hints that would have brought back what was deleted, and were refused.',
  ],
];

const COORDINATOR: readonly Counter<CoordinatorMetrics>[] = [
  ['writes', 'coordinator_writes', 'Writes of clients that this node coordinated, SERIAL aside.'],
  ['reads', 'coordinator_reads', 'Reads of clients that this node coordinated, SERIAL aside.'],
  ['scans', 'coordinator_scans', 'Pages of scans that this node coordinated.'],
  ['serialReads', 'coordinator_serial_reads', 'Reads at SERIAL.'],
  ['serialWrites', 'coordinator_serial_writes', 'Writes at SERIAL, conditional ones included.'],
  [
    'retriesAboveBeat',
    'coordinator_retries_above_beat',
    'Attempts of writes repeated because a replica held or had promised a higher version: others write the same key.',
  ],
  [
    'writesPassed',
    'coordinator_writes_passed',
    'Writes that were replaced by newer ones of other coordinators while they were repeated.',
  ],
  ['retriesOfRing', 'coordinator_retries_of_ring', 'Attempts repeated because the ring had changed.'],
  [
    'retriesOfConnections',
    'coordinator_retries_of_connections',
    'Attempts repeated because connections broke.',
  ],
  [
    'beatsRefused',
    'coordinator_beats_refused',
    'Versions of replicas too far ahead of this clock to be believed.',
  ],
  [
    'readSpeculations',
    'coordinator_read_speculations',
    'Reads that asked a further replica, one being slow.',
  ],
  [
    'readRefetches',
    'coordinator_read_refetches',
    'Records fetched whole because a replica told of a newer one.',
  ],
  [
    'readsVouched',
    'coordinator_reads_vouched',
    'Reads of keys that changed faster than their replicas could be asked, answered on the word of the writer.',
  ],
  [
    'scanDoubts',
    'coordinator_scan_doubts',
    'Keys that scans read one by one, because replicas differed about them.',
  ],
  [
    'readRepairsBefore',
    'coordinator_read_repairs_before',
    'Replicas brought up to date before a read was answered.',
  ],
  [
    'readRepairsBehind',
    'coordinator_read_repairs_behind',
    'Replicas brought up to date behind the answer to a read.',
  ],
  [
    'readRepairsSpared',
    'coordinator_read_repairs_spared',
    'Replicas that a read saw stale, and that had caught up when they were to be repaired behind its answer.',
  ],
  [
    'readRepairsSkipped',
    'coordinator_read_repairs_skipped',
    'Repairs behind answers left out because too many waited.',
  ],
  ['readRepairsFailed', 'coordinator_read_repairs_failed', 'Repairs of reads that a replica did not take.'],
  ['settles', 'coordinator_settles', 'Keys settled by SERIAL because a promise barred their repair.'],
  ['hintsKept', 'coordinator_hints_kept', 'Writes kept as hints for a replica that was away.'],
  [
    'hintsLost',
    'coordinator_hints_lost',
    'Hints that nobody would keep: their vnodes are marked for repair.',
  ],
  ['sloppyAcks', 'coordinator_sloppy_acks', 'Writes acknowledged with the help of stand-ins.'],
  ['timeouts', 'coordinator_timeouts', 'Requests that ended with TIMEOUT.'],
  ['unavailable', 'coordinator_unavailable', 'Requests for which too few replicas were there.'],
  ['refused', 'coordinator_refused', 'Writes refused by replicas: disk full, overloaded.'],
  ['prepares', 'coordinator_prepares', 'First rounds of SERIAL.'],
  ['accepts', 'coordinator_accepts', 'Second rounds of SERIAL.'],
  ['contention', 'coordinator_contention', 'Rounds of SERIAL that lost against another ballot.'],
  [
    'reproposals',
    'coordinator_reproposals',
    'Records proposed again because nobody could tell whether they were finished.',
  ],
  [
    'outcomesRepeated',
    'coordinator_outcomes_repeated',
    'Repeats under an idempotency key that got the outcome of before.',
  ],
  ['outcomesEvicted', 'coordinator_outcomes_evicted', 'Outcomes dropped for room before their time.'],
  [
    'unknownOutcomes',
    'coordinator_unknown_outcomes',
    'Writes whose client was told that their outcome is unknown.',
  ],
  [
    'resurrections',
    'coordinator_resurrections',
    'Records that a replica refused because it knows that they were deleted.',
  ],
];

const REPAIRS: readonly Counter<RepairStatistics>[] = [
  ['recordsCompared', 'repair_records_compared', 'Places that repairs compared between two replicas.'],
  ['recordsSent', 'repair_records_sent', 'Records that repairs sent to other replicas.'],
  ['recordsReceived', 'repair_records_received', 'Records that repairs took from other replicas.'],
  ['bytesSent', 'repair_sent_bytes', 'Bytes of records that repairs sent.'],
  ['bytesReceived', 'repair_received_bytes', 'Bytes of records, heads and hashes that repairs received.'],
  ['settled', 'repair_settled', 'Keys of repairs that a promise barred, and SERIAL settled.'],
  [
    'resurrections',
    'repair_resurrections',
    'Records that repairs would have brought back, and that were refused.',
  ],
];

const CALLS: readonly Counter<RpcCounts>[] = [
  ['sent', 'peer_calls_sent', 'Requests sent to other nodes.'],
  ['answered', 'peer_calls_answered', 'Requests that other nodes answered.'],
  ['timedOut', 'peer_calls_timed_out', 'Requests that other nodes did not answer in time.'],
  [
    'refused',
    'peer_calls_unsent',
    'Requests not sent: the other node was not connected, or did not keep up.',
  ],
  ['overloaded', 'peer_calls_overloaded', 'Requests not sent because too many waited for answers.'],
  ['connectionLost', 'peer_calls_lost', 'Requests whose connection broke before the answer.'],
  ['dropped', 'peer_answers_dropped', 'Answers that nobody waited for.'],
];

const SERVED: readonly Counter<ReplicaServiceCounts>[] = [
  ['requests', 'peer_requests', 'Requests of other nodes to this replica.'],
  ['staleRing', 'peer_requests_of_old_ring', 'Of these, refused because their node had an older ring.'],
  ['overloaded', 'peer_requests_refused', 'Of these, refused because too many were under way.'],
  ['expired', 'peer_requests_expired', 'Of these, not begun because their time was up.'],
  ['unsent', 'peer_answers_unsent', 'Answers that came too late, or could not be sent.'],
];

/** Of one other node: fields of PeerMetrics (src/peer/peer-table.ts), which is above this layer. */
const PEER_COUNTERS: readonly Counter<Record<string, number>>[] = [
  ['bytesOut', 'peer_sent_bytes', 'Bytes sent to another node.'],
  ['bytesIn', 'peer_received_bytes', 'Bytes received from another node.'],
  ['messagesOut', 'peer_messages_sent', 'Messages sent to another node.'],
  ['messagesIn', 'peer_messages_received', 'Messages received from another node.'],
  ['framesOut', 'peer_frames_sent', 'Frames sent: messages of one turn share them.'],
  ['framesIn', 'peer_frames_received', 'Frames received.'],
  ['refused', 'peer_messages_refused', 'Messages not sent: no connection, or a full queue.'],
  ['connections', 'peer_connections_made', 'Connections with another node that became ready.'],
  ['failures', 'peer_connections_failed', 'Attempts to connect with another node that failed.'],
];
const PEER_GAUGES: readonly Counter<Record<string, number>>[] = [
  ['connected', 'peer_connections', 'Connections with another node that are ready.'],
  ['queuedBytes', 'peer_queued_bytes', 'Bytes that wait to be sent to another node.'],
];

type Figures = Readonly<Record<string, unknown>>;
const figuresOf = (value: unknown): Figures =>
  typeof value === 'object' && value !== null ? (value as Figures) : {};
const one = (value: number): Sample[] => [{ labels: {}, value }];
const counter = (name: string, help: string, samples: Sample[]): Family => ({
  name: `ringkv_${name}_total`,
  type: 'counter',
  help,
  samples,
});
const gauge = (name: string, help: string, samples: Sample[]): Family => ({
  name: `ringkv_${name}`,
  type: 'gauge',
  help,
  samples,
});

/** `answer`: what the peer worker told, untyped as it came. */
export function clusterFamilies(answer: Figures, nowMs: number): Family[] {
  const groups: readonly [of: keyof ClusterMetrics, counters: readonly Counter<Record<string, number>>[]][] =
    [
      ['hints', HINTS],
      ['coordinator', COORDINATOR],
      ['repairs', REPAIRS],
      ['calls', CALLS],
      ['served', SERVED],
    ];
  const families: Family[] = [];
  for (const [of, counters] of groups) {
    const figures = figuresOf(answer[of]);
    for (const [field, name, help] of counters) {
      const value = figures[field];
      if (typeof value === 'number') families.push(counter(name, help, one(value)));
    }
  }
  const { repairsWaiting, readsFrom } = answer;
  if (typeof repairsWaiting === 'number')
    families.push(gauge('repair_vnodes_waiting', 'Vnodes that wait for repair.', one(repairsWaiting)));
  if (typeof readsFrom === 'object' && readsFrom !== null)
    families.push(
      counter(
        'replica_reads',
        "Reads of this node as a replica, for its own coordinator or another node's, by what held them.",
        readSamples(readsFrom, {}),
      ),
    );
  return [...families, ...peerFamilies(answer.peers), ...certificateFamilies(answer.tls, nowMs)];
}

function peerFamilies(peers: unknown): Family[] {
  if (!Array.isArray(peers)) return [];
  const samples = (field: string): Sample[] =>
    peers.map((peer: Figures) => ({
      labels: { node: nodeName(Number(peer.node)) },
      value: Number(peer[field] ?? 0),
    }));
  return [
    ...PEER_COUNTERS.map(([field, name, help]) => counter(name, help, samples(field))),
    ...PEER_GAUGES.map(([field, name, help]) => gauge(name, help, samples(field))),
  ];
}

/** TlsFigures (src/node/tls-files.ts), where there is a certificate. */
function certificateFamilies(tls: unknown, nowMs: number): Family[] {
  if (typeof tls !== 'object' || tls === null) return [];
  const figures = figuresOf(tls);
  const of = (field: string): number => Number(figures[field] ?? 0);
  return [
    gauge(
      'peer_certificate_expires_seconds',
      'Until the certificate that this node shows other nodes expires; below 0 it has.',
      one(Math.floor((of('validUntilMs') - nowMs) / 1000)),
    ),
    counter(
      'peer_certificate_renewals',
      'Certificates for other nodes that were taken while the node ran.',
      one(of('renewals')),
    ),
    counter(
      'peer_certificate_refusals',
      'Files of certificates that were not taken, because they would not do: the log says why.',
      one(of('refusals')),
    ),
  ];
}
