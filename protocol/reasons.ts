// Every refusal of a connection and every close: its code, what it means, the HTTP status it travels as, and whether the
// peer may try again. Every refusal but 401 says when (Retry-After): without it devices give up, with it they wait.
import type { Refusal } from './link.ts';

const refusals = {
  invalid_connect_params: { status: 400, detail: 'A parameter of the connection is wrong.', retry: 60 },
  invalid_token: { status: 401, detail: 'The token is not valid: sign in again or install a new one.', retry: null },
  missing_token: {
    status: 401,
    detail: 'A token is required: send it as `X-Authorization: Bearer <token>` or as the query parameter `token`.',
    retry: null,
  },
  token_not_known_yet: { status: 503, detail: 'The token has not reached this account yet: try again.', retry: 5 },
  account_not_ready: { status: 503, detail: 'The account is being loaded: try again.', retry: 5 },
  row_unreadable: {
    status: 503,
    detail: 'The row of the account or of the token cannot be read: ask an administrator.',
    retry: 60,
  },
  account_disabled: { status: 403, detail: 'The account is disabled: ask its administrator.', retry: 60 },
  actor_disabled: { status: 403, detail: 'The actor of this token is disabled: ask an administrator.', retry: 60 },
  provider_disabled: {
    status: 403,
    detail: 'The identity provider of this token is disabled: ask an administrator.',
    retry: 60,
  },
  held: { status: 403, detail: 'An operator has cut this device or its owner off: ask them.', retry: 60 },
  registration_refused: {
    status: 503,
    detail: 'The device cannot be registered now, as after the database has refused it: try again.',
    retry: 30,
  },
  account_too_large: {
    status: 503,
    detail: 'The account has as many devices connected as it may: try again later.',
    retry: 60,
  },
  superseded: { status: 503, detail: 'A newer connection of the same device is in place.', retry: 60 },
  device_cloned: {
    status: 503,
    detail: 'Several devices connect with the same external_id by turns: give each its own.',
    retry: 60,
  },
  too_many_connects: { status: 503, detail: 'Too many connects from this address: connect later.', retry: 1 },
  unavailable: { status: 503, detail: 'The service could not answer: try again.', retry: 5 },
  unknown_path: { status: 404, detail: 'Nothing is at this address: is the API URL right?', retry: 60 },
  upgrade_required: { status: 426, detail: 'This address speaks WebSocket: send an upgrade request.', retry: 60 },
} as const satisfies Record<string, { status: number; detail: string; retry: number | null }>;

export type RefusalCode = keyof typeof refusals;
export const refusalCodes = Object.keys(refusals).filter((code): code is RefusalCode => code in refusals);

/** The refusal for `code`, with its default wording. */
export function refusalOf(code: RefusalCode): Refusal {
  const { status, detail, retry } = refusals[code];
  return { status, code, detail, retryAfterSeconds: retry };
}

/**
 * Whether dialling again for a device that is connected cannot help: it is refused for what it is, or a newer connection of it
 * is in place. Any other refusal may pass.
 */
export function isFinal({ status, code }: Refusal): boolean {
  return status < 500 || code === 'superseded' || code === 'device_cloned';
}

/** Connects come faster than they may. */
export function tooManyConnects(waitSeconds: number): Refusal {
  return { ...refusalOf('too_many_connects'), retryAfterSeconds: Math.ceil(waitSeconds) };
}

/** A connection whose parameters are wrong; `detail` names the parameter and what was expected. */
export function invalidParameters(detail: string): Refusal {
  return { ...refusalOf('invalid_connect_params'), detail };
}

/**
 * Why a device's socket is closed, by the object or by the edge. `signOut` makes a device forget its
 * token, so it is reserved for a token or a device that is gone for good.
 */
export const closes = {
  token_gone: { code: 1000, reason: 'the token was deleted or has expired', signOut: true },
  device_gone: { code: 1000, reason: 'the device was deleted', signOut: true },
  unreadable: { code: 1000, reason: 'the row of the account, the token or the device cannot be read', signOut: false },
  superseded: { code: 1000, reason: 'a newer connection of the same device took over', signOut: false },
  address_taken: { code: 1013, reason: 'a relay with another token has this address or secret', signOut: false },
  moved: { code: 1000, reason: 'the device or its token belongs elsewhere', signOut: false },
  disabled: { code: 1000, reason: 'the account or the actor is disabled', signOut: false },
  held: { code: 1000, reason: 'an operator has cut the device or its owner off', signOut: false },
  internal_error: { code: 1011, reason: 'the message could not be handled', signOut: false },
  restart: { code: 1012, reason: 'the service restarts', signOut: false },
  silent: { code: 1000, reason: 'silent for too long', signOut: false },
  left: { code: 1000, reason: 'the device left', signOut: false },
  too_large: { code: 1009, reason: 'expected text frames of at most 65,536 characters', signOut: false },
  malformed: { code: 1008, reason: 'too many frames that cannot be read', signOut: false },
  too_fast: { code: 1008, reason: 'too many frames a second, or too many joins', signOut: false },
  unread: { code: 1008, reason: 'too much was sent without a sign that it is read', signOut: false },
  recycled: { code: 1012, reason: 'the connection is renewed: connect again', signOut: false },
  overloaded: { code: 1013, reason: 'more was sent than can be kept while the account is away', signOut: false },
} as const satisfies Record<string, { code: number; reason: string; signOut: boolean }>;

export type CloseCause = keyof typeof closes;
export const closeCauses = Object.keys(closes).filter((cause): cause is CloseCause => cause in closes);
