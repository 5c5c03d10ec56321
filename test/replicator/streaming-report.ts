// What a leading replicator that streams says of itself, with every number there is.
import type { PipelineReport } from '../../replicator/status.ts';

export const streamingReport: PipelineReport = {
  isFresh: true,
  epoch: 2,
  term: 3,
  slot: 'drawbridge',
  confirmedLsn: '0/10',
  appliedToMs: 1_700_000_000_123,
  lagMs: 12.4,
  lanes: 101,
  held: 2,
  parked: 1,
  windowBytes: 4096,
  changeLogBytes: 7,
  isPaused: false,
  incompleteCommits: 5,
  unconfirmedBytes: 160,
};
