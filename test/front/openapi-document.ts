/**
 * The OpenAPI 3.1 document of the front end, from zod schemas that the tests also hold real answers against.
 * `npx vitest run --project fast test/front/openapi.test.ts -u` writes docs/openapi.json anew.
 */
import {
  extendZodWithOpenApi,
  OpenAPIRegistry,
  OpenApiGeneratorV31,
  type RouteConfig,
} from '@asteasolutions/zod-to-openapi';
import { z } from 'zod';
import { limits } from '../../src/base/limits.ts';
import { CLUSTER_CHANGES } from '../../src/front/cluster-routes.ts';
import { SUB_PROTOCOL, WS_PATH } from '../../src/front/ws-wire.ts';

extendZodWithOpenApi(z);

const version = z
  .int()
  .min(0)
  .max(limits.versionMax)
  .describe('Microseconds since 1970; 0 stands for an absent key.');
const base64 = z.base64().describe('Standard base64 with padding.');
const ttl = z.number().positive().max(limits.ttlSecondsMax).describe('Seconds until the record expires.');
const ttlLeft = z.int().min(1).describe('Seconds left, rounded up.');
const consistency = z.enum(['ONE', 'QUORUM', 'ALL', 'SERIAL']);
const batchKey = z.union([z.string().min(1), z.strictObject({ base64 })]);
const placeOfKey = { key: z.string().optional(), keyBase64: base64.optional() };

const error = z.strictObject({ code: z.string(), message: z.string(), version: version.optional() });

export const schemas = {
  PutBody: z.strictObject({
    value: base64,
    consistency: consistency.optional(),
    ttl: ttl.optional(),
    version: version.optional(),
    sloppy: z.boolean().optional(),
  }),
  Record: z.strictObject({ ...placeOfKey, value: base64, version, ttl: ttlLeft.optional() }),
  Error: z.strictObject({ error, version: version.optional() }),
  BatchBody: z.strictObject({
    ops: z
      .array(
        z.discriminatedUnion('op', [
          z.strictObject({
            op: z.literal('put'),
            key: batchKey,
            value: base64,
            consistency: consistency.optional(),
            ttl: ttl.optional(),
            version: version.optional(),
            sloppy: z.boolean().optional(),
          }),
          z.strictObject({ op: z.literal('get'), key: batchKey, consistency: consistency.optional() }),
          z.strictObject({
            op: z.literal('delete'),
            key: batchKey,
            consistency: consistency.optional(),
            version: version.optional(),
            sloppy: z.boolean().optional(),
          }),
        ]),
      )
      .max(limits.batchOpsMax),
  }),
  BatchResults: z.strictObject({
    results: z.array(
      z.strictObject({
        status: z.int(),
        version: version.optional(),
        value: base64.optional(),
        ttl: ttlLeft.optional(),
        sloppy: z.literal(true).optional(),
        error: error.optional(),
      }),
    ),
  }),
  ScanPage: z.strictObject({
    entries: z.array(
      z.strictObject({ ...placeOfKey, value: base64.optional(), version, ttl: ttlLeft.optional() }),
    ),
    cursor: z.string().optional(),
  }),
  Cluster: z.strictObject({
    clusterName: z.string(),
    clusterId: z.string(),
    ring: z.int(),
    vnodes: z.int(),
    replicas: z.int(),
    self: z.string(),
    nodes: z.array(
      z.strictObject({
        nodeId: z.string(),
        address: z.string(),
        url: z.string(),
        rack: z.string(),
        weight: z.number(),
        state: z.enum(['up', 'suspect', 'down', 'left', 'draining', 'unknown']),
        member: z.boolean(),
        vnodes: z.int(),
        replicas: z.int(),
        ring: z.int(),
        gains: z.int(),
        gained: z.int(),
        gainedBytes: z.int(),
        leaveHintBytes: z.int(),
        leaveHintBytesMost: z.int(),
        leaveMarks: z.int(),
        leaveMarksMost: z.int(),
        hintBytes: z.int(),
      }),
    ),
    refusal: z.string(),
    change: z
      .strictObject({
        kind: z.string(),
        node: z.string(),
        by: z.string(),
        phase: z.enum(['copying', 'switching']),
        waitsFor: z.array(z.string()),
      })
      .nullable(),
    repair: z.strictObject({
      running: z.boolean(),
      vnodesWaiting: z.int(),
      vnodesDone: z.int(),
      recordsSent: z.int(),
      recordsReceived: z.int(),
      resurrections: z.int(),
      lastEndMs: z.number(),
      waitsFor: z.array(z.string()),
    }),
  }),
  /** What a change takes: which fields, depends on the change. */
  ClusterChange: z.strictObject({
    node: z.string().optional(),
    by: z.string().optional(),
    weight: z.number().optional(),
    rack: z.string().optional(),
    vnodes: z.array(z.int()).optional(),
    seeds: z.array(z.string()).optional(),
  }),
  /**
   * Of a drain: `hintBytes` of hints for nodes that are there, which are not handed out yet; `unsettled` writes that were acknowledged and
   * of which a replica has neither its copy nor a hint yet.
   */
  ClusterChanged: z.strictObject({
    warnings: z.array(z.string()).optional(),
    vnodes: z.int().optional(),
    hintBytes: z.int().optional(),
    unsettled: z.int().optional(),
  }),
  Ring: z.strictObject({
    ring: z.int(),
    vnodes: z.int(),
    replicas: z.int(),
    ranges: z.array(z.strictObject({ first: z.int(), last: z.int(), nodes: z.array(z.string()) })),
  }),
  KeyPlace: z.strictObject({
    ...placeOfKey,
    token: z.string().regex(/^[0-9a-f]{16}$/),
    vnode: z.int(),
    replicas: z.array(
      z.strictObject({
        nodeId: z.string(),
        state: z.enum(['live', 'tombstone', 'expired', 'absent', 'error']),
        version: version.optional(),
        origin: z.int().optional(),
        bytes: z.int().optional(),
        checksum: z.string().optional(),
        expiresMs: z.number().optional(),
        message: z.string().optional(),
      }),
    ),
  }),
  Health: z.strictObject({ status: z.string() }),
} as const;

