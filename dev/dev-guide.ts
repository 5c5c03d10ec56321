// What `npm run dev` says once it is up: where everything is, and what to try.
import { spareExternalId } from './dev-account.ts';
import type { DevAccount } from './dev-account.ts';

export type GuideOptions = {
  readonly databaseUrl: string;
  readonly workerUrl: string;
  readonly healthUrl: string;
  readonly account: DevAccount;
};

/** Any 32 bytes in base64. */
const examplePublicKey = `${'A'.repeat(43)}=`;

/** Several lines, the first of which is `drawbridge ready`. */
export function guide({ databaseUrl, workerUrl, healthUrl, account }: GuideOptions): string {
  const { accountId, actorId, groupId, policyId, resourceId } = account;
  return `drawbridge ready

  worker      ${workerUrl}
  database    ${databaseUrl}
  replicator  ${healthUrl}/readyz

Edit, and watch the frames below:

  psql '${databaseUrl}'
  delete from policies where id = '${policyId}';
  insert into policies (id, account_id, actor_group_id, resource_id) values ('${policyId}', '${accountId}', '${groupId}', '${resourceId}');
  delete from actor_group_memberships where actor_id = '${actorId}' and group_id = '${groupId}';
  delete from relay_groups where account_id = '${accountId}';

Connect something of your own:

  client token   ${account.client.token}
  gateway token  ${account.gateway.token}
  relay token    ${account.relay.token}
  a client's URL, for a WebSocket program (${spareExternalId} is a device that nothing here uses)
  ${socketUrl(workerUrl, account.client.token)}
  the same for curl, which is admitted with 101
  curl --include --no-buffer --max-time 5 --http1.1 --header 'Connection: Upgrade' --header 'Upgrade: websocket' --header 'Sec-WebSocket-Version: 13' --header 'Sec-WebSocket-Key: ZHJhd2JyaWRnZSBkZXY=' '${socketUrl(workerUrl, account.client.token).replace(/^ws/, 'http')}'

Ctrl-C stops everything.
`;
}

function socketUrl(workerUrl: string, token: string): string {
  const url = new URL('/client/websocket', workerUrl.replace(/^http/, 'ws'));
  url.search = new URLSearchParams({
    token,
    external_id: spareExternalId,
    name: 'spare',
    public_key: examplePublicKey,
  }).toString();
  return url.href;
}
