/** Counters of a coordinator, as they go to /metrics: plain numbers that only rise. Owned by the thread of the coordinator. */
export interface CoordinatorMetrics {
  writes: number;
  reads: number;
  scans: number;
  serialReads: number;
  serialWrites: number;
  /** Attempts of writes that were repeated because a replica held or had promised a higher version. */
  retriesAboveBeat: number;
  /** Writes of which a replica had something newer, written meanwhile, when they were to be repeated. */
  writesPassed: number;
  /** Attempts repeated because a replica knew a newer ring, or this node got one on the way. */
  retriesOfRing: number;
  /** Attempts repeated because too few of the replicas that are up answered: connections broke. */
  retriesOfConnections: number;
  /** Versions to beat that lay too far ahead of this node's clock to be believed. */
  beatsRefused: number;
  /** Reads that asked a further replica because one was slow. */
  readSpeculations: number;
  /** Full records fetched because a head was newer than the full record that came. */
  readRefetches: number;
  /** Reads answered with a record that no majority was seen to hold, and that its writer had acknowledged: keys that change faster than they are read. */
  readsVouched: number;
  /** Keys that a scan read one by one, because the pages of replicas differed about them. */
  scanDoubts: number;
  /** Replicas brought up to date before and behind the answer to a read, and attempts that failed. */
  readRepairsBefore: number;
  readRepairsBehind: number;
  readRepairsFailed: number;
  /** Replicas that were stale when a read saw them, and had caught up when they were to be repaired behind its answer. */
  readRepairsSpared: number;
  /** Repairs behind answers left out because too many waited. */
  readRepairsSkipped: number;
  /** Keys settled by SERIAL because a promise barred their repair. */
  settles: number;
  hintsKept: number;
  /** Hints that nobody would keep: their vnodes were marked for repair. */
  hintsLost: number;
  sloppyAcks: number;
  timeouts: number;
  unavailable: number;
  /** Writes refused by every replica: disk full, overloaded. */
  refused: number;
  /** First and second rounds of SERIAL, and rounds that lost against another ballot. */
  prepares: number;
  accepts: number;
  contention: number;
  /** Records proposed again under a higher ballot because nobody could tell whether they were finished. */
  reproposals: number;
  /** Repeats that got a remembered outcome. */
  outcomesRepeated: number;
  /** Outcomes dropped for room before their time. */
  outcomesEvicted: number;
  /** Writes whose client was told that their outcome is unknown. */
  unknownOutcomes: number;
  /** Records that a replica refused because it knows that they were deleted. */
  resurrections: number;
}

export function newCoordinatorMetrics(): CoordinatorMetrics {
  return {
    writes: 0,
    reads: 0,
    scans: 0,
    serialReads: 0,
    serialWrites: 0,
    retriesAboveBeat: 0,
    writesPassed: 0,
    retriesOfRing: 0,
    retriesOfConnections: 0,
    beatsRefused: 0,
    readSpeculations: 0,
    readRefetches: 0,
    readsVouched: 0,
    scanDoubts: 0,
    readRepairsBefore: 0,
    readRepairsBehind: 0,
    readRepairsFailed: 0,
    readRepairsSpared: 0,
    readRepairsSkipped: 0,
    settles: 0,
    hintsKept: 0,
    hintsLost: 0,
    sloppyAcks: 0,
    timeouts: 0,
    unavailable: 0,
    refused: 0,
    prepares: 0,
    accepts: 0,
    contention: 0,
    reproposals: 0,
    outcomesRepeated: 0,
    outcomesEvicted: 0,
    unknownOutcomes: 0,
    resurrections: 0,
  };
}
