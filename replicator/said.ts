// What the messages inside of one transaction say: what steers the stream, and who made the transaction.
//
// Each message is read as it arrives and nothing of it is kept but what it says, so that a transaction with a million messages,
// which any role may emit, costs no memory: of the subjects two are kept, of the rest what is signed, each thing once.
import * as v from 'valibot';
import { everyAccount, messagePrefix, type Steering } from '../protocol/steering.ts';
import { parseSteering } from './steering.ts';

export type Said = {
  /** Signed by a holder of an ingest key, each once, in order. */
  readonly steering: readonly Steering[];
  /** JSON text: what act_as said last, else what the first statement said of its session; null when nothing was said. */
  readonly subject: string | null;
  /** Messages under our prefix that are neither: of somebody who holds no key, or forgot what a message is. */
  readonly ignored: number;
};

export const nothingSaid: Said = { steering: [], subject: null, ignored: 0 };

/** What may steer the stream, in one transaction, each thing once. */
export const steeringMax = 1_000;
const subjectBytesMax = 4_096;
/** What jsonb takes: any role may say anything, and what the log cannot store must not hold up everybody. */
const storable = v.pipe(
  v.string(),
  v.check((said) => said.isWellFormed() && !said.includes('\0')),
);
const text = v.nullish(storable, null);
const subjectMessage = v.pipe(
  v.string(),
  v.maxBytes(subjectBytesMax),
  v.parseJson(),
  v.object({
    type: v.literal('subject'),
    subject: v.object({
      role: storable,
      application: text,
      address: text,
      name: v.optional(storable),
      reason: v.optional(v.nullable(storable)),
    }),
  }),
);
type Subject = v.InferOutput<typeof subjectMessage>['subject'];

export class Listener {
  readonly #ingestKeys: readonly string[];
  readonly #steering = new Map<string, Steering>();
  #first: Subject | null = null;
  #named: Subject | null = null;
  #ignored = 0;

  constructor(ingestKeys: readonly string[]) {
    this.#ingestKeys = ingestKeys;
  }

  take(message: { readonly prefix: string; readonly content: string }): void {
    if (message.prefix !== messagePrefix) return;
    const steering = parseSteering(message, this.#ingestKeys);
    if (steering !== null) {
      this.#keep(steering);
      return;
    }
    const parsed = v.safeParse(subjectMessage, message.content);
    if (!parsed.success) {
      this.#ignored += 1;
      return;
    }
    const { subject } = parsed.output;
    this.#first ??= subject;
    if (subject.name !== undefined) this.#named = subject;
  }

  /** Beyond the bound a request for a snapshot becomes one for every account, and of the rest there are never so many. */
  #keep(steering: Steering): void {
    const isKept = this.#steering.size < steeringMax || this.#steering.has(purposeOf(steering));
    if (isKept) this.#steering.set(purposeOf(steering), steering);
    else if (steering.type === 'resync') {
      const ofEvery: Steering = { type: 'resync', account: everyAccount, at: steering.at };
      this.#steering.set(purposeOf(ofEvery), ofEvery);
    } else this.#ignored += 1;
  }

  said(): Said {
    const subject = this.#named ?? this.#first;
    return {
      steering: [...this.#steering.values()],
      subject: subject === null ? null : JSON.stringify(subject),
      ignored: this.#ignored,
    };
  }
}

/** Of two messages with the same one, only the later counts. */
function purposeOf(message: Steering): string {
  switch (message.type) {
    case 'resync':
      return `resync ${message.account}`;
    case 'marker':
      return `marker ${message.id}`;
    case 'heartbeat':
      return `heartbeat ${message.run}`;
  }
}
