/** What is counted of one node; rising since it was first heard of, over all its connections. */
export interface PeerCounts {
  framesIn: number;
  framesOut: number;
  messagesIn: number;
  messagesOut: number;
  bytesIn: number;
  bytesOut: number;
  /** Messages that were not sent: no connection, or a full queue. */
  refused: number;
  /** Connections that became ready. */
  connections: number;
  /** Attempts to connect that failed. */
  failures: number;
}

export function newPeerCounts(): PeerCounts {
  return {
    framesIn: 0,
    framesOut: 0,
    messagesIn: 0,
    messagesOut: 0,
    bytesIn: 0,
    bytesOut: 0,
    refused: 0,
    connections: 0,
    failures: 0,
  };
}
