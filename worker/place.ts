// The way to an account's object, wherever it lives. Every path that may create it comes through here, so that it is created
// near its users and not near whoever happened to come first. A jurisdiction that the platform does not have is an error.
import { accountObjectName } from './env.ts';
import { jurisdictions, locationHints, type Place } from '../protocol/place.ts';
import type { Account } from './account/account.ts';

export function accountObject(
  namespace: DurableObjectNamespace<Account>,
  accountId: string,
  place: Place,
): DurableObjectStub<Account> {
  const name = accountObjectName(accountId);
  const jurisdiction = jurisdictions.find((known) => known === place);
  if (jurisdiction !== undefined) return namespace.jurisdiction(jurisdiction).getByName(name);
  const locationHint = locationHints.find((known) => known === place);
  return namespace.getByName(name, locationHint === undefined ? {} : { locationHint });
}
