// What a device that has a row says of itself as it connects again: a gateway its name, a client its hardware and the identity of its
// token. Where that is not what the row says, Postgres is told, and until a row shows that it has been, it is kept beside the rows.
//
// A client whose hardware is not that of its row any more has lost its verification in that turn, whatever the row says until Postgres
// was told; from then on the row decides, so that whoever verifies the client after that has the last word.
import { noteWrite, registrationsMax } from './registration.ts';
import type { ClientId, GatewayId } from '../protocol/ids.ts';
import type { Effects } from './effect.ts';
import type { Hardware, Hello } from '../protocol/link.ts';
import type { State } from './state.ts';
import type { TokenRow } from '../protocol/rows.ts';
import type { WireRow } from '../protocol/commit.ts';

/** Whether the client's verification was lost here, and no row has shown it yet. */
export function isVerificationLost({ tables }: State, id: ClientId): boolean {
  return tables.registrations.size > 0 && tables.registrations.get(id)?.isUnverified === true;
}

/**
 * A client that has a row connects. `lost`: its verification is, from here on. `full`: it cannot be told to Postgres, and so the
 * client may not connect.
 */
export function noteClient(
  state: State,
  id: ClientId,
  { identity_id: identity }: TokenRow,
  { hardware }: Hello,
  effects: Effects,
): 'kept' | 'lost' | 'full' {
  const { registrations, rows } = state.tables;
  const pending = registrations.get(id);
  const row = rows.clients.get(id);
  if (row === undefined || hardware === null) return 'kept';
  const before = pending === undefined ? { identity: row.identity_id, hardware: row.hardware } : saidIn(pending.row);
  const changed = hardwareIds.filter((one) => before.hardware[one] !== hardware[one]);
  if (changed.length === 0 && before.identity === identity) return 'kept';
  // What the row does not say may be added; what it says must stay so.
  const isLost = changed.some((one) => before.hardware[one] !== null);
  if (pending === undefined && registrations.size >= registrationsMax) return isLost ? 'full' : 'kept';
  const isKnown = pending?.isKnown ?? true;
  const whole = isKnown ? { id } : pending?.row;
  const isUnverified = isLost || pending?.isUnverified === true;
  const written = { ...whole, identity_id: identity, ...hardware };
  noteWrite(state, { table: 'clients', id, row: written, isKnown, isUnverified }, effects);
  return isLost ? 'lost' : 'kept';
}

/** A gateway that has a row connects under `name`. */
export function noteName(state: State, id: GatewayId, name: string | null, effects: Effects): void {
  const { registrations, rows } = state.tables;
  const pending = registrations.get(id);
  const held = rows.gateways.get(id);
  if (held === undefined || held.name === '' || name === null || name === '') return;
  if ((pending?.row['name'] ?? held.name) === name) return;
  if (pending === undefined && registrations.size >= registrationsMax) return;
  const row = { ...(pending?.row ?? { id }), name };
  noteWrite(state, { table: 'gateways', id, row, isKnown: pending?.isKnown ?? true, isUnverified: false }, effects);
}

const hardwareIds = ['device_serial', 'device_uuid', 'identifier_for_vendor', 'firebase_installation_id'] as const;

function saidIn(row: WireRow): { readonly identity: string | null; readonly hardware: Hardware } {
  const textOf = (column: string): string | null => {
    const value = row[column];
    return typeof value === 'string' ? value : null;
  };
  return {
    identity: textOf('identity_id'),
    hardware: {
      device_serial: textOf('device_serial'),
      device_uuid: textOf('device_uuid'),
      identifier_for_vendor: textOf('identifier_for_vendor'),
      firebase_installation_id: textOf('firebase_installation_id'),
    },
  };
}
