// An authorization server (oidc-provider) for the test of OAuth2 client credentials: one client, tokens that
// live for 4 seconds, introspection (RFC 7662).
import { createRequire } from 'node:module';
import { pathToFileURL } from 'node:url';

const [modules, port] = process.argv.slice(2);
const found = createRequire(pathToFileURL(`${modules}/x.js`)).resolve('oidc-provider');
const { default: Provider } = await import(pathToFileURL(found));

const provider = new Provider(`http://127.0.0.1:${port}`, {
  clients: [{
    client_id: 'plant-7',
    client_secret: 's3cret-of-the-client',
    grant_types: ['client_credentials'],
    redirect_uris: [],
    response_types: [],
    token_endpoint_auth_method: 'client_secret_basic',
  }],
  features: {
    clientCredentials: { enabled: true },
    introspection: { enabled: true, allowedPolicy: () => true },
    devInteractions: { enabled: false },
  },
  ttl: { ClientCredentials: 4 },
});
provider.listen(Number(port), '127.0.0.1');
