/** Every bound of the load suite. */
export const loadLimits = {
  /** Keys of a run: 14 bytes of state each in the generator. */
  keysMax: 2 ** 25,
  /** Bytes of a value: the least that carries a stamp, and the most that a node takes by default. */
  valueBytesMin: 64,
  valueBytesMax: 2 ** 20,
  rateMax: 10_000_000,
  durationMsMin: 250,
  durationMsMax: 7 * 86_400_000,
  /** Requests that are on their way at a time, over all connections of a generator thread. */
  inFlightMax: 65_536,
  /** Idle connections: how many, how long one may take to open and to answer in the end, and what each may cost the nodes. */
  idleMax: 200_000,
  idleOpenMs: 60_000,
  idleAnswerMs: 30_000,
  idleBytesMax: 64 * 1024,
  generatorsMax: 16,
  nodesMax: 9,
  /** Serials of one generator thread: what a stamp has room for. */
  writesMax: 2 ** 31 - 1,
  /** A request that waits longer than this to be sent is given up, and counts with the time that it waited. */
  giveUpMsDefault: 10_000,
  giveUpMsMax: 60_000,
  /** After the last request was due, what is still waiting is sent for so long. */
  drainMs: 1000,
  /** An answer that takes longer counts as none; the connection ends. */
  answerMsMax: 30_000,
  /** What a histogram can hold: answerMsMax and giveUpMsMax with room. */
  latencyUsMax: 120_000_000,
  /** Bytes of one answer: a page of a scan with the largest values in base64. */
  answerBytesMax: 64 * 2 ** 20,
  /** Keys with a write of unknown outcome; beyond it a run says so and fails. */
  doubtfulKeysMax: 1_000_000,
  /** Different failures that are counted by name; what comes after is counted as `other`. */
  failureNamesMax: 32,
  /** Intervals of a series: longer runs have longer intervals. */
  seriesMax: 1200,
  intervalMsMin: 250,
  /** Event marks of a run: further ones are counted only. */
  marksMax: 2000,
  /** Inserts younger than this are not chosen for reads, as YCSB chooses only what is acknowledged. */
  insertSettleUs: 1_000_000,
  insertsUnsettledMax: 2 ** 17,
  scanLengthMax: 1000,
} as const;
