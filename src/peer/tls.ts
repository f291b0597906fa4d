/**
 * Mutual TLS between nodes: TLS 1.3, both sides show a certificate of the cluster's CA, and it names the cluster. Host names
 * are not compared: every node is client and server, and addresses change; who a node is, its certificate and hello tell.
 *
 * A certificate carries the subject alternative name (URI) `ringkv://CLUSTER` or `ringkv://CLUSTER/NODE-ID`, CLUSTER in
 * percent-encoding. The first lets any node of the cluster use it, the second binds it to one node id. Without either the
 * connection is refused: one CA may serve several clusters, and none of their nodes gets into another.
 *
 * Both sides let the handshake of TLS end whatever certificate came, and refuse then (connection.ts): TLS itself would not tell the
 * other side why. Nothing that such a peer says is read, and it is told nothing but that reason.
 */
import { createPrivateKey, type KeyObject, X509Certificate } from 'node:crypto';
import { createSecureContext, type SecureContextOptions, type TLSSocket } from 'node:tls';
import { ConfigurationError } from '../base/errors.ts';
import { certificatesOf, checkKeyBlocks } from './pem.ts';

/** Contents of PEM files. */
export interface PeerTls {
  readonly ca: string;
  readonly cert: string;
  readonly key: string;
}

/** Throws ConfigurationError, which does not name the file, where something in it is not whole: OpenSSL would pass over it. */
export function checkPem(what: keyof PeerTls, pem: string): void {
  if (what === 'key') checkKeyBlocks(pem);
  else certificatesOf(pem);
}

/** What both sides of a connection ask for. */
export function secureOptions({ ca, cert, key }: PeerTls): SecureContextOptions {
  return { ca, cert, key, minVersion: 'TLSv1.3' };
}

/** The URI names of a certificate. Node quotes a name with characters that could be taken for a separator: none of ours has any. */
function uriNames(certificate: X509Certificate): string[] {
  return (certificate.subjectAltName ?? '')
    .split(', ')
    .filter((name) => name.startsWith('URI:'))
    .map((name) => name.slice('URI:'.length));
}

const TRUST_FAULTS: Readonly<Record<string, string>> = {
  CERT_HAS_EXPIRED: 'has expired',
  CERT_NOT_YET_VALID: 'is not valid yet',
  INVALID_PURPOSE: 'lacks serverAuth or clientAuth among its extended key usages',
  DEPTH_ZERO_SELF_SIGNED_CERT: 'is not signed by a CA of this node',
  SELF_SIGNED_CERT_IN_CHAIN: 'is not signed by a CA of this node',
  UNABLE_TO_GET_ISSUER_CERT: 'is not signed by a CA of this node',
  UNABLE_TO_GET_ISSUER_CERT_LOCALLY: 'is not signed by a CA of this node',
  UNABLE_TO_VERIFY_LEAF_SIGNATURE: 'is not signed by a CA of this node',
};

/** Why the certificate that came over `socket` is not to be trusted, or ''. */
export function trustFault(socket: TLSSocket, certificate: X509Certificate | undefined): string {
  if (socket.authorized) return '';
  if (certificate === undefined) return 'the peer showed no certificate';
  // A string, whatever the types say.
  const code = String(socket.authorizationError);
  const { validFrom, validTo } = certificate;
  return `the certificate of the peer ${TRUST_FAULTS[code] ?? 'cannot be verified'} (${code}; valid from ${validFrom} to ${validTo})`;
}

/** Whether these bytes, the first from the other end, are a record of TLS: a handshake or an alert. */
export function isTls(bytes: Uint8Array): boolean {
  return (bytes[0] === 0x15 || bytes[0] === 0x16) && bytes[1] === 0x03;
}

/** Extended key usages of RFC 5280, 4.2.1.12. Every node is server and client; OpenSSL does not take anyExtendedKeyUsage for them. */
const USAGES = { serverAuth: '1.3.6.1.5.5.7.3.1', clientAuth: '1.3.6.1.5.5.7.3.2' };

/**
 * Throws ConfigurationError where a file holds not what it should, where key and certificate do not belong together, where OpenSSL will
 * not use them (a key that is too short, a signature by SHA-1, a further certificate that is cut off), or where other nodes would refuse the
 * certificate for its names or its extended key usages.
 */
