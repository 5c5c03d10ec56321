// Drives the core without a platform: a state, a clock that tests set, and seeds that count.
import { createHash, createHmac } from 'node:crypto';
import { commit, clientHello, gatewayHello, ids, lsn, worldRows } from './world.ts';
import * as v from 'valibot';
import { Fits } from './fits.ts';
import { emptyState, grant, relaySession, session } from '../../core/state.ts';
import { keepHold } from '../../core/holds.ts';
import { hold } from '../../protocol/holds.ts';
import { holdGrant } from '../../core/grants.ts';
import { put, putUnreadable, readRow } from '../../core/tables.ts';
import { holdRefused } from '../../core/refused-records.ts';
import { resumeLedger } from '../../core/ledger.ts';
import { resume, step } from '../../core/step.ts';
import { StoredMemberships } from './stored-memberships.ts';
import { wireRow } from '../../protocol/commit.ts';
import type { Effects, Save, Send } from '../../core/effect.ts';
import type { Denial, FlowRecord, HoldRecord, Registration, SessionRecord } from '../../protocol/write-back.ts';
import type { Hashes } from '../../core/hashes.ts';
import type { LedgerMarks } from '../../core/ledger.ts';
import type { RefusedRecord } from '../../core/refused-records.ts';
import type { ResyncMark } from '../../core/resync.ts';
import type { Input } from '../../core/input.ts';
import type { SharedRelays } from '../../protocol/relays.ts';
import type { TableName } from '../../protocol/tables.ts';
import type { WireRow } from '../../protocol/commit.ts';
import type { State } from '../../core/state.ts';

export const nodeHashes: Hashes = {
  sha256: (text) => new Uint8Array(createHash('sha256').update(text).digest()),
  hmacSha256: (key, data) => new Uint8Array(createHmac('sha256', key).update(data).digest()),
};

export type Drive = {
  readonly state: State;
  now: number;
  /** Whether it is known at each step that the rows are up to date, as after a recent answer. */
  hears: boolean;
  /** Takes one input at the present time. */
  readonly step: (input: Input) => Effects;
  /** Forgets everything but what was saved, and wakes: as after hibernation, a crash or a failed step. */
  readonly sleep: () => void;
  /** Records of the ledger that wait in storage alone. */
  readonly records: () => readonly FlowRecord[];
  /** Applies one commit and returns what was sent, as short lines. */
  readonly commit: (...changes: readonly object[]) => string[];
  /** Applies one commit and returns all that follows. */
  readonly commitEffects: (...changes: readonly object[]) => Effects;
};

/**
 * The account of world.ts, loaded by a snapshot at position 100, with `shared` as the set of shared relays; null: nothing is
 * known of them yet.
 */
export function drive(
  rows: Partial<Record<TableName, readonly WireRow[]>> = worldRows(),
  shared: SharedRelays | null = { version: 1, relays: [] },
): Drive {
  const stored = new Stored();
  let state = emptyState(stored.memberships);
  const fits = new Fits();
  let steps = 0;
  let at = 100;
  const driven: Drive = {
    get state() {
      return state;
    },
    now: 1_000_000,
    hears: true,
    step(input) {
      steps += 1;
      if (driven.hears) state.freshness.heardAt = Math.max(driven.now, state.now);
      const effects = step(state, input, { now: driven.now, seed: `seed-${steps}`, hashes: nodeHashes });
      if (input.type === 'connect' && input.hello.role !== 'relay') fits.connected(input.sessionId, input.hello);
      fits.expect(effects.sends);
      stored.save(effects.saves);
      return effects;
    },
    sleep() {
      state = stored.load(state, driven.now);
    },
    records: () => stored.records(),
    commit: (...changes) => lines(driven.commitEffects(...changes)),
    commitEffects(...changes) {
      at += 1;
      return driven.step({ type: 'commit', epoch: 1, commit: commit(at, ...changes) });
    },
  };
  driven.step({ type: 'snapshot', position: { epoch: 1, lsn: lsn(at) }, rows, commits: [] });
  if (shared !== null) driven.step({ type: 'shared-relays', set: shared, leaseMs: foreverMs });
  return driven;
}

/** A lease that no test outlives. */
const foreverMs = Number.MAX_SAFE_INTEGER;

