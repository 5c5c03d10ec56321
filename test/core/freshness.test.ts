// How far behind the database an account may be: what is granted, for how long, and what the next news does to it.
import { describe, expect, test } from 'vitest';
import {
  authorizeFlow,
  createFlow,
  drive,
  joinClient,
  joinGateway,
  lines,
  refOf,
  type Drive,
} from '../support/core.ts';
import { behindMsMax, grantMsWhileBehind, silenceMsMax } from '../../core/freshness.ts';
import { tombstonesMax } from '../../core/tombstones.ts';
import {
  clientHello,
  commit,
  gatewayHello,
  id,
  ids,
  insert,
  relayHello,
  relayRows,
  remove,
  row,
  tokenRow,
  worldRows,
} from '../support/world.ts';
import type { Effects } from '../../core/effect.ts';
import type { Hello } from '../../protocol/link.ts';

const reject = `gateway reject_access ${ids.client} ${ids.resource}`;
const offline = 'client flow_creation_failed offline';
const again = [`client resource_deleted ${ids.resource}`, `client resource_created_or_updated ${ids.resource}`];
const denying = { ...worldRows(), accounts: [row('accounts', { when_behind: 'deny' })] };
const quarter = grantMsWhileBehind;

const hear = (driven: Drive, appliedTo: number | null, epoch: number | null = 1): Effects =>
  driven.step({ type: 'freshness', epoch, appliedTo });
const hearFresh = (driven: Drive): Effects => hear(driven, driven.now - 1_000);
const hearBehind = (driven: Drive): Effects => hear(driven, driven.now - behindMsMax - 1);

/** The expiry that the gateway is asked under, milliseconds. */
function expiryOf(effects: Effects): number {
  for (const { type, ...send } of effects.sends) {
    if (type === 'to-gateway' && 'message' in send && send.message.event === 'authorize_flow') {
      return send.message.payload.expires_at * 1000;
    }
  }
  throw new Error('no gateway was asked');
}

/** An account that knows what it is told and no more. */
function silent(rows = worldRows()): Drive {
  const driven = drive(rows);
  driven.hears = false;
  driven.state.freshness.heardAt = -Infinity;
  return driven;
}

/** Its gateway understands a later expiry. */
function joinedWorld(rows = worldRows()): Drive {
  const driven = silent(rows);
  joinGateway(driven, { deviceVersion: '1.5.9' });
  joinClient(driven, { deviceVersion: '1.5.9' });
  return driven;
}

function recentCommit(driven: Drive, at: number, ...changes: readonly object[]): Effects {
  const made = { ...commit(at, ...changes), committedAtUs: (driven.now - 1_000) * 1000 };
  return driven.step({ type: 'commit', epoch: 1, commit: made });
}

describe('an account that has heard nothing lately', () => {
  test('[P6.4] it grants at once, for as long as any, and asks behind the grant', () => {
    const driven = joinedWorld();

    const asked = createFlow(driven);

    expect(asked.asksFreshness).toBe(true);
    expect(expiryOf(asked)).toBeGreaterThan(driven.now + quarter);
  });

  test('[P6.5] for ten seconds after an answer, or after a recent commit, it asks nothing', () => {
    const answered = joinedWorld();
    hearFresh(answered);
    const committed = joinedWorld();
    recentCommit(committed, 101);
    for (const driven of [answered, committed]) {
      driven.now += silenceMsMax;
      expect(createFlow(driven).asksFreshness).toBe(false);
      driven.now += 1;
      expect(createFlow(driven, id('other')).asksFreshness).toBe(true);
    }
  });

  test('[P5.43] what it granted before it heard that it was behind lives 15 minutes at most', () => {
    const driven = joinedWorld();
    const grantedAt = driven.now;
    authorizeFlow(driven, refOf(createFlow(driven)));

    expect(lines(hearBehind(driven))).toEqual([]);
    driven.now = grantedAt + quarter - 1;
    expect(lines(driven.step({ type: 'tick' }))).toEqual([]);
    driven.now += 1;

    expect(lines(driven.step({ type: 'tick' }))).toEqual([reject, ...again]);
    expect(lines(createFlow(driven))).toContain('gateway authorize_flow');
  });

  test('[P5.44] with `deny`, what it granted before it heard that it was behind is taken back', () => {
    const driven = joinedWorld(denying);
    authorizeFlow(driven, refOf(createFlow(driven)));

    expect(lines(hearBehind(driven))).toEqual([reject, ...again]);
    expect(lines(createFlow(driven))).toEqual([offline]);
  });
});

