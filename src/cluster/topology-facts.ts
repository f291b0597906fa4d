/** Facts of gossip that the topology rests on (MemberState.facts). Each is true for ever once told: nothing goes back. */
export const TopologyFact = {
  /** Number of the newest ring that the node holds durably. */
  RING: 'ring',
  /** Number of the newest `copying` ring for which the node has pulled, durably, all that it gains. */
  PULLED: 'pulled',
  /** Progress under the present change: vnodes gained, pulled, and bytes taken. */
  GAINED_VNODES: 'pull.gained',
  PULLED_VNODES: 'pull.done',
  PULLED_BYTES: 'pull.bytes',
  /** Of a node that leaves by the present change: bytes of hints that it keeps for others, and the most that it had since it leaves. */
  LEAVE_HINTS: 'leave.hints',
  LEAVE_HINTS_MOST: 'leave.hints.most',
  /** The same of vnodes that it has marked for repair. */
  LEAVE_MARKS: 'leave.marks',
  LEAVE_MARKS_MOST: 'leave.marks.most',
  /** What its hints wait for: textOfBlock in topology-leaving.ts; '' where it is nothing. */
  LEAVE_BLOCK: 'leave.block',
  /** Number of the newest `switching` ring under which a node that leaves kept no hints any more. */
  HANDED_ON: 'leave.done',
} as const;
