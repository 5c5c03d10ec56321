// The Account object of the random account, in workerd, under a random history, with models of what each device believes. The
// object's own clock is set, so that days pass in a moment and no alarm comes but those that a history lets ring; everything
// else is as deployed, and there is no Postgres: what is to be written back waits.
import { abortAllDurableObjects, evictDurableObject, runDurableObjectAlarm } from 'cloudflare:test';
import { env } from 'cloudflare:workers';
import { accountObjectName } from '../../worker/env.ts';
import { Beliefs } from '../support/beliefs.ts';
import { clients, firstRows, resources, toggleHold } from '../support/random-rows.ts';
import { connectRandom, type RandomLink } from './random-link.ts';
import { differences, keepAlive, readObject, type Read } from './stored-state.ts';
import { id, ids } from '../support/world.ts';
import { RandomLane } from './random-lane.ts';
import { randomDevice } from '../support/random-devices.ts';
import { RandomRows } from '../support/random-edits.ts';
import { opKinds } from '../support/random-core.ts';
import type { Clock } from './clock.ts';
import type { Op } from '../support/random-core.ts';

export const objectOpKinds = [
  ...opKinds,
  ...opKinds,
  ...([
    'connect',
    'connect',
    'connect',
    'sleep',
    'reset',
    'alarm',
    'snapshot',
    'beat',
    'repeat',
    'term',
    'epoch',
  ] as const),
  ...(['parts', 'parts', 'keep', 'lose'] as const),
];
export type ObjectOp = Op<(typeof objectOpKinds)[number]>;

/** Of these nothing follows for a device, where the object has all that was committed. */
const neutral: ReadonlySet<string> = new Set([
  'sleep',
  'reset',
  'alarm',
  'parts',
  'repeat',
  'snapshot',
  'term',
  'epoch',
  'answer',
  'disconnect',
]);

const account = () => env.ACCOUNT.getByName(accountObjectName(ids.account));

/** Rounds of asking until nothing changes any more, at most. */
const roundsMax = 100;

export class RandomObject {
  readonly #clock: Clock;
  readonly #rows: RandomRows;
  readonly #lane = new RandomLane();
  readonly #beliefs = new Beliefs();
  /** Every connection with something to tell, the oldest first. */
  #links: RandomLink[] = [];
  #questions: { readonly link: RandomLink; readonly ref: string }[] = [];
  #read: Read;
  readonly #problems: string[] = [];

  private constructor(clock: Clock, read: Read) {
    this.#clock = clock;
    this.#rows = new RandomRows(clock.start);
    this.#read = read;
  }

  /** An account as its history begins: everybody connected, with a flow for whatever may be reached. */
  static async start(clock: Clock): Promise<RandomObject> {
    const object = new RandomObject(clock, await readObject());
    await object.#begin();
    return object;
  }

  async #begin(): Promise<void> {
    await this.#lane.snapshot(firstRows(), null);
    await this.#lane.beat(0);
    for (let n = 0; n < 3; n += 1) {
      await this.#connect({ a: 1, b: n, c: n % 2 });
      await this.#connect({ a: 0, b: n, c: 0 });
    }
    await this.#settle();
    for (let n = 0; n < clients * resources; n += 1) this.#request(n, n % resources);
    await this.#settle();
    while (this.#questions.length > 0) this.#answer(0);
    await this.#settle();
  }

