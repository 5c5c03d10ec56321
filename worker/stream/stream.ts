// The one Stream object: issues terms, which fence senders of the change stream. A term is issued to whoever holds the
// leader's lock in Postgres; it only grows, also across a restored database, since it is counted here and not there.
import { DurableObject } from 'cloudflare:workers';
import * as log from '../log.ts';
import type { Env } from '../env.ts';
import type { LeadAnswer, LeadRequest } from '../../protocol/ingest.ts';

export class Stream extends DurableObject<Env> {
  /** Issues the next term, durably, before it is answered. */
  lead({ systemIdentifier, timeline, termFloor }: LeadRequest): LeadAnswer {
    const { kv } = this.ctx.storage;
    const term = Math.max(kv.get<number>('term') ?? 0, termFloor) + 1;
    kv.put('term', term);
    log.info('term_issued', { term, system_identifier: systemIdentifier, timeline });
    return { term };
  }
}
