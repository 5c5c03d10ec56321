// Refusals as devices read them: problem+json (RFC 9457) with `code` and `detail`, and Retry-After on everything but 401.
import { exitsOnRefusal } from '../../protocol/device/generations.ts';
import type { AnyHello, Refusal } from '../../protocol/link.ts';

/**
 * Retry-After is spread over half of its length, so that many refused at once do not return at once. What may be lifted (403)
 * is told as 503 to programs that would exit for good.
 */
export function refuse(refusal: Refusal, device: Pick<AnyHello, 'program'>): Response {
  const { code, detail, retryAfterSeconds } = refusal;
  const status = refusal.status === 403 && exitsOnRefusal(device) ? 503 : refusal.status;
  const headers = new Headers({ 'content-type': 'application/problem+json' });
  if (retryAfterSeconds !== null) {
    headers.set('retry-after', String(Math.ceil(retryAfterSeconds * (1 + Math.random() / 2))));
  }
  return new Response(JSON.stringify({ type: 'about:blank', status, code, detail }), { status, headers });
}