  /** Lets one group of operations happen, edits of the group as one commit; returns everything that is not as promised, in words. */
  async happen(ops: readonly ObjectOp[]): Promise<string[]> {
    const before = this.#read;
    const wasLevel = this.#lane.isLevel;
    const isNeutral = ops.every(({ kind }) => neutral.has(kind)) && wasLevel;
    const kinds = new Set(ops.map(({ kind }) => kind));
    const changes = ops.flatMap((op) => (op.kind === 'edit' ? this.#rows.edit(op) : []));
    if (changes.length > 0) this.#lane.commit(changes);
    if (kinds.has('parts')) await this.#lane.sendInParts(async () => await this.#interrupt(ops[0]));
    else if (kinds.has('lose')) this.#lane.lose();
    else if (!kinds.has('keep')) await this.#lane.send();
    for (const op of ops) await this.#act(op);
    // The replicator sends one by itself.
    if (this.#lane.isBehind && (ops[0]?.a ?? 0) % 2 === 0) await this.#lane.snapshot(this.#rows.all(), null);
    await this.#settle();
    if (isNeutral && this.#lane.isLevel) this.#problems.push(...taken(before, this.#read));
    return this.#violations();
  }

  /** Every device leaves: whoever stayed would be at the next object's door. */
  async stop(): Promise<void> {
    await Promise.all(this.#links.map(async (link) => await link.end()));
  }

  #violations(): string[] {
    const { problems } = this.#lane;
    const rows = this.#lane.isLevel ? differences(this.#read, this.#rows.all()) : [];
    return [
      ...this.#problems,
      ...problems,
      ...this.#read.problems,
      ...rows,
      ...this.#beliefs.violations(this.#read.state),
    ];
  }

  async #act(op: ObjectOp): Promise<void> {
    const { kind, a, b, c } = op;
    switch (kind) {
      case 'connect':
        return await this.#connect(op);
      case 'disconnect':
        return this.#open()[a % Math.max(1, this.#open().length)]?.leave();
      case 'request':
        return this.#request(a, b);
      case 'answer':
        return this.#answer(a);
      case 'hold':
        return await this.#hold(a, b);
      case 'time':
        return await this.#pass((a % 12) * 1_800_000 + b * 997, c);
      case 'sleep':
        return await this.#sleep();
      case 'reset':
        return await abortAllDurableObjects();
      case 'alarm':
        await runDurableObjectAlarm(account());
        return;
      case 'repeat':
        return await this.#lane.repeat(b % 3 === 0);
      case 'snapshot':
        return await this.#lane.snapshot(this.#rows.all(), b % 2 === 0 ? async () => await this.#interrupt(op) : null);
      case 'term':
        return this.#lane.newTerm();
      case 'epoch':
        if (b % 3 !== 0) return;
        this.#lane.newEpoch();
        return await this.#lane.snapshot(this.#rows.all(), null);
      case 'beat':
        return await this.#lane.beat(b % 3 === 0 ? 120_000 : 0);
      case 'edit':
      case 'keep':
      case 'lose':
      case 'parts':
        return;
    }
  }

  async #interrupt(op: ObjectOp | undefined): Promise<void> {
    const choice = (op?.c ?? 0) % 3;
    if (choice === 0) await this.#sleep();
    if (choice === 1) await abortAllDurableObjects();
  }

  #open(): RandomLink[] {
    return this.#links.filter(({ isOpen }) => isOpen);
  }

  async #connect(numbers: { readonly a: number; readonly b: number; readonly c: number }): Promise<void> {
    const device = randomDevice(numbers, (gateway) => this.#rows.siteOf(gateway));
    const connecting = connectRandom(device, (link, ref) => this.#questions.push({ link, ref }));
    const link = await this.#clock.whileWaiting(connecting, async () => await this.#lane.repeat(false));
    if (link !== null) this.#links.push(link);
  }

  #request(a: number, b: number): void {
    const name = `laptop-${(a % clients) + 1}`;
    this.#open()
      .findLast(({ device }) => device.externalId === name)
      ?.ask(id('res', (b % resources) + 1));
  }

  #answer(a: number): void {
    this.#questions = this.#questions.filter(({ link }) => link.isOpen);
    const [question] = this.#questions.splice(a % Math.max(1, this.#questions.length), 1);
    question?.link.accept(question.ref);
  }

  async #hold(a: number, b: number): Promise<void> {
    const input = toggleHold(this.#read.state, a, b);
    if (input.type === 'hold') {
      const { kind, id: held, by, reason } = input.hold;
      await account().hold({ type: 'place', kind, id: held, by, reason });
    } else if (input.type === 'lift') await account().hold({ type: 'lift', ...input.target, by: input.by });
  }

