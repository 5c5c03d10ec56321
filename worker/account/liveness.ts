// Which of an object's sockets have nobody at the other end, and which edges run code that is too old.
//
// A probe of the edge is answered by the platform, without waking the object, which can still read when that happened. An edge
// of an older version than is accepted is told to close its device, which connects anew through a present one; a fleet of
// them is spread over `recycleMs`.
import { factsOf, openSockets } from './sockets.ts';
import { linkVersionMin, linkVersionOfProbes, probeMsByRole, probesMissedMax } from '../../protocol/link.ts';
import type { LinkFacts } from './sockets.ts';
import type { SocketRole } from '../../protocol/roles.ts';

/** Late beyond this, milliseconds, an answer counts as missed. */
const lateMs = 10_000;

/** Edges that are too old are recycled within this time, milliseconds. */
const recycleMs = 600_000;

/**
 * Sockets, of one role or of all, whose edge has not probed when it should have twice. An edge that sends no probes is never
 * silent.
 */
export function silentSockets(ctx: DurableObjectState, now: number, role?: SocketRole): WebSocket[] {
  return openSockets(ctx, role).filter((socket) => {
    const facts = factsOf(socket);
    if (facts === null || facts.link.version < linkVersionOfProbes) return false;
    const probedAt = ctx.getWebSocketAutoResponseTimestamp(socket)?.getTime() ?? 0;
    const allowedMs = probesMissedMax * probeMsByRole[facts.session.role] + lateMs;
    return now - Math.max(probedAt, facts.link.acceptedAt) > allowedMs;
  });
}

/**
 * Sockets of edges that are too old and whose turn has come, and when that of the next one comes (null: there is none). `since`:
 * when this version of the object first ran, milliseconds since 1970-01-01 UTC.
 */
export function outdatedSockets(
  ctx: DurableObjectState,
  since: number,
  now: number,
): { readonly due: readonly WebSocket[]; readonly nextAt: number | null } {
  const due: WebSocket[] = [];
  let nextAt: number | null = null;
  for (const socket of openSockets(ctx)) {
    const facts = factsOf(socket);
    if (facts === null || !isOutdated(facts.link)) continue;
    const at = since + recycleMs * spreadOf(facts.session.id);
    if (at <= now) due.push(socket);
    else if (nextAt === null || at < nextAt) nextAt = at;
  }
  return { due, nextAt };
}

function isOutdated({ version }: LinkFacts): boolean {
  return version < linkVersionMin;
}

/** From 0 to 1, the same for the same session: the first 32 bits of its id, a random UUID. */
function spreadOf(sessionId: string): number {
  return Number.parseInt(sessionId.slice(0, 8), 16) / 0x1_0000_0000;
}
