// Reads the request of `drawbridge resync` from the stream. Any role may emit a message under any prefix, so one without a
// valid HMAC under an ingest key is nothing. An old one sent again does no harm: a snapshot says what is true.
import { createHmac, timingSafeEqual } from 'node:crypto';
import * as v from 'valibot';
import { resyncMessage, resyncText, type ResyncAccount } from '../protocol/resync.ts';
import { messagePrefix } from './snapshot.ts';

const schema = v.pipe(v.string(), v.parseJson(), resyncMessage);

/** The account to deliver by snapshot, or null for any other message. */
export function parseResync(
  message: { readonly prefix: string; readonly content: string },
  ingestKeys: readonly string[],
): ResyncAccount | null {
  if (message.prefix !== messagePrefix) return null;
  const parsed = v.safeParse(schema, message.content);
  if (!parsed.success) return null;
  const mac = Buffer.from(parsed.output.mac, 'hex');
  const isSigned = ingestKeys.some((key) =>
    timingSafeEqual(createHmac('sha256', key).update(resyncText(parsed.output)).digest(), mac),
  );
  return isSigned ? parsed.output.account : null;
}
