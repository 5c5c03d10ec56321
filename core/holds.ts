// Holds: what an operator has denied at the edge, whatever the rows say. They are facts of the state beside the rows, so a commit
// or a snapshot changes none; access.ts, choose-gateway.ts, judge.ts and sessions.ts ask here.
import { clientId, actorId, gatewayId, resourceId } from '../protocol/ids.ts';
import { holdsMax } from '../protocol/holds.ts';
import * as v from 'valibot';
import { recordHold } from './hold-records.ts';
import { nothingTouched } from './touched.ts';
import { unreachable } from '../protocol/assert.ts';
import type { Effects } from './effect.ts';
import type { Hold, HoldTarget } from '../protocol/holds.ts';
import type { State } from './state.ts';
import type { Touched } from './touched.ts';

export function isHeld(state: State, kind: Hold['kind'], id: string): boolean {
  return state.holds.size > 0 && state.holds.has(keyOf({ kind, id }));
}

/** Places a hold, in memory and in storage; null when there is no room. One that is in force stays as it was placed. */
export function placeHold(state: State, hold: Hold, effects: Effects): Touched | null {
  const key = keyOf(hold);
  if (state.holds.has(key)) return nothingTouched();
  if (state.holds.size >= holdsMax) return null;
  state.holds.set(key, hold);
  effects.saves.push({ type: 'put-hold', hold });
  recordHold(state, { ...hold, action: 'placed' }, effects);
  effects.notes.push({ event: 'hold_placed', kind: hold.kind, id: hold.id, by: hold.by });
  return touchedBy(hold);
}

/** Lifts a hold; null when there was none. */
export function liftHold(state: State, target: HoldTarget, by: string, effects: Effects): Touched | null {
  if (!state.holds.delete(keyOf(target))) return null;
  const { kind, id } = target;
  effects.saves.push({ type: 'delete-hold', kind, id });
  recordHold(state, { kind, id, at: state.now, by, reason: null, action: 'lifted' }, effects);
  effects.notes.push({ event: 'hold_lifted', kind, id, by });
  return touchedBy(target);
}

/** Whether a row has what is held. A hold needs none, but whoever places it wants to know. */
export function isRowOf({ tables: { rows } }: State, { kind, id }: HoldTarget): boolean {
  const { clients, actors, gateways, resources } = rows;
  return { client: clients, actor: actors, gateway: gateways, resource: resources }[kind].has(id);
}

/** Those in force, oldest first. */
export function holdsOf(state: State): Hold[] {
  return [...state.holds.values()].sort((a, b) => a.at - b.at || (keyOf(a) < keyOf(b) ? -1 : 1));
}

/** Adds a hold in memory alone, as when it was just read from storage. */
export function keepHold(state: State, hold: Hold): void {
  state.holds.set(keyOf(hold), hold);
}

function touchedBy({ kind, id }: HoldTarget): Touched {
  const touched = nothingTouched();
  switch (kind) {
    case 'client':
      touched.clients.add(v.parse(clientId, id));
      return touched;
    case 'actor':
      touched.actors.add(v.parse(actorId, id));
      return touched;
    case 'gateway':
      touched.gateways.add(v.parse(gatewayId, id));
      return touched;
    case 'resource':
      touched.resources.add(v.parse(resourceId, id));
      return touched;
  }
  return unreachable(kind);
}

function keyOf({ kind, id }: HoldTarget): string {
  return `${kind}/${id}`;
}