/** What storage and sockets keep, as text. */
class Stored {
  readonly #rows = new Map<string, { readonly table: TableName; readonly key: string; readonly text: string }>();
  readonly #grants = new Map<string, string>();
  readonly #sessions = new Map<string, string>();
  readonly #holds = new Map<string, string>();
  #relays: Extract<Save, { type: 'put-relays' }> | null = null;
  #shared: Extract<Save, { type: 'put-shared-relays' }> | null = null;
  readonly memberships = new StoredMemberships();
  readonly #denials = new Map<string, Denial>();
  readonly #holdRecords = new Map<number, HoldRecord>();
  readonly #registrations = new Map<string, Registration>();
  readonly #ended = new Map<string, SessionRecord>();
  #marks: LedgerMarks = { revision: 0, through: 0, flushes: [], sessions: { through: 0, alive: 0 } };
  #records: FlowRecord[] = [];
  readonly #refused = new Map<number, RefusedRecord>();
  #resync: ResyncMark = { times: 0, notBefore: 0, aloneAt: null };
  #isStale = false;

  /** Records whose grants are gone, by revision. */
  records(): readonly FlowRecord[] {
    return this.#records;
  }

  save(saves: readonly Save[]): void {
    for (const action of saves) {
      this.memberships.save(action);
      if (action.type === 'put-row') {
        const { table, key, row } = action;
        this.#rows.set(`${table}/${key}`, { table, key, text: JSON.stringify(row) });
      } else if (action.type === 'delete-row') this.#rows.delete(`${action.table}/${action.key}`);
      else if (action.type === 'delete-rows') {
        for (const [name, { table }] of this.#rows) if (table === action.table) this.#rows.delete(name);
      } else if (action.type === 'put-grant') this.#grants.set(action.grant.flowId, JSON.stringify(action.grant));
      else if (action.type === 'delete-grant') this.#grants.delete(action.flowId);
      else if (action.type === 'put-hold')
        this.#holds.set(`${action.hold.kind}/${action.hold.id}`, JSON.stringify(action.hold));
      else if (action.type === 'delete-hold') this.#holds.delete(`${action.kind}/${action.id}`);
      else if (action.type === 'put-ledger') this.#marks = action.marks;
      else if (action.type === 'put-stale') this.#isStale = action.isStale;
      else if (action.type === 'put-resync') this.#resync = action.mark;
      else if (action.type === 'put-record') this.#records.push(action.record);
      else if (action.type === 'put-refused') this.#refused.set(action.record.revision, action);
      else if (action.type === 'delete-refused') this.#refused.delete(action.revision);
      else if (action.type === 'delete-records') {
        this.#records = this.#records.filter(({ revision }) => revision > action.through);
      } else if (action.type === 'put-registration')
        this.#registrations.set(action.registration.id, action.registration);
      else if (action.type === 'delete-registration') this.#registrations.delete(action.id);
      else if (action.type === 'put-denial') this.#denials.set(action.key, action.denial);
      else if (action.type === 'delete-denial') this.#denials.delete(action.key);
      else if (action.type === 'put-session-record') this.#ended.set(action.record.id, action.record);
      else if (action.type === 'delete-session-record') this.#ended.delete(action.id);
      else if (action.type === 'put-hold-record') this.#holdRecords.set(action.record.revision, action.record);
      else if (action.type === 'delete-hold-record') this.#holdRecords.delete(action.revision);
      else if (action.type === 'put-session') this.#sessions.set(action.session.id, JSON.stringify(action.session));
      else if (action.type === 'put-relays') this.#relays = structuredClone(action);
      else if (action.type === 'put-shared-relays') this.#shared = structuredClone(action);
    }
  }

  load(before: State, now: number): State {
    const state = emptyState(this.memberships);
    state.position = before.position;
    for (const { table, key, text } of this.#rows.values()) {
      if (table === 'actor_group_memberships') continue;
      const entry = readRow(table, v.parse(wireRow, JSON.parse(text)));
      if (entry === null) putUnreadable(state.tables, table, key);
      else put(state.tables, key, entry);
    }
    for (const text of this.#holds.values()) keepHold(state, v.parse(hold, JSON.parse(text)));
    for (const text of this.#grants.values()) holdGrant(state, v.parse(grant, JSON.parse(text)));
    state.ledger.isConfigured = before.ledger.isConfigured;
    for (const [key, denial] of this.#denials) state.ledger.denials.set(key, denial);
    for (const [key, record] of this.#holdRecords) state.ledger.holds.set(key, record);
    for (const [id, record] of this.#ended) state.ledger.ended.set(id, record);
    for (const [key, device] of this.#registrations) state.tables.registrations.set(key, device);
    for (const refused of this.#refused.values()) holdRefused(state.ledger.refused, refused);
    const lastRevision = this.#records.at(-1)?.revision ?? 0;
    resumeLedger(state, this.#marks, { count: this.#records.length, lastRevision });
    for (const held of this.#relays?.relays ?? []) state.relays.set(held.entry.id, held);
    state.relaysVersion = this.#relays?.version ?? 0;
    state.stale = this.#isStale;
    state.resync.mark = this.#resync;
    state.shared = this.#shared?.set ?? null;
    state.leaseDueAt = this.#shared?.leaseDueAt ?? 0;
    const ids = [...before.sessions.keys(), ...before.relaySessions.keys()];
    const open = ids.map((sessionId) => this.#sessions.get(sessionId) ?? '');
    resume(
      state,
      open.map((text) => v.parse(v.union([session, relaySession]), JSON.parse(text))),
      now,
    );
    return state;
  }
}

/** Connects and joins the client of world.ts as session `client`. */
export function joinClient(driven: Drive, changes: object = {}): Effects {
  driven.step({ type: 'connect', sessionId: 'client', hello: clientHello(changes) });
  return driven.step({ type: 'joined', sessionId: 'client' });
}

/** Connects and joins the gateway of world.ts as session `gateway`. */
export function joinGateway(driven: Drive, changes: object = {}): Effects {
  driven.step({ type: 'connect', sessionId: 'gateway', hello: gatewayHello(changes) });
  return driven.step({ type: 'joined', sessionId: 'gateway' });
}

export function createFlow(driven: Drive, resourceId = ids.resource, sessionId = 'client'): Effects {
  const payload = { resource_id: resourceId, connected_gateway_ids: [] };
  const event = isSecond(driven, sessionId) ? 'request_authorization' : 'create_flow';
  return driven.step({ type: 'message', sessionId, event, payload, ref: 1 });
}

/** The `ref` of the authorization that is asked for among `effects`. */
export function refOf(effects: Effects): string {
  for (const send of effects.sends) {
    if (send.type !== 'to-gateway') continue;
    const { event, payload } = send.message;
    if (event === 'authorize_flow' || event === 'create_authorization') return payload.ref;
  }
  throw new Error('no gateway was asked');
}

export function authorizeFlow(driven: Drive, ref: string): Effects {
  const event = isSecond(driven, 'gateway') ? 'authorization_created' : 'flow_authorized';
  return driven.step({ type: 'message', sessionId: 'gateway', event, payload: { ref }, ref: 7 });
}

function isSecond({ state }: Drive, sessionId: string): boolean {
  return state.sessions.get(sessionId)?.socketVersion === 2;
}

/** Both sides joined and one flow created. `hellos` vary what the two say of themselves. */
export function driveWithFlow(
  rows = worldRows(),
  hellos: { readonly client?: object; readonly gateway?: object } = {},
): Drive {
  const driven = drive(rows);
  joinGateway(driven, hellos.gateway);
  joinClient(driven, hellos.client);
  authorizeFlow(driven, refOf(createFlow(driven)));
  return driven;
}

/** What was sent, in order, as `session event detail`. */
export function lines({ sends }: Effects): string[] {
  return sends.map((send) => `${send.sessionId} ${detail(send)}`.trim());
}

function detail(send: Send): string {
  if (send.type === 'close') return `close ${send.cause}`;
  if (send.type === 'to-relay') return 'init';
  if (send.type === 'reply') return `reply ${send.answer === 'ok' ? 'ok' : send.answer.reason}`;
  const { event, payload } = send.message;
  if (event === 'resource_deleted') return `${event} ${payload}`;
  if (event === 'resource_created_or_updated' || event === 'resource_updated' || event === 'resource_filters_updated') {
    return `${event} ${payload.id}`;
  }
  if (event === 'flow_creation_failed' || event === 'authorization_creation_failed')
    return `${event} ${payload.reason}`;
  if (event === 'reject_access') return `${event} ${payload.client_id} ${payload.resource_id}`;
  return event;
}