  /** Time passes: asleep or awake, with every alarm at its time, or one alarm that is late, or none, or without a sign of the edges. */
  async #pass(ms: number, choice: number): Promise<void> {
    const end = Date.now() + ms;
    if (choice % 4 !== 3) await keepAlive(end);
    if (choice % 4 === 1) {
      for (let rung = 0; rung < 12; rung += 1) {
        const { alarm } = await readObject();
        if (alarm === null || alarm > end) break;
        this.#clock.set(alarm);
        await runDurableObjectAlarm(account());
      }
    } else await this.#sleep();
    this.#clock.set(end);
    await this.#lane.beat(choice % 5 === 0 ? 120_000 : 0);
    if (choice % 4 !== 2) await runDurableObjectAlarm(account());
  }

  /** The object falls asleep, as it may once nothing is under way. */
  async #sleep(): Promise<void> {
    await this.#quiet();
    await evictDurableObject(account());
  }

  /** Lets everybody act on what they have been told. */
  async #settle(): Promise<void> {
    this.#believe(await this.#quiet());
  }

  /** Waits until everybody has been told everything. */
  async #quiet(): Promise<Read> {
    for (let round = 0; round < roundsMax; round += 1) {
      await this.#echoes();
      const count = this.#count();
      const read = await readObject();
      await this.#echoes();
      if (this.#count() !== count || !this.#fits(read)) continue;
      return read;
    }
    const sessions = [...(await readObject()).state.sessions.values()].map(
      ({ publicKey, joined }) => `${publicKey} ${joined}`,
    );
    const open = this.#open().map(({ device }) => device.publicKey);
    throw new Error(`it does not come to rest: the object has ${sessions.join()}, open are ${open.join()}`);
  }

  async #echoes(): Promise<void> {
    await Promise.all(this.#links.map(async (link) => await link.echo()));
  }

  #count(): number {
    return this.#links.reduce((sum, { count }) => sum + count, 0);
  }

  /** Whether the object has a joined session for each open connection, and no other. */
  #fits({ state }: Read): boolean {
    const sessions = [...state.sessions.values()];
    const keys = sessions.map(({ publicKey, joined }) => `${publicKey} ${joined}`).toSorted();
    const open = this.#open().map(({ device }) => `${device.publicKey} true`);
    return keys.join() === open.toSorted().join();
  }

  #believe(read: Read): void {
    this.#beliefs.begin(this.#read.state);
    const sessions = new Map([...read.state.sessions.values()].map((session) => [nameOf(session), session]));
    for (const link of this.#links) {
      const session = link.isOpen ? sessions.get(nameOf(link.device)) : undefined;
      if (session !== undefined) {
        link.deviceId = session.deviceId;
        this.#beliefs.connected(session.deviceId, link.device.generation);
      }
      this.#problems.push(...link.dropped);
      this.#heed(link);
    }
    this.#links = this.#links.filter(({ isOpen }) => isOpen);
    this.#beliefs.end(read.state);
    this.#read = read;
  }

  #heed(link: RandomLink): void {
    const { deviceId } = link;
    for (const happening of link.take()) {
      if (deviceId === null) continue;
      if (happening.type === 'asked') this.#beliefs.ask(deviceId, happening.resourceId);
      else if (happening.type === 'closed') this.#beliefs.leave(deviceId, Date.now(), happening.isSignedOut);
      else if (link.device.role === 'client') this.#beliefs.toClient(deviceId, JSON.parse(happening.text), Date.now());
      else this.#beliefs.toGateway(deviceId, JSON.parse(happening.text));
    }
  }
}

/** One program is two devices under the tokens of two sites. */
function nameOf({ publicKey, tokenId }: { readonly publicKey: string; readonly tokenId: string }): string {
  return `${publicKey} ${tokenId}`;
}

/** Live grants that are gone, of those that a gateway has accepted. */
function taken(before: Read, after: Read): string[] {
  const live = [...before.state.grants.values()].filter((grant) => grant.phase === 'live' && grant.acknowledged);
  const gone = live.filter(({ flowId }) => after.state.grants.get(flowId)?.phase !== 'live');
  return gone.map(({ clientId, resourceId }) => `${clientId}/${resourceId} has ended for no reason`);
}
