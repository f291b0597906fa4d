/**
 * Mutual TLS between nodes: TLS 1.3, both sides show a certificate of the cluster's CA, and it names the cluster. Host names
 * are not compared: every node is client and server, and addresses change; who a node is, its certificate and hello tell.
 *
 * A certificate carries the subject alternative name (URI) `ringkv://CLUSTER` or `ringkv://CLUSTER/NODE-ID`, CLUSTER in
 * percent-encoding. The first lets any node of the cluster use it, the second binds it to one node id. Without either the
 * connection is refused: one CA may serve several clusters, and none of their nodes gets into another.
 */
import type { X509Certificate } from 'node:crypto';
import type { SecureContextOptions } from 'node:tls';

/** Contents of PEM files. */
export interface PeerTls {
  readonly ca: string;
  readonly cert: string;
  readonly key: string;
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

/** What is wrong with a peer's certificate, or ''. `nodeId` is '' while the hello has not come. */
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
