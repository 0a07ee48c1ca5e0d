// npm's oidc-provider with one confidential client, whose tokens are JWTs signed by RS256: `node peer.mjs PORT PROCESSES CLIENT SECRET`.
import cluster from 'node:cluster';
import { generateKeyPairSync } from 'node:crypto';
import Provider from 'oidc-provider';

const [port, processes, id, secret] = process.argv.slice(2);

if (cluster.isPrimary) {
  const key = generateKeyPairSync('rsa', { modulusLength: 2048 }).privateKey.export({ format: 'jwk' });
  for (let started = 0; started < Number(processes); started += 1) {
    cluster.fork({ SIGNING_KEY: JSON.stringify({ ...key, alg: 'RS256', use: 'sig', kid: 'one' }) });
  }
} else {
  const resource = { scope: 'orders:read', audience: 'https://orders.example', accessTokenFormat: 'jwt', accessTokenTTL: 600,
    jwt: { sign: { alg: 'RS256' } } };
  const provider = new Provider(`http://127.0.0.1:${port}`, {
    clients: [{ client_id: id, client_secret: secret, grant_types: ['client_credentials'], redirect_uris: [], response_types: [],
      scope: 'orders:read' }],
    jwks: { keys: [JSON.parse(process.env.SIGNING_KEY)] },
    scopes: ['orders:read'],
    features: {
      clientCredentials: { enabled: true },
      devInteractions: { enabled: false },
      resourceIndicators: { enabled: true, defaultResource: () => resource.audience, getResourceServerInfo: () => resource },
    },
  });
  provider.listen(Number(port), '127.0.0.1');
}
