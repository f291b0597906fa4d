/** Questions about a cluster and changes of it, as JSON between a front end, its coordinator, and whoever asked. */

export type ClusterQuestion =
  | { readonly ask: 'status' }
  | { readonly ask: 'ring' }
  /** Counters of the coordinator's thread for /metrics: ClusterMetrics. */
  | { readonly ask: 'metrics' }
  /** `key` in base64. */
  | { readonly ask: 'key'; readonly key: string };

/** `node` and `by`: a node's id (32 hexadecimal digits), or as many first digits as tell it from the others. */
export type ClusterChange =
  /** A node that is alone and holds nothing asks the cluster of these peer listeners (host:port) to take it in. */
  | { readonly do: 'join'; readonly seeds: readonly string[] }
  /** `node` (this one where it is missing) gives its vnodes to the others and leaves. */
  | { readonly do: 'decommission'; readonly node?: string }
  /** `by`, a node that is no member yet, takes the place of `node`, which is down for good. */
  | { readonly do: 'replace'; readonly node: string; readonly by: string }
  | { readonly do: 'reweigh'; readonly node: string; readonly weight?: number; readonly rack?: string }
  /** All vnodes of which this node has a replica, or those named. */
  | { readonly do: 'repair'; readonly vnodes?: readonly number[] }
  /**
   * This node takes no more requests of clients, sees each acknowledged write on all replicas or kept as a hint, and hands its hints
   * out. Answered (DrainAnswer) when none are left for nodes that are there, or shortly before the request's deadline; asked
   * again, it waits on.
   */
  | { readonly do: 'drain' }
  /** Takes back the change that is under way, while it copies. */
  | { readonly do: 'undo' };

export interface NodeStatus {
  readonly nodeId: string;
  /** host:port of its peer listener. */
  readonly address: string;
  /** Where clients reach it; '' where unknown. */
  readonly url: string;
  readonly rack: string;
  readonly weight: number;
  readonly state: 'up' | 'suspect' | 'down' | 'left' | 'draining' | 'unknown';
  /** Part of the ring, or about to be. */
  readonly member: boolean;
  /** Vnodes that it owns, and of which it holds a replica. */
  readonly vnodes: number;
  readonly replicas: number;
  /** Number of the ring that it holds durably. */
  readonly ring: number;
  /** Vnodes that it gains by the change under way, those it has, and bytes it has taken. */
  readonly gains: number;
  readonly gained: number;
  readonly gainedBytes: number;
  /** Of a node that leaves by the change under way: bytes of hints that it has to hand on before, and the most that it had to. */
  readonly leaveHintBytes: number;
  readonly leaveHintBytesMost: number;
  /** The same of vnodes that it has marked for repair. */
  readonly leaveMarks: number;
  readonly leaveMarksMost: number;
  /** Bytes of hints for it on the node that was asked. */
  readonly hintBytes: number;
}

export interface DrainAnswer {
  readonly warnings: readonly string[];
  /** Bytes of hints on this node for nodes that are there, which are not handed out yet. */
  readonly hintBytes: number;
  /** Acknowledged writes of which a replica has neither its copy nor a hint yet: what they lack would be lost with this process. */
  readonly unsettled: number;
}

export interface RepairStatus {
  readonly running: boolean;
  readonly vnodesWaiting: number;
  readonly vnodesDone: number;
  readonly recordsSent: number;
  readonly recordsReceived: number;
  readonly resurrections: number;
  readonly lastEndMs: number;
  /** What keeps vnodes from being repaired, as sentences. */
  readonly waitsFor: readonly string[];
}

export interface ClusterStatus {
  readonly clusterName: string;
  readonly clusterId: string;
  /** Number of the ring map. */
  readonly ring: number;
  readonly vnodes: number;
  /** Copies wanted of each key. */
  readonly replicas: number;
  /** The node that answers. */
  readonly self: string;
  readonly nodes: readonly NodeStatus[];
  /** Why the last request of the node that answers to be joined was refused; '' where it was not. */
  readonly refusal: string;
  readonly change: {
    readonly kind: string;
    readonly node: string;
    readonly by: string;
    readonly phase: string;
    /** What keeps it from its next step, as sentences; nothing where it goes on. */
    readonly waitsFor: readonly string[];
  } | null;
  readonly repair: RepairStatus;
}

export interface RingStatus {
  readonly ring: number;
  readonly vnodes: number;
  readonly replicas: number;
  /** Neighbouring vnodes with the same replicas, first to last, inclusive; the owner first. */
  readonly ranges: readonly {
    readonly first: number;
    readonly last: number;
    readonly nodes: readonly string[];
  }[];
}

export interface KeyStatus {
  readonly key?: string;
  readonly keyBase64?: string;
  /** 16 hexadecimal digits. */
  readonly token: string;
  readonly vnode: number;
  readonly replicas: readonly {
    readonly nodeId: string;
    readonly state: 'live' | 'tombstone' | 'expired' | 'absent' | 'error';
    readonly version?: number;
    readonly origin?: number;
    readonly bytes?: number;
    /** Of the value: XXH3-64, 16 hexadecimal digits. */
    readonly checksum?: string;
    readonly expiresMs?: number;
    readonly message?: string;
  }[];
}
