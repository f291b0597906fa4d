/** The transport that a run asks for. */
import type { ThreadData } from '../generator/thread-protocol.ts';
import { EtcdDialect } from '../peers/etcd-dialect.ts';
import { RedisTransport } from '../peers/redis.ts';
import type { Values } from '../values.ts';
import { EmbeddedTransport } from './embedded.ts';
import { HttpTransport } from './http.ts';
import { JsonDialect, RawDialect } from './http-dialects.ts';
import type { Transport } from './transport.ts';
import { WsTransport } from './ws.ts';

export function transportOf(data: ThreadData, values: Values): Transport {
  const { transport, urls, query, options, apart } = data;
  const { writer } = options;
  switch (transport) {
    case 'http-raw':
      return new HttpTransport(urls, new RawDialect(values, writer, query), query);
    case 'http-json':
      return new HttpTransport(
        urls,
        new JsonDialect(values, writer, query, options.workload.valueBytes.max),
        query,
      );
    case 'ws':
      return new WsTransport(urls, { values, writer, query }, options.workload.valueBytes.max, apart);
    case 'redis':
      return new RedisTransport(urls, values, writer);
    case 'etcd':
      return new HttpTransport(urls, new EtcdDialect(values, writer, options.workload.valueBytes.max), '');
    case 'embedded':
      return new EmbeddedTransport(values, writer, data.directory, data.settings);
  }
}