describe('an account that is behind', () => {
  test('[P5.43] with `short`, the default, its grants live 15 minutes at most', () => {
    const driven = joinedWorld();
    hearBehind(driven);

    expect(expiryOf(createFlow(driven))).toBe(Math.floor((driven.now + quarter) / 1000) * 1000);
  });

  test.each(['deny', 'a word of the future'])(
    '[P5.44] with `%s`, it grants nothing, and asks at each request',
    (word) => {
      const driven = joinedWorld({ ...worldRows(), accounts: [row('accounts', { when_behind: word })] });
      hearBehind(driven);

      const refused = createFlow(driven);

      expect(lines(refused)).toEqual([offline]);
      expect(refused.asksFreshness).toBe(true);
    },
  );

  test('[P5.44] what was granted while fresh goes on', () => {
    const driven = joinedWorld(denying);
    hearFresh(driven);
    authorizeFlow(driven, refOf(createFlow(driven)));
    driven.now += 1;

    expect(lines(hearBehind(driven))).toEqual([]);
  });

  test.each([
    ['the answer', (driven: Drive) => hearFresh(driven)],
    ['a recent commit', (driven: Drive) => recentCommit(driven, 101)],
  ])('[P5.45] once %s says that it is up to date, what it granted lives on as any other', (_, news) => {
    const driven = joinedWorld();
    hearBehind(driven);
    const grantedAt = driven.now;
    authorizeFlow(driven, refOf(createFlow(driven)));
    driven.now = grantedAt + quarter - 1_000;
    news(driven);

    driven.now = grantedAt + quarter;
    expect(lines(driven.step({ type: 'tick' }))).not.toContain(reject);
    driven.now += quarter;
    expect(lines(driven.step({ type: 'tick' }))).not.toContain(reject);
    expect(driven.state.freshness.isBehind).toBe(false);
  });

  test('[P5.45] a commit that takes the access away ends it, also while it is behind', () => {
    const driven = joinedWorld();
    hearBehind(driven);
    authorizeFlow(driven, refOf(createFlow(driven)));

    expect(driven.commit(remove('policies'))).toContain(reject);
  });

  test('[P5.46] a renewal waits until the account is known to be fresh, and while it is behind there is none', () => {
    const driven = joinedWorld();
    authorizeFlow(driven, refOf(createFlow(driven)));
    hearFresh(driven);
    const end = 1_000_000 + 24 * 3_600_000;
    driven.now = end - 3_600_000;

    const due = driven.step({ type: 'tick' });
    expect([lines(due), due.asksFreshness]).toEqual([[], true]);
    expect(lines(hearBehind(driven))).toEqual([]);
    driven.now = driven.state.due.ats[0] ?? 0;
    expect(driven.now).toBe(end - 3_540_000);
    expect(driven.step({ type: 'tick' }).asksFreshness).toBe(true);
    driven.now = end - 30_000;
    expect(lines(hearFresh(driven))).toEqual(['gateway access_authorization_expiry_updated']);
    driven.now = end;
    expect(lines(driven.step({ type: 'tick' }))).toEqual([]);
  });

  test.each([
    ['what could not be learned', null, null],
    ['another epoch', 2, 1_000_000],
  ])('[P5.47] %s counts as behind', (_, epoch, appliedTo) => {
    const driven = joinedWorld(denying);
    hear(driven, appliedTo, epoch);

    expect(lines(createFlow(driven))).toEqual([offline]);
  });

  test('[P5.47] after a snapshot of another epoch the news of the one before say nothing', () => {
    const driven = joinedWorld(denying);
    hearFresh(driven);
    const position = { epoch: 2, lsn: commit(50).lsn };
    driven.step({ type: 'snapshot', position, rows: denying, commits: [] });

    expect(createFlow(driven).asksFreshness).toBe(true);
  });
});

