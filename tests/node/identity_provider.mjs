// A certified OpenID Connect provider on loopback, until its input ends; prints a line when it listens.
// usage: node identity_provider.mjs PORT CLIENT SECRET ADDRESS_OF_THE_CONSOLE
import { createRequire } from 'node:module';
import { pathToFileURL } from 'node:url';

const require = createRequire(process.env.BAROGRAPH_NODE_ROOT + '/');
const { Provider } = await import(pathToFileURL(require.resolve('oidc-provider')));
const [port, client, secret, console_] = process.argv.slice(2);
const people = { ann: ['Ann', ['ops']], vera: ['Vera', ['guests']], eve: ['Eve', []] };

const provider = new Provider(`http://127.0.0.1:${port}`, {
  clients: [{
    client_id: client,
    client_secret: secret,
    redirect_uris: [`${console_}/login/oidc/callback`],
    post_logout_redirect_uris: [`${console_}/login`],
  }],
  scopes: ['openid', 'profile', 'email', 'groups'],
  claims: { openid: ['sub'], profile: ['preferred_username', 'groups'] },
  pkce: { required: () => true, methods: ['S256'] },
  cookies: { keys: ['a key of this test'] },
  findAccount: (_context, id) => ({
    accountId: id,
    claims: () => ({ sub: id, preferred_username: people[id]?.[0] ?? id, groups: people[id]?.[1] ?? [] }),
  }),
});
provider.listen(Number(port), '127.0.0.1', () => console.log('listening'));
process.stdin.resume().on('end', () => process.exit(0));
