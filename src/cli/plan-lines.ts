/**
 * The arithmetic of `ringkv plan`, line by line: each has a name, and a formula over inputs and lines before it. Pure data: the plan
 * evaluates these very texts and prints them. Names end with their unit; what has none is a number.
 */
export type Unit =
  | 'bytes'
  | 'bytes/s'
  | 'count'
  | 'share'
  | '/s'
  | 'us'
  | 'us/s'
  | 'ms'
  | 'seconds'
  | 'bits/s'
  | 'times';

export interface Line {
  readonly name: string;
  readonly unit: Unit;
  readonly formula: string;
  readonly about: string;
  /** The line is left out where this input is not given. */
  readonly needs?: string;
}
export interface Section {
  readonly title: string;
  readonly lines: readonly Line[];
}

/** Servers that each resource asks for, by the name of the resource. */
export const demands = {
  disk: 'diskServers',
  requests: 'requestServers',
  processors: 'processorServers',
  'disk writes': 'diskWriteServers',
  'disk reads': 'diskReadServers',
  network: 'networkServers',
  replicas: 'replicas',
} as const;
export type Resource = keyof typeof demands;
const demandsGiven = 'given';
/** In formulas: the largest of the demands that have lines. */
export const LARGEST_DEMAND = demandsGiven;

export const premises: Section = {
  title: 'From the premises alone: disks full to the brim, nothing ever lost or growing',
  lines: [
    { name: 'records', unit: 'count', formula: 'ceil(dataBytes / objectBytes)', about: 'objects' },
    { name: 'copiesBytes', unit: 'bytes', formula: 'dataBytes * replicas', about: 'all copies of them' },
    {
      name: 'premiseDiskServers',
      unit: 'count',
      formula: 'ceil(copiesBytes / diskBytes)',
      about: 'servers that hold them',
    },
    {
      name: 'replicaReadsPerSecond',
      unit: '/s',
      formula: 'qps * readShare * readReplicas',
      about: 'reads at replicas',
    },
    {
      name: 'replicaWritesPerSecond',
      unit: '/s',
      formula: 'qps * (1 - readShare) * replicas',
      about: 'writes at replicas',
    },
    {
      name: 'premiseRequestServers',
      unit: 'count',
      formula: 'ceil((replicaReadsPerSecond + replicaWritesPerSecond) / serverQps)',
      about: 'servers that do them',
      needs: 'serverQps',
    },
    {
      name: 'premiseServers',
      unit: 'count',
      formula: 'max(premiseDiskServers, premiseRequestServers)',
      about: 'servers, from the premises alone',
      needs: 'serverQps',
    },
    {
      name: 'premiseQps',
      unit: '/s',
      formula: 'premiseServers * serverQps * qps / (replicaReadsPerSecond + replicaWritesPerSecond)',
      about: 'requests of clients that so many servers take',
      needs: 'serverQps',
    },
  ],
};

const disk: Section = {
  title: 'Disk',
  lines: [
    {
      name: 'storedBytes',
      unit: 'bytes',
      formula: 'records * replicas * recordBytes * storedPerByte',
      about: 'tables of all servers, with head, index and filters of each record',
    },
    {
      name: 'logBytes',
      unit: 'bytes',
      formula: 'shards * memtableSlots * memtableBytes',
      about: 'commit log of a server',
    },
    {
      name: 'compactions',
      unit: 'count',
      formula: 'ceil(min(backgroundThreadsMax, max(2, ceil(cores / 2))) / 2)',
      about: 'compactions at a time on a server',
    },
    {
      name: 'compactionBytes',
      unit: 'bytes',
      formula: 'compactions * compactionTables * tableTargetMemtables * memtableBytes',
      about: 'what they write before what they read goes',
    },
    {
      name: 'usableBytes',
      unit: 'bytes',
      formula: 'diskBytes * diskFill - logBytes - compactionBytes - hintBytes',
      about: 'room for tables on a server; the rest of the fill is for versions that were overwritten',
    },
    {
      name: 'diskServers',
      unit: 'count',
      formula: 'ceil(storedBytes / usableBytes) + spareServers',
      about: 'and room for what lay on servers that are lost for good',
    },
  ],
};

