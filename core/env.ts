// What a step may know of the world: the time, some chance and the hash functions, all handed in.
import type { Hashes } from './hashes.ts';

export type Env = {
  /** Milliseconds since 1970-01-01 UTC. */
  readonly now: number;
  /** Unguessable text, different for every step. */
  readonly seed: string;
  readonly hashes: Hashes;
};
