// The keys that get.lua reads, put over HTTP.
import { Pool } from 'undici';
import { drive, keyOf, makeValues } from './workload.mjs';

const KEYS = 10_000;

/** Throws where an answer is not 204. */
export async function fillHttp(url) {
  const pool = new Pool(url, { connections: 16 });
  const values = makeValues();
  const headers = { 'content-type': 'application/octet-stream' };
  const put = async (index) => {
    const path = `/v1/kv/${keyOf(index)}`;
    const answer = await pool.request({ method: 'PUT', path, headers, body: values[index % values.length] });
    await answer.body.dump();
    if (answer.statusCode !== 204) throw new Error(`PUT ${path}: ${answer.statusCode}`);
  };
  await drive(put, { inFlight: 64, count: KEYS });
  await pool.close();
}