const work: Section = {
  title: 'Work, with the headroom kept free also while a rack is down',
  lines: [
    {
      name: 'rackFactor',
      unit: 'times',
      formula: 'racks / max(1, racks - 1)',
      about: 'what each server does more while one rack is down (one rack alone: nobody is left)',
    },
    {
      name: 'requestServers',
      unit: 'count',
      formula: 'ceil((replicaReadsPerSecond + replicaWritesPerSecond) / serverQps * rackFactor)',
      about: 'by the requests that a server takes',
      needs: 'serverQps',
    },
    {
      name: 'levelsMore',
      unit: 'times',
      formula: 'max(0, log(usableBytes / shards / figuresShardBytes) / log(compactionFanout))',
      about: 'levels of a full server beyond those of the store that was measured',
    },
    {
      name: 'rewrittenPerByte',
      unit: 'times',
      formula: 'levelsMore * levelRewrites * storedPerByte',
      about: 'what they add to the bytes written for each byte put',
    },
    {
      name: 'requestUsPerSecond',
      unit: 'us/s',
      formula: 'qps * clusterCpuUs * putCpuUs / clusterPutCpuUs',
      about: 'processor time of requests on all nodes, memory and tables just written included',
    },
    {
      name: 'tableUsPerSecond',
      unit: 'us/s',
      formula: 'replicaReadsPerSecond * max(0, getTablesCpuUs - getMemoryCpuUs)',
      about: 'and of reads that come from tables',
    },
    {
      name: 'levelUsPerSecond',
      unit: 'us/s',
      formula: 'replicaWritesPerSecond * recordBytes * rewrittenPerByte / 1048576 * compactionCpuUsPerMiB',
      about: 'and of compaction at those levels',
    },
    {
      name: 'processorServers',
      unit: 'count',
      formula:
        'ceil((requestUsPerSecond + tableUsPerSecond + levelUsPerSecond) / (cores * 1000000 * (1 - headroom)) * rackFactor)',
      about: 'by processor time',
    },
    {
      name: 'diskWriteBytesPerSecond',
      unit: 'bytes/s',
      formula: 'replicaWritesPerSecond * objectBytes * (writtenPerByte + rewrittenPerByte)',
      about: 'log, flushes and compactions of all servers',
    },
    {
      name: 'diskWriteServers',
      unit: 'count',
      formula: 'ceil(diskWriteBytesPerSecond / (diskBytesPerSecond * (1 - headroom)) * rackFactor)',
      about: 'by what a disk writes and syncs',
    },
    {
      name: 'diskReadServers',
      unit: 'count',
      formula: 'ceil(replicaReadsPerSecond * readsPerGetMax / (diskReads * (1 - headroom)) * rackFactor)',
      about: 'by random reads of a disk, nothing in any cache',
      needs: 'diskReads',
    },
    {
      name: 'peerBytesPerSecond',
      unit: 'bytes/s',
      formula: 'qps * (readShare * getWireBytes + (1 - readShare) * putWireBytes)',
      about: 'between nodes, TCP and TLS not counted',
    },
    {
      name: 'clientBytesPerSecond',
      unit: 'bytes/s',
      formula: 'qps * (objectBytes + httpHeadBytes)',
      about: 'between clients and nodes',
    },
    {
      name: 'networkServers',
      unit: 'count',
      formula:
        'ceil((peerBytesPerSecond + clientBytesPerSecond) * 8 / (networkBitsPerSecond * (1 - headroom)) * rackFactor)',
      about: 'by the link of a server, each direction',
    },
  ],
};

