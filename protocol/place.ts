// Where an account's object lives: `accounts.region`. A location hint counts only for the request that creates the object; a
// jurisdiction is part of what the object is, so every request must name it. So the place travels in tokens, deliveries and
// operators' requests. Names as the platform has them (Durable Objects, data location).
import * as v from 'valibot';

export const locationHints = [
  'wnam',
  'enam',
  'sam',
  'weur',
  'eeur',
  'apac',
  'apac-ne',
  'apac-se',
  'oc',
  'afr',
  'me',
] as const;
export const jurisdictions = ['eu', 'us', 'fedramp', 'fedramp-high'] as const;

/** Null: near whoever asks for the object first. A name that is not known is taken for a hint that says nothing. */
export const place = v.optional(v.nullable(v.pipe(v.string(), v.regex(/^[a-z][a-z0-9-]{0,31}$/))), null);
export type Place = v.InferOutput<typeof place>;
