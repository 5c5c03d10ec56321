// A device's first connection registers it: it has a row here at once, and Postgres has it by write-back.
//
//   connect ──▶ registered ──▶ written (its transaction is known) ──▶ shown by the stream, or by a snapshot that includes it
//                   │                                                      ─▶ an ordinary row
//                   ├─▶ refused by Postgres, or a row of the stream takes its key or address: dropped, its session closed
//                   └─▶ gone: somebody deleted the row before it was shown
//
// Until it is shown, the silence of an earlier state of the database says nothing about it; after that Postgres decides.
//
// What a device that has a row says of itself anew waits in the same place, and is shown by a row with the revision under which it
// was written, or a later one: core/reconnection.ts.
import * as v from 'valibot';
import { accountOf } from './state.ts';
import { clientId } from '../protocol/ids.ts';
import { bytesToHex, hexToUuid } from './encoding.ts';
import { freeAddresses } from './addresses.ts';
import { isVisible } from '../protocol/visibility.ts';
import { noHardware } from '../protocol/link.ts';
import { nextRevision, noteDue } from './ledger.ts';
import { put, readRow, remove } from './tables.ts';
import { touch } from './touched.ts';
import { wantWinner } from './resync.ts';
import type { Effects } from './effect.ts';
import type { Env } from './env.ts';
import type { Hello } from '../protocol/link.ts';
import type { PgSnapshot } from '../protocol/visibility.ts';
import type { Registration } from '../protocol/write-back.ts';
import type { State } from './state.ts';
import type { TableName } from '../protocol/tables.ts';
import type { Tables, TypedRow } from './tables.ts';
import type { TokenRow } from '../protocol/rows.ts';
import type { Touched } from './touched.ts';
import type { WireRow } from '../protocol/commit.ts';
import type { Written } from '../protocol/write-back.ts';

/** Devices of which something is to be written, at most. */
export const registrationsMax = 20_000;

/** A device that Postgres refused is not registered again for this long, milliseconds, unless its row comes. */
const refusedMs = 30_000;

/** The constraints by which another row has the key or an address: one that this object lacks. What else refuses a device no row can mend. */
const hasWinner = /^(?:(?:clients|gateways)_account_id_(?:\w+_external_id|ipv4|ipv6)_key|network_addresses_pkey)$/;

/** Refusals remembered, at most; beyond it the oldest is forgotten. */
const refusalsMax = 1000;

/**
 * Registers the device. Returns false when it cannot be now: the rows are stale, or Postgres has just refused it, or no room is
 * left.
 */
export function register(state: State, hello: Hello, token: TokenRow, effects: Effects, env: Env): boolean {
  const { tables } = state;
  const owner = hello.role === 'client' ? token.actor_id : token.gateway_group_id;
  const account = accountOf(state);
  if (owner === null || account === null || state.stale || tables.registrations.size >= registrationsMax) return false;
  const refusal = state.refusals.get(refusalKey(owner, hello.externalId));
  if (refusal !== undefined && refusal > state.now) return false;
  const addresses = freeAddresses(tables.deviceByAddress, `${env.seed}:${hello.externalId}`, env.hashes);
  if (addresses === null) return false;
  const random = (what: string) => bytesToHex(env.hashes.sha256(`${what}:${env.seed}:${owner}:${hello.role}`));
  const id = hexToUuid(random('device'));
  const common = {
    id,
    account_id: account.id,
    external_id: hello.externalId,
    name: hello.name === null || hello.name === '' ? `${hello.role}-${id.slice(0, 5)}` : hello.name,
    ...addresses,
    psk_base: `\\x${random('psk')}`,
  };
  const isClient = hello.role === 'client';
  const row = isClient
    ? {
        ...common,
        actor_id: owner,
        identity_id: token.identity_id,
        verified_at: null,
        ...(hello.hardware ?? noHardware),
      }
    : { ...common, group_id: owner };
  const table = isClient ? 'clients' : 'gateways';
  const entry = readRow(table, row);
  if (entry === null) return false;
  put(tables, id, entry);
  effects.saves.push({ type: 'put-row', table, key: id, row });
  noteWrite(state, { table, id, row, isKnown: false, isUnverified: false }, effects);
  return true;
}

/** Something is to be written of a device; it takes the place of what was. */
export function noteWrite(
  state: State,
  write: Pick<Registration, 'table' | 'id' | 'row' | 'isKnown' | 'isUnverified'>,
  effects: Effects,
): void {
  keep(state.tables, { ...write, isRefused: false, revision: nextRevision(state), xid: null }, effects);
  noteDue(state);
}

/** What Postgres says of the devices that were written; what follows is noted in `touched`. */
export function takeWritten(
  state: State,
  sent: readonly Registration[],
  { xid, results }: Written,
  touched: Touched,
  effects: Effects,
): void {
  const { tables } = state;
  const revisions = new Map(sent.map(({ id, revision }) => [id, revision]));
  for (const { id, outcome, reason } of results) {
    const registration = tables.registrations.get(id);
    if (registration === undefined) continue;
    const isLatest = revisions.get(id) === registration.revision;
    if (outcome === 'ok') {
      state.refusals.delete(refusalKeyOf(registration));
      if (isLatest) keep(tables, { ...registration, xid }, effects);
    } else if (registration.isKnown) {
      // Somebody has deleted the row, which the stream is about to say, or it cannot be as the device says.
      if (isLatest) keep(tables, { ...registration, isRefused: true }, effects);
      if (outcome === 'refused') noteRefused(id, reason, effects);
    } else {
      if (outcome === 'refused') {
        noteRefusal(state, registration, reason, effects);
        tables.evicted.add(id);
        noteRefused(id, reason, effects);
      }
      drop(tables, registration, touched, effects);
    }
  }
}