const servers: Section = {
  title: 'Servers',
  lines: [
    {
      name: 'servers',
      unit: 'count',
      formula: `racks * ceil(max(${LARGEST_DEMAND}) / racks)`,
      about: 'the largest of these, as many in each rack',
    },
    {
      name: 'vnodes',
      unit: 'count',
      formula: 'pow2(max(vnodesDefault, servers * vnodesPerServer))',
      about: 'segments of the ring, fixed when the cluster is made: count the servers of its last year',
    },
  ],
};

const each: Section = {
  title: 'Each server',
  lines: [
    {
      name: 'serverStoredBytes',
      unit: 'bytes',
      formula: 'storedBytes / servers',
      about: 'tables',
    },
    {
      name: 'serverDiskShare',
      unit: 'share',
      formula: '(serverStoredBytes + logBytes) / diskBytes',
      about: 'of its disk',
    },
    {
      name: 'serverRecords',
      unit: 'count',
      formula: 'records * replicas / servers',
      about: 'records',
    },
    {
      name: 'serverOpenFiles',
      unit: 'count',
      formula:
        'ceil(serverStoredBytes / (tableTargetMemtables * memtableBytes * tableFillMin)) + shards * memtableSlots',
      about: 'tables and log segments, all open: what the limit of descriptors must allow',
    },
    {
      name: 'memtablesBytes',
      unit: 'bytes',
      formula: 'shards * memtableSlots * memtableBytes * (1 + memtableIndexBytes / recordBytes)',
      about: 'memtables with their index, all full',
    },
    {
      name: 'rootsBytes',
      unit: 'bytes',
      formula:
        'serverStoredBytes / blockBytes * indexEntryBytes / indexPageBytes * indexEntryBytes + serverRecords * bloomBits / 8 / filterPageBytes * indexEntryBytes',
      about: 'roots of index and filters, which stay in memory',
    },
    {
      name: 'serverMemoryBytes',
      unit: 'bytes',
      formula:
        'memtablesBytes + blockCacheBytes + shards * 2 * ringBytes + max(besideBytes, besideBytesMax) + rootsBytes',
      about: 'of the process, with one front end',
    },
    {
      name: 'serverPagesBytes',
      unit: 'bytes',
      formula: 'serverRecords * recordBytes / blockBytes * indexEntryBytes + serverRecords * bloomBits / 8',
      about:
        'pages of index and filters: a block cache of this and more saves two of the three reads of a GET',
    },
    {
      name: 'readsPerGet',
      unit: 'times',
      formula:
        '1 + (readsPerGetMax - 1) * max(0, 1 - blockCacheBytes * (1 - recordCacheShare) / serverPagesBytes)',
      about: 'reads of the disk for a GET at a replica, page cache aside',
    },
    {
      name: 'serverReadsPerSecond',
      unit: '/s',
      formula: 'replicaReadsPerSecond * readsPerGet / servers',
      about: 'random reads of its disk',
    },
    {
      name: 'serverWriteBytesPerSecond',
      unit: 'bytes/s',
      formula: 'diskWriteBytesPerSecond / servers',
      about: 'writes of its disk',
    },
    {
      name: 'diskWritesPerDay',
      unit: 'times',
      formula: 'serverWriteBytesPerSecond * 86400 / diskBytes',
      about: 'times that its disk is written in a day: to be held beside what the maker says that it bears',
    },
    {
      name: 'serverNetworkBitsPerSecond',
      unit: 'bits/s',
      formula: '(peerBytesPerSecond + clientBytesPerSecond) * 8 / servers',
      about: 'on its link',
    },
  ],
};

const replaced: Section = {
  title: 'A server is replaced',
  lines: [
    {
      name: 'streamedBytes',
      unit: 'bytes',
      formula: 'serverRecords * recordBytes',
      about: 'its records travel, not its tables: uncompressed',
    },
    {
      name: 'streamSeconds',
      unit: 'seconds',
      formula: 'streamedBytes / repairBytesPerSecond',
      about: 'until the new one holds them, at the rate limit; so long one copy of each is missing',
    },
  ],
};

export const sections: readonly Section[] = [premises, disk, work, servers, each, replaced];
