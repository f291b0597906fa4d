/**
 * Files in PEM (RFC 7468), read more strictly than OpenSSL does, which takes what it can read of a file of CAs and passes over the rest
 * without a word: a list that was cut off in its second certificate would leave a node that refuses others, and says nothing. Pure.
 *
 * Text around the blocks is allowed, and blocks of other kinds: one file may hold certificate and key. What is allowed nowhere is half a
 * block. Faults name the block by its number in the file and its lines, from 1.
 */
import { X509Certificate } from 'node:crypto';
import { ConfigurationError } from '../base/errors.ts';
import { limits } from '../base/limits.ts';

interface Block {
  /** As it stands between BEGIN or END and the dashes. */
  readonly label: string;
  /** The lines from BEGIN to END. */
  readonly text: string;
  /** Which block of which lines, for faults. */
  readonly name: string;
}

const EDGE = /^-----(BEGIN|END) ([^-]+)-----$/;
/** PEM has no other lines that begin so, also not behind blanks, where OpenSSL passes over them. */
const LIKE_EDGE = /^\s*-----\s*[A-Za-z]/;
/** A last line of dashes alone is the beginning of one. */
const DASHES = /^-{1,5}$/;
const LABELS_OF_CERTIFICATES = ['CERTIFICATE', 'X509 CERTIFICATE'];
const SHOWN_CHARACTERS = 60;

/** Throws ConfigurationError. */
function blocksOf(pem: string): Block[] {
  const blocks: Block[] = [];
  const lines = pem.split('\n').map((line) => line.trimEnd());
  let label = '';
  let first = 0;
  const nameOf = (): string => `block ${blocks.length + 1} (${label}, from line ${first + 1})`;
  for (const [at, line] of lines.entries()) {
    const [, edge = '', named = ''] = EDGE.exec(line) ?? [];
    const isLast = at === lines.length - 1;
    if (edge === 'BEGIN') {
      if (label !== '') throw cutOff(nameOf(), `the next one begins on line ${at + 1}`);
      label = named;
      first = at;
    } else if (edge === 'END') {
      if (label === '')
        throw new ConfigurationError(`line ${at + 1} ends a block (${named}) that does not begin`);
      if (named !== label) throw cutOff(nameOf(), `line ${at + 1} ends a block of another kind (${named})`);
      blocks.push({
        label,
        text: lines.slice(first, at + 1).join('\n'),
        name: `block ${blocks.length + 1} (${label}, lines ${first + 1} to ${at + 1})`,
      });
      label = '';
    } else if (label === '' && (LIKE_EDGE.test(line) || (isLast && DASHES.test(line))))
      throw new ConfigurationError(
        `line ${at + 1} is neither the beginning nor the end of a block, and looks like one: ${line.slice(0, SHOWN_CHARACTERS)}`,
      );
  }
  if (label !== '') throw cutOff(nameOf(), 'the file ends in it');
  return blocks;
}
const cutOff = (block: string, why: string): ConfigurationError =>
  new ConfigurationError(`${block} is cut off: ${why}`);

/** The certificates of a file, in their order. Throws ConfigurationError where one of them is none, where there is none, or too many. */
export function certificatesOf(pem: string): [X509Certificate, ...X509Certificate[]] {
  const certificates: X509Certificate[] = [];
  for (const { label, text, name } of blocksOf(pem)) {
    if (!LABELS_OF_CERTIFICATES.includes(label)) continue;
    if (certificates.length === limits.pemCertificatesMax)
      throw new ConfigurationError(
        `${name} is one certificate too many: the limit is ${limits.pemCertificatesMax} in a file`,
      );
    try {
      certificates.push(new X509Certificate(text));
    } catch (cause) {
      throw new ConfigurationError(`${name} is no certificate: ${(cause as Error).message.slice(0, 200)}`, {
        cause,
      });
    }
  }
  const [first, ...others] = certificates;
  if (first === undefined) throw new ConfigurationError('the file holds no certificate in PEM');
  return [first, ...others];
}

/** Throws ConfigurationError where a block of the file is not whole, or none is a private key. */
export function checkKeyBlocks(pem: string): void {
  if (!blocksOf(pem).some(({ label }) => label.endsWith('PRIVATE KEY')))
    throw new ConfigurationError('the file holds no private key in PEM');
}
