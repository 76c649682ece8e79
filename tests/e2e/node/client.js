// What a service in Node.js does with its secrets: node-vault against the development server whose URL and token are given.
'use strict';

const assert = require('node:assert/strict');
const vault = require('node-vault');

const [endpoint, rootToken] = process.argv.slice(2);
const open = (token, more = {}) => vault({ endpoint, token, ...more });
const POLICY = 'path "secret/data/app/*" { capabilities = ["create", "read", "update", "patch"] }';
const SECRET = Buffer.from('a secret').toString('base64');

/** The promise must fail with this status. */
async function refused(status, promise) {
  const error = await promise.then(() => null, (error) => error);
  assert.equal(error?.response?.statusCode, status, error?.message ?? 'it was not refused');
  return error;
}

async function secrets(root) {
  const written = await root.write('secret/data/app/db', { data: { user: 'u', password: 'p' } });
  assert.equal(written.data.version, 1);
  await refused(400, root.write('secret/data/app/db', { options: { cas: 7 }, data: { user: 'x' } }));
  await root.update('secret/data/app/db', { data: { more: 'x' } });
  const read = await root.read('secret/data/app/db');
  assert.deepEqual(read.data.data, { user: 'u', password: 'p', more: 'x' });
  assert.deepEqual((await root.list('secret/metadata/app')).data.keys, ['db']);
  const plainVerbs = open(rootToken, { noCustomHTTPVerbs: true });
  assert.deepEqual((await plainVerbs.list('secret/metadata/app')).data.keys, ['db']);
  await root.delete('secret/data/app/db');
  await refused(404, root.read('secret/data/app/db'));
  await root.write('secret/undelete/app/db', { versions: [2] });
  await refused(404, root.read('secret/data/none'));
}

async function login(root) {
  await root.addPolicy({ name: 'app', policy: POLICY });
  assert.ok((await root.policies()).policies.includes('app'));
  await root.enableAuth({ mount_point: 'approle', type: 'approle', description: 'programs' });
  assert.ok((await root.auths())['approle/']);
  await root.addApproleRole({ role_name: 'web', token_policies: 'app', token_ttl: 1200, policies: 'app' });
  assert.deepEqual((await root.approleRoles()).data.keys, ['web']);
  const role = (await root.getApproleRoleId({ role_name: 'web' })).data.role_id;
  const secret = (await root.getApproleRoleSecret({ role_name: 'web', metadata: '{"team": "red"}' })).data.secret_id;
  const web = open();
  const { auth } = await web.approleLogin({ role_id: role, secret_id: secret });
  assert.equal(auth.metadata.team, 'red');
  assert.equal(web.token, auth.client_token);
  assert.equal((await web.read('secret/data/app/db')).data.data.user, 'u');
  await refused(403, web.read('secret/data/other'));
  await refused(400, open().approleLogin({ role_id: role, secret_id: 'wrong' }));
  assert.equal((await web.tokenRenewSelf({ increment: 300 })).auth.lease_duration, 300);
  assert.ok((await web.tokenLookupSelf()).data.policies.includes('app'));
  await web.tokenRevokeSelf();
  await refused(403, web.tokenLookupSelf());
  await root.enableAuth({ mount_point: 'userpass', type: 'userpass' });
  await root.write('auth/userpass/users/ann', { password: 'pw', token_policies: 'app' });
  const ann = open();
  assert.equal((await ann.userpassLogin({ username: 'ann', password: 'pw' })).auth.metadata.username, 'ann');
  await refused(400, open().userpassLogin({ username: 'ann', password: 'wrong' }));
}

async function wrapping(root) {
  const wrapped = await root.read('secret/data/app/db', { headers: { 'X-Vault-Wrap-TTL': '60s' } });
  const { token } = wrapped.wrap_info;
  assert.equal((await root.unwrap({ token })).data.data.user, 'u');
  await refused(400, root.unwrap({ token }));
  const own = await root.write('sys/wrapping/wrap', { a: 'b' }, { headers: { 'X-Vault-Wrap-TTL': '60s' } });
  assert.deepEqual((await open(own.wrap_info.token).unwrap()).data, { a: 'b' });
}

async function transit(root) {
  await root.mount({ mount_point: 'transit', type: 'transit' });
  assert.ok((await root.mounts())['transit/']);
  await root.transitCreateKey({ name: 'data' });
  const { ciphertext } = (await root.encryptData({ name: 'data', plaintext: SECRET })).data;
  assert.equal((await root.decryptData({ name: 'data', ciphertext })).data.plaintext, SECRET);
  await root.write('transit/keys/data/rotate', {});
  const moved = (await root.rewrapData({ name: 'data', ciphertext })).data.ciphertext;
  assert.ok(moved.startsWith('vault:v2:'));
  await root.transitCreateKey({ name: 'signer', type: 'ed25519' });
  const { signature } = (await root.write('transit/sign/signer', { input: SECRET })).data;
  assert.equal((await root.write('transit/verify/signer', { input: SECRET, signature })).data.valid, true);
  assert.deepEqual((await root.transitListKeys()).data.keys, ['data', 'signer']);
  await refused(400, root.decryptData({ name: 'data', ciphertext: 'nonsense' }));
}

async function leases(root) {
  await root.mount({ mount_point: 'ssh', type: 'ssh' });
  await root.write('ssh/roles/once', { key_type: 'otp', default_user: 'ann', cidr_list: '127.0.0.0/8' });
  const given = await root.write('ssh/creds/once', { ip: '127.0.0.1' });
  assert.equal((await root.write('sys/leases/lookup', { lease_id: given.lease_id })).data.id, given.lease_id);
  await refused(400, root.renew({ lease_id: given.lease_id }));
  await root.revoke({ lease_id: given.lease_id });
  await refused(400, root.write('ssh/verify', { otp: given.data.key }));
  await root.write('ssh/creds/once', { ip: '127.0.0.1' });
  await root.revokePrefix({ path_prefix: 'ssh/creds' });
  await refused(404, root.list('sys/leases/lookup/ssh/creds/once'));
}

async function identity(root) {
  const { id } = (await root.write('identity/entity', { name: 'ann', metadata: { team: 'red' } })).data;
  const { accessor } = (await root.auths())['userpass/'];
  await root.write('identity/lookup/entity', { alias_name: 'ann', alias_mount_accessor: accessor });
  const group = (await root.write('identity/group', { name: 'ops', member_entity_ids: [id] })).data.id;
  assert.deepEqual((await root.read('identity/entity/name/ann')).data.group_ids, [group]);
  assert.deepEqual((await root.list('identity/group/name')).data.keys, ['ops']);
}

async function namespace(root) {
  await root.write('sys/namespaces/team', {});
  const team = open(rootToken, { namespace: 'team' });
  await team.mount({ mount_point: 'own', type: 'kv', options: { version: '1' } });
  await team.write('own/db', { password: 'p' });
  assert.equal((await team.read('own/db')).data.password, 'p');
  assert.equal((await root.read('team/own/db')).data.password, 'p');
  await refused(404, root.read('own/db'));
}

async function main() {
  const root = open(rootToken);
  assert.equal((await root.health()).sealed, false);
  assert.equal((await root.status()).initialized, true);
  for (const scenario of [secrets, login, wrapping, transit, leases, identity, namespace]) await scenario(root);
  await root.rotate();
  console.log('all of it');
}

main().catch((error) => {
  console.error(error, error.response?.body);
  process.exitCode = 1;
});
