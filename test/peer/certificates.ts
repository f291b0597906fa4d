/** Certificates for tests, made as they are needed: a CA, and what it signs. */
import 'reflect-metadata';
import { webcrypto } from 'node:crypto';
import {
  BasicConstraintsExtension,
  cryptoProvider,
  ExtendedKeyUsage,
  ExtendedKeyUsageExtension,
  type Extension,
  KeyUsageFlags,
  KeyUsagesExtension,
  PemConverter,
  SubjectAlternativeNameExtension,
  X509CertificateGenerator,
} from '@peculiar/x509';
import type { PeerTls } from '../../src/peer/tls.ts';

const ALGORITHM = { name: 'ECDSA', namedCurve: 'P-256', hash: 'SHA-256' };
const DAY_MS = 86_400_000;
// The library's types are those of a browser.
cryptoProvider.set(webcrypto as never);

type KeyPair = webcrypto.CryptoKeyPair;
const newKeys = (algorithm: webcrypto.EcKeyGenParams | webcrypto.RsaHashedKeyGenParams): Promise<KeyPair> =>
  webcrypto.subtle.generateKey(algorithm, true, ['sign', 'verify']) as Promise<KeyPair>;
const rsa = (modulusLength: number): webcrypto.RsaHashedKeyGenParams => ({
  ...{ name: 'RSASSA-PKCS1-v1_5', hash: 'SHA-256', modulusLength },
  publicExponent: Uint8Array.of(1, 0, 1),
});

export interface CertificateOptions {
  /** Subject alternative names of type URI. */
  readonly uris?: readonly string[];
  /** By default from yesterday to tomorrow. */
  readonly notBefore?: Date;
  readonly notAfter?: Date;
  /** By default both that TLS knows. */
  readonly usages?: readonly ExtendedKeyUsage[];
  /** Of a key of RSA; by default it is of ECDSA. */
  readonly rsaBits?: number;
}
export const fromNow = (days: number): Date => new Date(Date.now() + days * DAY_MS);
export { ExtendedKeyUsage };

let serial = 1;

export class Authority {
  readonly pem: string;
  readonly #name: string;
  readonly #keys: KeyPair;

  private constructor(name: string, keys: KeyPair, pem: string) {
    this.#name = name;
    this.#keys = keys;
    this.pem = pem;
  }
  /** Signed by `by`, or by itself. */
  static async make(
    name = 'CN=Test CA',
    by: Authority | null = null,
    notAfter = fromNow(2),
  ): Promise<Authority> {
    const keys = await newKeys(ALGORITHM);
    const common = {
      serialNumber: `${serial++}`.padStart(2, '0'),
      notBefore: fromNow(-2),
      notAfter,
      signingAlgorithm: ALGORITHM,
      extensions: [
        new BasicConstraintsExtension(true, undefined, true),
        new KeyUsagesExtension(KeyUsageFlags.keyCertSign, true),
      ],
    };
    const certificate =
      by === null
        ? await X509CertificateGenerator.createSelfSigned({ ...common, name, keys: keys as never })
        : await X509CertificateGenerator.create({
            ...common,
            subject: name,
            issuer: by.#name,
            publicKey: keys.publicKey as never,
            signingKey: by.#keys.privateKey as never,
          });
    return new Authority(name, keys, certificate.toString('pem'));
  }

  /** What a node is given: its certificate, its key, and this CA. By default good for every node of cluster `test`. */
  async issue(options: CertificateOptions = {}): Promise<PeerTls> {
    const { uris = ['ringkv://test'], notBefore = fromNow(-1), notAfter = fromNow(1) } = options;
    const { usages = [ExtendedKeyUsage.serverAuth, ExtendedKeyUsage.clientAuth] } = options;
    const keys = await newKeys(options.rsaBits === undefined ? ALGORITHM : rsa(options.rsaBits));
    const extensions: Extension[] = [new KeyUsagesExtension(KeyUsageFlags.digitalSignature, true)];
    if (usages.length > 0) extensions.push(new ExtendedKeyUsageExtension([...usages]));
    if (uris.length > 0)
      extensions.push(new SubjectAlternativeNameExtension(uris.map((value) => ({ type: 'url', value }))));
    const certificate = await X509CertificateGenerator.create({
      serialNumber: `${serial++}`.padStart(2, '0'),
      subject: 'CN=node',
      issuer: this.#name,
      notBefore,
      notAfter,
      publicKey: keys.publicKey as never,
      signingKey: this.#keys.privateKey as never,
      signingAlgorithm: ALGORITHM,
      extensions,
    });
    const key = await webcrypto.subtle.exportKey('pkcs8', keys.privateKey);
    return {
      ca: this.pem,
      cert: certificate.toString('pem'),
      key: PemConverter.encode(key, 'PRIVATE KEY'),
    };
  }
}
