// Whether a failure is one lane's own: only then may it be parked. When nobody advances, the fault lies with what all lanes
// share, and parking them would resynchronize every account for nothing.
//
// Pure, and without a clock: a lane is blamed for attempts that failed while others advanced in between.

/** Attempts that fail while others advance, before a lane is parked: some ten seconds of refusals, a minute of silence. */
export const strikesMax = 6;

export type Blame = {
  /** Times that this lane has made something durable. */
  advances: number;
  /** Advances of all other lanes when the present request was first sent, and when it last failed. */
  othersAtSend: number;
  othersAtFailure: number;
  strikes: number;
};

/** Times that any lane has made something durable. */
export type Advances = { advances: number };

export function blameless(all: Advances): Blame {
  return { advances: 0, othersAtSend: all.advances, othersAtFailure: all.advances, strikes: 0 };
}

export function noteAdvance(all: Advances, blame: Blame): void {
  all.advances += 1;
  blame.advances += 1;
  blame.strikes = 0;
}

/** A request is sent for the first time. `isRepeated`: a snapshot that follows one that failed, and carries its failure on. */
export function noteSend(all: Advances, blame: Blame, isRepeated: boolean): void {
  blame.othersAtSend = all.advances - blame.advances;
  if (!isRepeated) blame.othersAtFailure = blame.othersAtSend;
}

export function noteFailure(all: Advances, blame: Blame): void {
  const others = all.advances - blame.advances;
  if (others > blame.othersAtFailure) blame.strikes += 1;
  blame.othersAtFailure = others;
}

/** Whether others have advanced since the present request was first sent. */
export function isOvertaken(all: Advances, blame: Blame): boolean {
  return all.advances - blame.advances > blame.othersAtSend;
}
