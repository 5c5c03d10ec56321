// The part of docs/protocol.md that says how a connection begins and ends: every answer to a connect and every close, with what it
// means and what the device does then.
import { closeCauses, closes, refusalCodes, refusalOf } from '../protocol/reasons.ts';
import type { CloseCause, RefusalCode } from '../protocol/reasons.ts';

const refusedWhen: Readonly<Record<RefusalCode, string>> = {
  invalid_connect_params: 'a parameter is missing, too long or not what it should be: `detail` names it',
  invalid_token:
    'the token is forged, deleted, expired, of another type, of another deployment, or does not fit its row',
  missing_token: 'there is no token',
  token_not_known_yet: "the token's row has not arrived within 3 s",
  account_not_ready: "the account's rows have not arrived within 3 s",
  row_unreadable: 'the row of the account or of the token has a value that cannot be read: `status` names it',
  account_disabled: 'the account is disabled',
  actor_disabled: 'the actor of the token is disabled',
  provider_disabled: "the provider of the token's identity is disabled",
  held: 'an operator holds the device or its actor',
  registration_refused:
    'the device has no row and cannot have one now: Postgres has just refused it, the rows are stale, or no room is left',
  account_too_large: 'the account has 11,000 clients and gateways connected, or 2,000 connections of relays',
  superseded: 'a newer connection of the device is in place',
  device_cloned:
    "other keys have taken the device's connection five times within a minute: programs share an `external_id`",
  too_many_connects:
    'connects came faster than 5 at once and then 1 a second for one token at one address, or 20 a second for one address',
  unavailable: 'a fault of ours, or the account cannot be reached',
  unknown_path: 'the path is none of the sockets: the API URL of the program is wrong, or it is newer than this',
  upgrade_required: 'the request is no WebSocket upgrade',
};

const closedWhen: Readonly<Record<CloseCause, string>> = {
  token_gone: "the token's row was deleted, or it has expired",
  device_gone: "the device's row was deleted",
  unreadable: 'the row of the account, the token or the device has a value that cannot be read: `status` names it',
  superseded: 'a newer connection of the device took over',
  address_taken: 'a relay whose address or secret another one has under another token',
  moved: 'the device or its token belongs to another site or actor now, or another row has taken its key or address',
  disabled: 'the account, the actor or the provider was disabled',
  held: 'an operator holds the device or its actor',
  internal_error: 'a message could not be handled, by a fault of ours',
  restart: "the account's object was away for 30 s",
  silent:
    'nothing came from the device for 37 s; from a client of generation A, or of an unknown program, for 307 s; from a relay for 41 s',
  left: 'the device said `phx_leave`, or closed its socket',
  too_large: 'a frame that is no text, or of more than 65,536 characters',
  malformed: 'more than ten frames that cannot be read',
  too_fast:
    'more than 100 frames a second beyond a burst of 1,000; a gateway 1,000 beyond 5,000, a relay 5 beyond 50; or more than one join in 10 s beyond a burst of 5',
  unread: "4 MiB were sent since the device's last frame, to a gateway 32 MiB",
  recycled: 'the connection is 12 hours old, give or take a tenth, or as old as two versions of the link',
  overloaded:
    "the device sent more than 32 frames or 64 KiB while its account's object was away; or the account has the 1,000 relays that it may have",
};

export function outcomes(): string[] {
  return [
    '## How a connect is answered',
    'A refusal is `application/problem+json` with `code` and `detail`. `Retry-After` is spread over half of its length beyond what stands here. Programs read a refusal differently: those of A exit on any status from 400 to 499, C and B on 401 alone. Relays, whose generations cannot be told apart, and programs that do not say what they are count as A. So what may pass is never told to these with such a status: their 403 is 503. C and B take `Retry-After` as their delay, and wait as often as they are told to; without it, as where the address cannot be reached or what stands before the worker answers, one that has never joined gives up after 15 s. A has delays of its own; its gateways and relays give up after 15 minutes, its clients never.',
    [
      '| status | `code` | when | `Retry-After` | does the device come back |',
      '| --- | --- | --- | --- | --- |',
      "| 101 | | the account's object admitted the session | | |",
      ...refusalCodes.map(refusalRow),
    ].join('\n'),
    '## How a connection ends',
    'After a close every generation connects again, with its own backoff. `disconnect` with the reason `token_expired` makes it forget its token and exit: it is sent, before the close, only where the token or the device is gone. An edge whose object refuses the device meanwhile with a status below 500 closes with 1000 and the words of the refusal, on 401 after a `disconnect`. What is no WebSocket frame is closed by the runtime, with 1002, and a message above 32 MiB with 1009. A connection that is lost without a close, as with the network or the isolate that holds it, is to every generation like a close.',
    [
      '| code | reason | when | does the device come back |',
      '| --- | --- | --- | --- |',
      ...closeCauses.map(closeRow),
    ].join('\n'),
  ];
}

function refusalRow(of: RefusalCode): string {
  const { code, retryAfterSeconds, status } = refusalOf(of);
  const wait = retryAfterSeconds === null ? '' : `${retryAfterSeconds} s`;
  return `| ${status} | \`${code}\` | ${refusedWhen[of]} | ${wait} | ${returnAfter(status)} |`;
}

function returnAfter(status: number): string {
  if (status === 401) return 'no: it exits';
  if (status === 403) return 'yes: A and relays are answered 503';
  return status < 500 ? 'C and B' : 'yes';
}

function closeRow(cause: CloseCause): string {
  const { code, reason, signOut } = closes[cause];
  const back = cause === 'left' ? 'as it likes' : signOut ? 'no: `disconnect` comes first, and it exits' : 'yes';
  return `| ${code} | ${reason} | ${closedWhen[cause]} | ${back} |`;
}
