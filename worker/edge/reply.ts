// Refusals as devices read them: problem+json (RFC 9457) with `code` and `detail`, and Retry-After on everything but 401.
import type { Refusal } from '../../protocol/link.ts';

/** Retry-After is spread over half of its length, so that many refused at once do not return at once. */
export function refuse(refusal: Refusal): Response {
  const { status, code, detail, retryAfterSeconds } = refusal;
  const headers = new Headers({ 'content-type': 'application/problem+json' });
  if (retryAfterSeconds !== null) {
    headers.set('retry-after', String(Math.ceil(retryAfterSeconds * (1 + Math.random() / 2))));
  }
  return new Response(JSON.stringify({ type: 'about:blank', status, code, detail }), { status, headers });
}
