// Signs and reads the messages that steer the stream. One without a valid HMAC under an ingest key is nothing, since any role
// may emit messages. An old one sent again does no harm: a snapshot says what is true, a marker names one snapshot, and a
// heartbeat counts only while it is the newest.
import { createHmac, timingSafeEqual } from 'node:crypto';
import * as v from 'valibot';
import { messagePrefix, steeringMessage, steeringText, type Steering } from '../protocol/steering.ts';

const schema = v.pipe(v.string(), v.parseJson(), steeringMessage);

/** The message's content, signed. */
export function composeSteering(steering: Steering, key: string): string {
  return JSON.stringify({ ...steering, mac: macOf(steering, key).toString('hex') });
}

/** What a message asks for, or null for a message of anybody else. */
export function parseSteering(
  message: { readonly prefix: string; readonly content: string },
  ingestKeys: readonly string[],
): Steering | null {
  if (message.prefix !== messagePrefix) return null;
  const parsed = v.safeParse(schema, message.content);
  if (!parsed.success) return null;
  const mac = Buffer.from(parsed.output.mac, 'hex');
  return ingestKeys.some((key) => timingSafeEqual(macOf(parsed.output, key), mac)) ? parsed.output : null;
}

function macOf(steering: Steering, key: string): Buffer {
  return createHmac('sha256', key).update(steeringText(steering)).digest();
}
