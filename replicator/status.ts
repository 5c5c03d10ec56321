// What a run says of itself, for health checks. A snapshot in time; nothing decides by it.

/** Bytes that may wait for answers before reading pauses; it resumes below three fifths of it. */
export const windowBytesMax = 32 * 1024 * 1024;

export type RunStatus =
  | { readonly type: 'down' }
  | { readonly type: 'standby' }
  | { readonly type: 'streaming'; readonly report: () => PipelineReport };

export type PipelineReport = {
  readonly isFresh: boolean;
  readonly epoch: number;
  readonly term: number;
  readonly slot: string;
  /** Postgres's notation. */
  readonly confirmedLsn: string;
  readonly lanes: number;
  /** Commit time of the last heartbeat that the edge has heard, milliseconds since 1970-01-01 UTC; null before the first. */
  readonly appliedToMs: number | null;
  /** From its COMMIT to durable in the canary account's object. */
  readonly lagMs: number | null;
  /** Lanes that wait for a snapshot. */
  readonly held: number;
  /** Lanes that the slot does not wait for, since they failed alone. */
  readonly parked: number;
  /** Bytes that wait for answers, and for the change log. */
  readonly windowBytes: number;
  readonly changeLogBytes: number;
  readonly isPaused: boolean;
  /** Commits that may not be confirmed yet. */
  readonly incompleteCommits: number;
  /** From what is confirmed to the end of the WAL that was received. */
  readonly unconfirmedBytes: number;
};
