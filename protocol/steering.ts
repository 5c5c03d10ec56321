// Messages that steer the stream: transactional logical messages in the database's own WAL, obeyed by the replicator when
// they leave the stream.
//
// Any role may emit a message under any prefix, so each of these carries an HMAC-SHA256 over `steeringText` under an ingest
// key. Here are the shapes and the text; who holds a key computes.
import * as v from 'valibot';
import { accountId, type AccountId } from './ids.ts';

/** The prefix of every message of ours in the stream. */
export const messagePrefix = 'drawbridge';

/** Names every account that is known. */
export const everyAccount = '*';
export type ResyncAccount = AccountId | typeof everyAccount;

/** HMAC-SHA256 of `steeringText` under the first ingest key, lower-case hex. */
const mac = v.pipe(v.string(), v.regex(/^[0-9a-f]{64}$/));
const count = v.pipe(v.number(), v.safeInteger(), v.minValue(0));

/** A message's content, as JSON. */
export const steeringMessage = v.variant('type', [
  /** Asks for an account, or all, to be delivered by snapshot. `at`: milliseconds since 1970-01-01 UTC. */
  v.object({ type: v.literal('resync'), account: v.union([v.literal(everyAccount), accountId]), at: count, mac }),
  /** Closes the snapshot of this id. */
  v.object({ type: v.literal('marker'), id: v.pipe(v.string(), v.uuid()), mac }),
  /** The leader of `run` lives, and this is its beat number `count`. */
  v.object({ type: v.literal('heartbeat'), run: v.pipe(v.string(), v.uuid()), count, mac }),
]);
export type SteeringMessage = v.InferOutput<typeof steeringMessage>;

type Unsigned<Message> = Message extends SteeringMessage ? Omit<Message, 'mac'> : never;
export type Steering = Unsigned<SteeringMessage>;

/** The text under the `mac`. */
export function steeringText(message: Steering): string {
  switch (message.type) {
    case 'resync':
      return [message.type, message.account, message.at].join('\n');
    case 'marker':
      return [message.type, message.id].join('\n');
    case 'heartbeat':
      return [message.type, message.run, message.count].join('\n');
  }
}