export function checkTls(tls: PeerTls, clusterName: string, nodeId: string): void {
  const { ca, cert, key } = tls;
  const certificate = parsed('peer-tls-cert', 'no certificate in PEM', () => new X509Certificate(cert));
  parsed('peer-tls-ca', 'no certificate in PEM', () => new X509Certificate(ca));
  const secret = parsed<KeyObject>('peer-tls-key', 'no private key in PEM without a passphrase', () =>
    createPrivateKey(key),
  );
  if (!certificate.checkPrivateKey(secret))
    throw new ConfigurationError(
      `peer-tls-key is not the key of the certificate in peer-tls-cert (${certificate.subject.slice(0, 200)})`,
    );
  // What throws here would otherwise throw where the first connection is made, or in the midst of a renewal, and end the node.
  try {
    createSecureContext(secureOptions(tls));
  } catch (cause) {
    throw new ConfigurationError(
      `peer-tls-cert, peer-tls-key and peer-tls-ca: TLS cannot use them: ${(cause as Error).message.slice(0, 200)}`,
      { cause },
    );
  }
  const fault = certificateFault(certificate, clusterName, nodeId) || usageFault(certificate);
  if (fault !== '')
    throw new ConfigurationError(`peer-tls-cert: other nodes would refuse this node: ${fault}`);
}

/** One without extended key usages is good for all. */
function usageFault({ keyUsage }: X509Certificate): string {
  // Undefined where there are none, whatever the types say.
  const usages: readonly string[] | undefined = keyUsage;
  const lacking = Object.entries(USAGES).filter(([, oid]) => usages?.includes(oid) === false);
  return lacking.length === 0
    ? ''
    : `its certificate lacks ${lacking.map(([name]) => name).join(' and ')} among its extended key usages`;
}

/** Until when the certificate of a node is good: milliseconds since 1970. Throws where it is none. */
export const validUntilMs = ({ cert }: PeerTls): number => Date.parse(new X509Certificate(cert).validTo);

/**
 * What a running node asks of files that are to take the place of those in use, beside checkTls: that the certificate is within its
 * time, and signed by a root of the file of CAs, perhaps by way of others in either file. Throws ConfigurationError.
 */
export function checkRenewal(tls: PeerTls, clusterName: string, nodeId: string, nowMs: number): void {
  checkTls(tls, clusterName, nodeId);
  const [own, ...between] = certificatesOf(tls.cert);
  const trusted = certificatesOf(tls.ca).filter((one) => isInTime(one, nowMs));
  const { validFrom, validTo } = own;
  if (!isInTime(own, nowMs))
    throw new ConfigurationError(
      `peer-tls-cert: the certificate ${Date.parse(validTo) <= nowMs ? 'has expired' : 'is not valid yet'}: it is valid from ${validFrom} to ${validTo}`,
    );
  // As OpenSSL does it: by way of any of them, up to a root in the file of CAs. One in between that is trusted does not end the way.
  const fresh = between.filter((one) => isInTime(one, nowMs));
  const way = new Set([own]);
  for (const last of way) {
    if (trusted.includes(last) && isSignedBy(last, last)) return;
    for (const one of [...trusted, ...fresh]) if (!way.has(one) && isSignedBy(last, one)) way.add(one);
  }
  throw new ConfigurationError(
    `peer-tls-cert: the certificate is not signed by a CA in peer-tls-ca that is valid now (issuer ${own.issuer.slice(0, 200)}), up to a root that signs itself`,
  );
}

const isInTime = ({ validFrom, validTo }: X509Certificate, nowMs: number): boolean =>
  Date.parse(validFrom) <= nowMs && nowMs < Date.parse(validTo);
const isSignedBy = (one: X509Certificate, by: X509Certificate): boolean =>
  one.checkIssued(by) && one.verify(by.publicKey);

function parsed<T>(setting: string, what: string, parse: () => T): T {
  try {
    return parse();
  } catch (cause) {
    throw new ConfigurationError(`${setting}: the file holds ${what}`, { cause });
  }
}

/** What is wrong with the names of a peer's certificate, or ''. `nodeId` is '' while the hello has not come. */
export function certificateFault(
  certificate: X509Certificate | undefined,
  clusterName: string,
  nodeId: string,
): string {
  if (certificate === undefined) return 'the peer showed no certificate';
  const cluster = `ringkv://${encodeURIComponent(clusterName)}`;
  const names = uriNames(certificate);
  const own = names.filter((name) => name === cluster || name.startsWith(`${cluster}/`));
  if (own.length === 0)
    return `the certificate of the peer has no name ${cluster} (URI); it has ${certificate.subjectAltName?.slice(0, 200) ?? 'none'}`;
  if (nodeId === '' || own.includes(cluster) || own.includes(`${cluster}/${nodeId}`)) return '';
  return `the certificate of the peer is for ${own.join(' and ').slice(0, 200)}, and its node id is ${nodeId}`;
}