describe('a token without a row', () => {
  const unknown = (issuedAt: number | null) =>
    clientHello({ token: { ...clientHello().token, id: id('unknown'), issuedAt } });
  const admit = (driven: Drive, hello: Hello) => driven.step({ type: 'connect', sessionId: 'new', hello });

  test('[P5.48] is void when it was issued more than a minute before the time the stream has been applied to', () => {
    const driven = silent();
    hear(driven, 900_000);

    expect(admit(driven, unknown(839_999)).admission).toMatchObject({ refusal: { code: 'invalid_token' } });
    expect(admit(driven, unknown(840_000)).admission).toMatchObject({ refusal: { code: 'token_not_known_yet' } });
  });

  test('[P5.48] is waited for where that time, or when it was issued, is not known, and more is asked for', () => {
    const driven = silent();

    const asked = admit(driven, unknown(1));
    expect(asked.admission).toMatchObject({ refusal: { code: 'token_not_known_yet' } });
    expect(asked.asksFreshness).toBe(true);
    hear(driven, 900_000);
    expect(admit(driven, unknown(null)).admission).toMatchObject({ refusal: { code: 'token_not_known_yet' } });
  });

  test('[P5.49] is void at once when its row was here and was deleted', () => {
    const driven = silent();
    driven.commit({ op: 'delete', table: 'tokens', old: row('tokens') });

    expect(admit(driven, clientHello()).admission).toMatchObject({ refusal: { code: 'invalid_token' } });
    expect(driven.state.tombstones.size).toBe(1);
  });

  test('[P5.49] a row that returns counts again', () => {
    const driven = silent();
    driven.commit({ op: 'delete', table: 'tokens', old: row('tokens') });
    driven.commit(insert('tokens'));

    expect(admit(driven, clientHello()).admission).toMatchObject({ type: 'admitted' });
  });

  test('[P15.43] of deleted tokens a bounded number is remembered, the last ones', () => {
    const driven = silent();
    const extra = (n: number) => tokenRow('client', `00000000-0000-4000-9000-${String(n).padStart(12, '0')}`, 'x');
    for (let from = 0; from <= tombstonesMax; from += 2_001) {
      const rows = Array.from({ length: 2_001 }, (_, n) => extra(from + n));
      driven.commit(...rows.map((one) => ({ op: 'insert', table: 'tokens', new: one })));
      driven.commit(...rows.map((one) => ({ op: 'delete', table: 'tokens', old: one })));
    }

    expect(driven.state.tombstones.size).toBe(tombstonesMax);
    expect([...driven.state.tombstones.keys()][0]).toBe(extra(5)['id']);
  });
});

test('[P5.48] a gateway is treated alike', () => {
  const driven = silent();
  hear(driven, 900_000);
  const hello = gatewayHello({ token: { ...gatewayHello().token, id: id('unknown'), issuedAt: 1 } });

  expect(driven.step({ type: 'connect', sessionId: 'new', hello }).admission).toMatchObject({
    refusal: { code: 'invalid_token' },
  });
});

test('[P5.48] [P5.49] a relay is treated alike', () => {
  const driven = silent(relayRows());
  const codeOf = (token: object) => {
    const hello = relayHello({ token: { ...relayHello().token, ...token } });
    const { admission, asksFreshness } = driven.step({ type: 'connect', sessionId: 'new', hello });
    return [admission?.type === 'refused' ? admission.refusal.code : 'admitted', asksFreshness];
  };
  const unknown = { id: id('unknown'), issuedAt: 1 };

  expect(codeOf(unknown)).toEqual(['token_not_known_yet', true]);
  hear(driven, 900_000);
  expect(codeOf(unknown)).toEqual(['invalid_token', false]);
  expect(codeOf({})).toEqual(['admitted', false]);
  driven.commit({ op: 'delete', table: 'tokens', old: relayRows().tokens?.at(-1) });
  expect(codeOf({ issuedAt: null })).toEqual(['invalid_token', false]);
});

test('[P5.92] while the rows are stale a token without a row is waited for, unless its row was here', () => {
  const driven = silent();
  driven.commit({ op: 'delete', table: 'tokens', old: row('tokens') });
  hear(driven, 900_000);
  driven.state.stale = true;
  const codeOf = (hello: Hello) => driven.step({ type: 'connect', sessionId: 'new', hello }).admission;

  expect(codeOf(clientHello())).toMatchObject({ refusal: { code: 'invalid_token' } });
  const unknown = clientHello({ token: { ...clientHello().token, id: id('unknown'), issuedAt: 1 } });
  expect(codeOf(unknown)).toMatchObject({ refusal: { code: 'token_not_known_yet' } });
});

test('[P6.35] an account that is behind registers devices, and grants them what it grants others, for no longer', () => {
  const request = (driven: Drive) => {
    hearBehind(driven);
    joinGateway(driven);
    driven.step({ type: 'connect', sessionId: 'client', hello: clientHello({ externalId: 'new' }) });
    driven.step({ type: 'joined', sessionId: 'client' });
    return lines(createFlow(driven));
  };
  const short = silent();
  expect(request(short)).toEqual(['gateway authorize_flow']);
  expect([...short.state.grants.values()].map(({ expiresAt }) => expiresAt)).toEqual([short.now + quarter]);
  const denied = silent(denying);
  expect(request(denied)).toEqual([offline]);
  for (const { state } of [short, denied]) expect(state.tables.registrations.size).toBe(1);
});
