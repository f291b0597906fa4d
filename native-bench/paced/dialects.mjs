// How requests of the load look on the wire for each kind of server, and where the value is in an answer.
import { VALUE_BYTES } from './values.mjs';

const keyText = (key) => `k${String(key).padStart(9, '0')}`;

/** RingKV: raw bytes. `query` is ?consistency=... or ''. */
function ringkv({ query = '' }) {
  return {
    put(key, writeValue) {
      const head = Buffer.from(
        `PUT /v1/kv/${keyText(key)}${query} HTTP/1.1\r\nHost: l\r\nContent-Type: application/octet-stream\r\nContent-Length: ${VALUE_BYTES}\r\n\r\n`,
      );
      const request = Buffer.allocUnsafe(head.length + VALUE_BYTES);
      head.copy(request);
      writeValue(request, head.length);
      return request;
    },
    get: (key) =>
      Buffer.from(
        `GET /v1/kv/${keyText(key)}${query} HTTP/1.1\r\nHost: l\r\nAccept: application/octet-stream\r\n\r\n`,
      ),
    valueOf: (body) => body,
  };
}

/** The JSON gateway of etcd 3.4: keys and values are base64. */
function etcd({ serializable = false }) {
  const base64OfKey = (key) => Buffer.from(keyText(key)).toString('base64');
  const post = (path, body) =>
    Buffer.from(
      `POST ${path} HTTP/1.1\r\nHost: l\r\nContent-Type: application/json\r\nContent-Length: ${body.length}\r\n\r\n${body}`,
      'latin1',
    );
  const value = Buffer.alloc(VALUE_BYTES);
  const BEFORE = '"value":"';
  return {
    put(key, writeValue) {
      writeValue(value, 0);
      return post('/v3/kv/put', `{"key":"${base64OfKey(key)}","value":"${value.base64Slice()}"}`);
    },
    get: (key) =>
      post('/v3/kv/range', `{"key":"${base64OfKey(key)}"${serializable ? ',"serializable":true' : ''}}`),
    valueOf(body) {
      const before = body.indexOf(BEFORE);
      if (before < 0) return Buffer.alloc(0);
      const start = before + BEFORE.length;
      return Buffer.from(body.latin1Slice(start, body.indexOf('"', start)), 'base64');
    },
  };
}

export const dialects = { ringkv, etcd };
