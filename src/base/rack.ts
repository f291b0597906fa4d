/** Where a node stands, as operators write it: one rule for `serve`, `reweigh` and requests over HTTP. */

/** RACK or ZONE/RACK. Rings keep names of up to limits.ringNameBytesMax bytes. */
export const RACK = /^[A-Za-z0-9_.-]{1,64}(\/[A-Za-z0-9_.-]{1,64})?$/;
export const RACK_TEXT =
  'RACK or ZONE/RACK of letters, digits, dots, dashes and underscores, at most 64 each';
