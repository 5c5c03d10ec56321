// Phoenix channel framing, version 1: one JSON object per text frame (data-plane contract: topic, event, payload, ref).
//
// Pure, so that it serves the edge and, should device sockets ever end in the object, the object too. A reply carries the
// ref as the very JSON value it came as, and a successful reply's response is exactly `{}`: devices drop anything else.
import * as v from 'valibot';
import { relayJoin } from './device/relay.ts';

/** UTF-16 code units of one inbound frame, at most; a longer one closes the socket. */
export const frameLengthMax = 64 * 1024;

export type Ref = number | string | null;

const frame = v.object({
  topic: v.pipe(v.string(), v.maxLength(64)),
  event: v.pipe(v.string(), v.maxLength(64)),
  payload: v.optional(v.unknown()),
  ref: v.optional(v.nullable(v.union([v.number(), v.string()])), null),
});
export type Frame = {
  readonly topic: string;
  readonly event: string;
  readonly payload: unknown;
  readonly ref: Ref;
};

export type ParsedFrame =
  | { readonly type: 'frame'; readonly frame: Frame }
  | { readonly type: 'malformed'; readonly reason: string };

/** Reads one text frame. Never throws: whatever is not a frame is `malformed`, with the reason in words. */
export function parseFrame(text: string): ParsedFrame {
  if (text.length > frameLengthMax) return { type: 'malformed', reason: `longer than ${frameLengthMax} characters` };
  let json: unknown;
  try {
    json = JSON.parse(text);
  } catch {
    return { type: 'malformed', reason: 'not JSON' };
  }
  const parsed = v.safeParse(frame, json);
  if (!parsed.success) {
    return { type: 'malformed', reason: 'not an object with a topic, an event, a payload and a ref' };
  }
  const { topic, event, payload, ref } = parsed.output;
  return { type: 'frame', frame: { topic, event, payload, ref } };
}

export function pushFrame(topic: string, event: string, payload: unknown): string {
  return JSON.stringify({ topic, event, payload, ref: null });
}

/** The reply to `ref`: devices accept `{}` alone for ok, and a string reason alone for error. */
export function replyFrame(topic: string, ref: Ref, answer: 'ok' | { readonly reason: string }): string {
  const payload = answer === 'ok' ? { status: 'ok', response: {} } : { status: 'error', response: answer };
  return JSON.stringify({ topic, event: 'phx_reply', payload, ref });
}

/** What the holder of a device's socket does with one inbound frame. */
export type FrameAction =
  | { readonly type: 'reply'; readonly text: string }
  /** `stampSecret`: a relay's, null for everyone else. */
  | { readonly type: 'join'; readonly text: string; readonly stampSecret: string | null }
  | { readonly type: 'leave'; readonly text: string }
  | { readonly type: 'forward'; readonly event: string; readonly payload: unknown; readonly ref: Ref };

/**
 * Decides one frame for a socket whose login topic is `topic`. Heartbeats are answered here; a join, also a repeated one,
 * is answered and announced, a relay's only with its secret; before the join, and for any other topic, the answer is the error
 * `unmatched topic`.
 */
export function decideFrame(topic: string, joined: boolean, frame: Frame): FrameAction {
  const { event, ref } = frame;
  if (frame.topic === 'phoenix' && event === 'heartbeat') {
    return { type: 'reply', text: replyFrame('phoenix', ref, 'ok') };
  }
  if (frame.topic === topic && event === 'phx_join') {
    const secret = topic === 'relay' ? v.safeParse(relayJoin, frame.payload) : null;
    if (secret?.success === false) return { type: 'reply', text: replyFrame(topic, ref, { reason: 'join crashed' }) };
    const stamp = secret === null ? null : secret.output.stamp_secret;
    return { type: 'join', text: replyFrame(topic, ref, 'ok'), stampSecret: stamp };
  }
  if (frame.topic !== topic || !joined) {
    return { type: 'reply', text: replyFrame(frame.topic, ref, { reason: 'unmatched topic' }) };
  }
  if (event === 'phx_leave') return { type: 'leave', text: replyFrame(topic, ref, 'ok') };
  return { type: 'forward', event, payload: frame.payload, ref };
}
