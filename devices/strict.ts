// What real clients, gateways and relays accept, as strictly as they do (data-plane contract sections 1.3 and 2): a frame that
// they would drop is a failure here. What each event must hold is in strict-client.ts and strict-gateway.ts.
import * as v from 'valibot';
import { clientAccepts } from './strict-client.ts';
import { gatewayAccepts } from './strict-gateway.ts';
import type { Generation } from '../protocol/device/generations.ts';
import type { SocketRole } from '../protocol/roles.ts';

const relayAccepts = { init: v.looseObject({}) };
const accepts: Readonly<Record<SocketRole, Readonly<Record<Generation, Readonly<Record<string, v.GenericSchema>>>>>> = {
  client: clientAccepts,
  gateway: gatewayAccepts,
  relay: { A: relayAccepts, C: relayAccepts, B: relayAccepts },
};

const okReply = v.object({ status: v.literal('ok'), response: v.strictObject({}) });
const errorReply = v.object({ status: v.literal('error'), response: v.object({ reason: v.string() }) });

/** A frame as a device reads it. */
export type DeviceFrame = {
  readonly topic: string;
  readonly event: string;
  readonly payload: unknown;
  readonly ref: number | null;
};

export type ReadFrame =
  | { readonly type: 'frame'; readonly frame: DeviceFrame }
  | { readonly type: 'dropped'; readonly reason: string };

const envelope = v.object({
  topic: v.string(),
  event: v.string(),
  payload: v.unknown(),
  ref: v.optional(v.nullable(v.number()), null),
});

/** Reads one text frame as a device of this role and generation does; `dropped` with the reason where it would drop it. */
export function readFrame(role: SocketRole, text: string, generation: Generation = 'A'): ReadFrame {
  const parsed = v.safeParse(v.pipe(v.string(), v.parseJson(), envelope), text);
  if (!parsed.success) return { type: 'dropped', reason: `not a frame: ${v.summarize(parsed.issues)}` };
  const { topic, event, payload, ref } = parsed.output;
  const problem = problemOf(accepts[role][generation], event, payload);
  return problem === null
    ? { type: 'frame', frame: { topic, event, payload, ref } }
    : { type: 'dropped', reason: `${event}: ${problem}` };
}

function problemOf(
  accepted: Readonly<Record<string, v.GenericSchema>>,
  event: string,
  payload: unknown,
): string | null {
  if (event === 'phx_reply') return issuesOf(v.union([okReply, errorReply]), payload);
  if (event === 'phx_error' || event === 'phx_close') return issuesOf(v.strictObject({}), payload);
  if (event === 'disconnect') return issuesOf(v.object({ reason: v.literal('token_expired') }), payload);
  const schema = Object.hasOwn(accepted, event) ? accepted[event] : undefined;
  return schema === undefined ? 'an event that this device does not know' : issuesOf(schema, payload);
}

function issuesOf(schema: v.GenericSchema, payload: unknown): string | null {
  const parsed = v.safeParse(schema, payload);
  return parsed.success ? null : v.summarize(parsed.issues);
}
