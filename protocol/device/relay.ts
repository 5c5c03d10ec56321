// Messages of relays: a join with the stamp secret, answered by `init`; nothing else is said either way. All generations speak
// alike.
import * as v from 'valibot';
import { stampSecret } from '../link.ts';

/** The payload of a relay's join. */
export const relayJoin = v.object({ stamp_secret: stampSecret });

const init = v.strictObject({});

export const toRelay = { init: { A: init, C: init, B: init } } as const;