function noteRefused(device: string, reason: string | undefined, effects: Effects): void {
  effects.notes.push({ event: 'registration_refused', device, reason: reason ?? 'unknown' });
}

/**
 * The stream, or a snapshot, has a row of the device: one that was registered here is like any other from then on, and where it has
 * the revision of what was written, or a later one, nothing is left to be. Returns whether the device was awaited.
 */
export function showRegistration(
  tables: Tables,
  id: string,
  row: WireRow,
  touched: Touched,
  effects: Effects,
): boolean {
  const registration = tables.registrations.get(id);
  if (registration === undefined) return false;
  const shown = row['edge_revision'];
  const isWritten = typeof shown === 'string' ? Number(shown) >= registration.revision : !registration.isKnown;
  if (isWritten) {
    forgetRegistration(tables, id, effects);
    // Verified or not is for the row to say from here on, which may be the same row as before.
    if (registration.isUnverified) touched.clients.add(v.parse(clientId, id));
  } else if (!registration.isKnown) keep(tables, { ...registration, isKnown: true }, effects);
  return !registration.isKnown;
}

/** The device's row is gone. */
export function forgetRegistration(tables: Tables, id: string, effects: Effects): void {
  if (tables.registrations.delete(id)) effects.saves.push({ type: 'delete-registration', id });
}

/** A row of the database takes the key or an address of devices that it does not have: they go. */
export function evictColliding(tables: Tables, entry: TypedRow, touched: Touched, effects: Effects): void {
  if (tables.registrations.size === 0) return;
  if (entry.table !== 'clients' && entry.table !== 'gateways') return;
  const { external_id: externalId, id, ipv4, ipv6 } = entry.row;
  const sameKey =
    entry.table === 'clients'
      ? tables.clientByExternalId.get(`${entry.row.actor_id}/${externalId}`)
      : tables.gatewayByExternalId.get(`${entry.row.group_id}/${externalId}`);
  for (const other of [sameKey, tables.deviceByAddress.get(ipv4), tables.deviceByAddress.get(ipv6)]) {
    const registration = other === undefined || other === id ? undefined : tables.registrations.get(other);
    if (registration === undefined || registration.isKnown) continue;
    tables.evicted.add(registration.id);
    drop(tables, registration, touched, effects);
  }
}

/** A table was emptied: what was registered in it is gone too. */
export function forgetRegistrations(tables: Tables, table: TableName, effects: Effects): void {
  for (const registration of tables.registrations.values()) {
    if (registration.table === table) forgetRegistration(tables, registration.id, effects);
  }
}

/** Adds to `keys`, the rows of a snapshot, the devices whose writing it does not include; the others have been deleted. */
export function keepUnseen(tables: Tables, keys: Set<string>, seen: PgSnapshot, effects: Effects): void {
  for (const { id, isKnown, table, xid } of tables.registrations.values()) {
    if (isKnown) continue;
    if (xid === null || !isVisible(seen, BigInt(xid))) keys.add(`${table}/${id}`);
    else forgetRegistration(tables, id, effects);
  }
}

/** In another epoch what no row shows of what was written may be missing, whatever a snapshot sees: it is written again. */
export function writeAgain(tables: Tables, effects: Effects): void {
  for (const registration of tables.registrations.values()) keep(tables, { ...registration, xid: null }, effects);
}

function keep(tables: Tables, registration: Registration, effects: Effects): void {
  tables.registrations.set(registration.id, registration);
  effects.saves.push({ type: 'put-registration', registration });
}

function drop(tables: Tables, { table, id }: Registration, touched: Touched, effects: Effects): void {
  forgetRegistration(tables, id, effects);
  const removed = remove(tables, table, id);
  if (removed !== null) touch(touched, removed);
  effects.saves.push({ type: 'delete-row', table, key: id });
}

function noteRefusal(state: State, registration: Registration, reason: string | undefined, effects: Effects): void {
  const key = refusalKeyOf(registration);
  const until = state.now + refusedMs;
  state.refusals.delete(key);
  state.refusals.set(key, until);
  if (hasWinner.test(reason ?? '') && !areDevicesUnread(state.tables)) wantWinner(state, until, effects);
  const [oldest] = state.refusals.keys();
  if (state.refusals.size > refusalsMax && oldest !== undefined) state.refusals.delete(oldest);
}

/** A row that cannot be read may well be the one, and no snapshot makes it readable. */
function areDevicesUnread({ unreadable }: Tables): boolean {
  for (const name of unreadable) if (name.startsWith('clients/') || name.startsWith('gateways/')) return true;
  return false;
}

function refusalKeyOf({ row, table }: Registration): string {
  return refusalKey(text(row, table === 'clients' ? 'actor_id' : 'group_id'), text(row, 'external_id'));
}

function refusalKey(owner: string, externalId: string): string {
  return `${owner}/${externalId}`;
}

function text(row: WireRow, column: string): string {
  const value = row[column];
  return typeof value === 'string' ? value : '';
}
