// What a run says of itself, for health checks. A snapshot in time; nothing decides by it.

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
  /** Lanes that wait for a snapshot. */
  readonly held: number;
  /** Lanes that the slot does not wait for, since they failed alone. */
  readonly parked: number;
};
