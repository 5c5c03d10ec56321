// A hold denies a device, an actor, a gateway or a resource at the edge, whatever the rows say, until it is lifted by hand. This
// is the request that places, lifts or lists them, and what is stored of one. Operators' tools sign it like the replicator's
// requests; no database is needed for any of it.
import * as v from 'valibot';
import { accountId } from './ids.ts';
import { place } from './place.ts';

const holdKinds = ['client', 'actor', 'gateway', 'resource'] as const;

/** Holds of one account, at most. */
export const holdsMax = 1000;

const uuid = v.pipe(v.string(), v.regex(/^[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}$/, 'expected a lower-case UUID'));
const note = v.pipe(v.string(), v.maxLength(255));
/** As a request may give it: Postgres stores no other text, and a record of it is written there. */
const storableNote = v.pipe(
  note,
  v.check((text) => text.isWellFormed() && !text.includes('\0'), 'expected well-formed Unicode without U+0000'),
);

export const holdTarget = v.object({ kind: v.picklist(holdKinds), id: uuid });
export type HoldTarget = v.InferOutput<typeof holdTarget>;

export const hold = v.object({
  ...holdTarget.entries,
  /** When it was placed, milliseconds since 1970-01-01 UTC. */
  at: v.number(),
  /** Who placed it, as the tool says. */
  by: note,
  reason: v.nullable(note),
});
export type Hold = v.InferOutput<typeof hold>;

/** POST a HoldRequest as JSON; 200 with a HoldAnswer as JSON. */
export const holdPath = '/internal/v1/holds';

export const holdRequest = v.object({
  version: v.literal(1),
  account: accountId,
  place,
  action: v.variant('type', [
    v.object({ type: v.literal('list') }),
    v.object({ type: v.literal('place'), ...holdTarget.entries, by: storableNote, reason: v.nullable(storableNote) }),
    v.object({ type: v.literal('lift'), ...holdTarget.entries, by: storableNote }),
  ]),
});
export type HoldRequest = v.InferOutput<typeof holdRequest>;
export type HoldAction = HoldRequest['action'];

/**
 * `done`: false when there was nothing to lift, or no room for another hold. `isKnown`: false when the object has no row of what is
 * named, as with a wrong id; a worker that does not say so is believed to. `holds`: those in force, oldest first.
 */
export const holdAnswer = v.object({
  done: v.boolean(),
  isKnown: v.optional(v.boolean(), true),
  holds: v.array(hold),
});
export type HoldAnswer = v.InferOutput<typeof holdAnswer>;
