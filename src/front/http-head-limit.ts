/**
 * uWebSockets.js reads the longest head that it takes from the environment when its binary is loaded: 4 KiB unless
 * told, while a key of 1,024 bytes takes 3 KiB of a URL alone. A worker thread's `process.env` is a copy that the
 * binary does not see, so this is called on the main thread before the first front end starts.
 */
import { limits } from '../base/limits.ts';

const NAME = 'UWS_HTTP_MAX_HEADERS_SIZE';

/** Longest request line and headers, bytes, with room for a key of `keyBytesMax` with every byte escaped. */
export const headBytesMax = (keyBytesMax: number): number => 3 * keyBytesMax + limits.httpHeadBytesBase;

/** Must come before `startFront` in this process is first called, on the main thread. */
export function setHeadLimit(keyBytesMax: number): void {
  process.env[NAME] = String(headBytesMax(keyBytesMax));
}