const reasons: Readonly<Record<number, string>> = {
  400: 'BAD_REQUEST',
  403: 'BAD_REQUEST: the page is of another origin than the server',
  404: 'NOT_FOUND: no live record, or no such path',
  409: 'VERSION_MISMATCH, with the current version',
  412: 'PRECONDITION_FAILED',
  413: 'KEY_TOO_LARGE or VALUE_TOO_LARGE',
  415: 'UNSUPPORTED_MEDIA_TYPE',
  426: 'BAD_REQUEST: no upgrade, or of another version than 13',
  429: 'RATE_LIMITED',
  500: 'CORRUPTION or INTERNAL',
  503: 'OVERLOADED or UNAVAILABLE',
  504: 'TIMEOUT',
  507: 'DISK_FULL',
};

export function openApiDocument(release: string): object {
  const registry = new OpenAPIRegistry();
  const refs = Object.fromEntries(
    Object.entries(schemas).map(([name, schema]) => [name, registry.register(name, schema as z.ZodType)]),
  ) as { [Name in keyof typeof schemas]: z.ZodType };
  const json = (schema: z.ZodType): object => ({ 'application/json': { schema } });
  const etag = { ETag: { schema: { type: 'string' as const }, description: 'The version in quotes.' } };
  const failures = (...codes: number[]): RouteConfig['responses'] =>
    Object.fromEntries(
      codes.map((code) => [code, { description: reasons[code] ?? '', content: json(refs.Error) }]),
    );
  const always = [400, 413, 429, 500, 503, 504];
  const bytes = { 'application/octet-stream': { schema: { type: 'string' as const, format: 'binary' } } };
  const params = z.object({ key: z.string().min(1).describe('Percent-encoded bytes.') });
  const readQuery = z.object({ consistency: consistency.optional() });
  const writeQuery = readQuery.extend({ version: version.optional(), sloppy: z.boolean().optional() });
  const timeout = { 'X-RingKV-Timeout': z.int().min(1).max(limits.requestTimeoutMsMax).optional() };
  const conditional = {
    ...timeout,
    'If-Match': z.string().optional(),
    'If-None-Match': z.string().optional(),
  };
  const write = z.object({
    ...conditional,
    'Idempotency-Key': z.string().min(1).max(limits.idempotencyKeyCharactersMax).optional(),
  });
  const add = (route: RouteConfig): void => registry.registerPath(route);

  const kv = '/v1/kv/{key}';
  const found = {
    200: {
      description: 'The record',
      headers: { ...etag, 'X-RingKV-TTL': { schema: { type: 'integer' as const } } },
      content: { ...json(refs.Record), ...bytes },
    },
    304: { description: 'If-None-Match lists the current version' },
  };
  add({
    method: 'put',
    path: kv,
    operationId: 'put',
    request: {
      params,
      query: writeQuery.extend({ ttl: ttl.optional() }),
      headers: write,
      body: { content: { ...json(refs.PutBody), ...bytes } as never },
    },
    responses: { 204: { description: 'Written', headers: etag }, ...failures(...always, 409, 412, 415, 507) },
  });
  add({
    method: 'get',
    path: kv,
    operationId: 'get',
    request: { params, query: readQuery, headers: z.object(conditional) },
    responses: { ...found, ...failures(...always, 404, 412) } as RouteConfig['responses'],
  });
  add({
    method: 'head',
    path: kv,
    operationId: 'head',
    request: { params, query: readQuery, headers: z.object(conditional) },
    responses: {
      200: { description: 'As GET without a body', headers: etag },
      304: { description: 'Not modified' },
      404: { description: 'No live record' },
    },
  });
  add({
    method: 'delete',
    path: kv,
    operationId: 'delete',
    request: { params, query: writeQuery, headers: write },
    responses: { 204: { description: 'Deleted, there or not' }, ...failures(...always, 409, 412, 507) },
  });
  const cbor = { 'application/cbor': { schema: { type: 'string' as const, format: 'binary' } } };
  add({
    method: 'post',
    path: '/v1/batch',
    operationId: 'batch',
    description: 'Not atomic; ops run side by side in no order.',
    request: { headers: z.object(timeout), body: { content: { ...json(refs.BatchBody), ...cbor } as never } },
    responses: {
      200: {
        description: 'One result per op, in order',
        content: { ...json(refs.BatchResults), ...cbor } as never,
      },
      ...failures(400, 413, 415, 503),
    },
  });
  const scan = z.object({
    limit: z.int().min(1).max(limits.scanLimitMax).default(limits.scanLimitDefault),
    cursor: z.string().optional(),
    prefix: z.string().optional(),
    values: z.boolean().default(false),
  });
  add({
    method: 'get',
    path: '/v1/scan',
    operationId: 'scan',
    request: { query: scan, headers: z.object(timeout) },
    responses: {
      200: { description: 'Live keys in token order', content: json(refs.ScanPage) },
      ...failures(400, 500, 503, 504),
    },
  });
  add({
    method: 'get',
    path: WS_PATH,
    operationId: 'webSocket',
    description:
      `An upgrade to WebSocket (RFC 6455) with the sub-protocol ${SUB_PROTOCOL}, without a query. What is said ` +
      'over it is beyond OpenAPI: docs/websocket.md.',
    request: {
      headers: z.object({
        Upgrade: z.literal('websocket'),
        Connection: z.string().describe('Upgrade'),
        'Sec-WebSocket-Version': z.literal('13'),
        'Sec-WebSocket-Key': z.string(),
        'Sec-WebSocket-Protocol': z.string().describe(`${SUB_PROTOCOL}, among others.`),
        Origin: z.string().optional().describe('Of a web page: that of the server itself.'),
      }),
    },
    responses: {
      101: {
        description: 'The connection is open; the first message tells the limits',
        headers: {
          Upgrade: { schema: { type: 'string' as const } },
          Connection: { schema: { type: 'string' as const } },
          'Sec-WebSocket-Accept': { schema: { type: 'string' as const } },
          'Sec-WebSocket-Protocol': { schema: { type: 'string' as const, const: SUB_PROTOCOL } },
        },
      },
      ...failures(400, 403, 426, 503),
    } as RouteConfig['responses'],
  });
  add({
    method: 'get',
    path: '/v1/cluster',
    operationId: 'cluster',
    responses: { 200: { description: 'Members', content: json(refs.Cluster) } },
  });
  add({
    method: 'get',
    path: '/v1/cluster/ring',
    operationId: 'ring',
    responses: { 200: { description: 'Owners of vnodes', content: json(refs.Ring) } },
  });
  add({
    method: 'get',
    path: '/v1/cluster/key/{key}',
    operationId: 'keyPlace',
    request: { params, headers: z.object(timeout) },
    responses: {
      200: { description: 'Where a key lives and what each replica holds', content: json(refs.KeyPlace) },
      ...failures(400, 413, 503),
    },
  });
  for (const change of CLUSTER_CHANGES)
    add({
      method: 'post',
      path: `/v1/cluster/${change}`,
      operationId: change,
      request: { headers: z.object(timeout), body: { content: json(refs.ClusterChange) as never } },
      responses: {
        200: { description: 'The change has begun', content: json(refs.ClusterChanged) },
        ...failures(400, 413, 415, 503),
      },
    });
  add({
    method: 'get',
    path: '/healthz',
    operationId: 'health',
    responses: { 200: { description: 'The process serves', content: json(refs.Health) } },
  });
  add({
    method: 'get',
    path: '/readyz',
    operationId: 'ready',
    responses: { 200: { description: 'The node serves', content: json(refs.Health) }, ...failures(503) },
  });
  add({
    method: 'get',
    path: '/metrics',
    operationId: 'metrics',
    responses: {
      200: {
        description: 'Prometheus text or OpenMetrics',
        content: { 'text/plain': { schema: { type: 'string' } } },
      },
    },
  });

  return new OpenApiGeneratorV31(registry.definitions).generateDocument({
    openapi: '3.1.0',
    info: {
      title: 'RingKV',
      version: release,
      description: 'docs/http-api.md says what this document cannot.',
      license: { name: 'Apache-2.0', identifier: 'Apache-2.0' },
    },
    servers: [{ url: 'http://127.0.0.1:8080' }],
  });
}
