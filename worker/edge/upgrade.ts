// A device asks for a socket: limits, parameters and token first, all without waking anything, then the account's object.
import { connectDevice } from './link.ts';
import { ConnectLimiter, parseConnectLimits } from './limits.ts';
import { parseTokenKeys } from '../token.ts';
import { deviceOf, parseUpgrade } from './parameters.ts';
import { refuse } from './reply.ts';
import { tooManyConnects } from '../../protocol/reasons.ts';
import * as log from '../log.ts';
import type { AccountId } from '../../protocol/ids.ts';
import type { Env } from '../env.ts';
import type { Refusal } from '../../protocol/link.ts';
import type { SocketRole } from '../../protocol/roles.ts';
import type { SocketVersion } from '../../protocol/device/generations.ts';

type Socket = { readonly role: SocketRole; readonly socketVersion: SocketVersion };

/** 101 with the device's socket, or a refusal that its generation treats rightly. */
export async function upgrade(request: Request, socket: Socket, env: Env): Promise<Response> {
  const refused = (refusal: Refusal, account: AccountId | null) => {
    log.info('connect_refused', { account, role: socket.role, code: refusal.code });
    return refuse(refusal, deviceOf(request.headers.get('user-agent')));
  };
  const now = Date.now();
  const limiter = limiterOf(env.DRAWBRIDGE_CONNECT_LIMITS);
  const address = request.headers.get('cf-connecting-ip');
  const addressWait = limiter.takeAddress(address, now);
  if (addressWait > 0) return refused(tooManyConnects(addressWait), null);
  const parsed = parseUpgrade(request, socket, parseTokenKeys(env.DRAWBRIDGE_TOKEN_KEYS), now);
  if (parsed.type === 'refused') return refused(parsed.refusal, null);
  const { account } = parsed.hello;
  const tokenWait = limiter.takeToken(address, parsed.hello.token.id, now);
  if (tokenWait > 0) return refused(tooManyConnects(tokenWait), account);
  const connected = await connectDevice(parsed.hello, parsed.place, env);
  return connected instanceof Response ? connected : refused(connected, account);
}

let present: { readonly text: string | undefined; readonly limiter: ConnectLimiter } | null = null;

/** The isolate's one limiter, for as long as its setting stays. */
function limiterOf(text: string | undefined): ConnectLimiter {
  if (present === null || present.text !== text) {
    present = { text, limiter: new ConnectLimiter(parseConnectLimits(text)) };
  }
  return present.limiter;
}
