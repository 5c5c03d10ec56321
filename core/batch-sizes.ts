// How many records of each kind go in one flush: as many as may, unless Postgres did not take the last ones. They may have been too
// many for the time that a statement has there, as where a trigger looks at each or its disk is slow, and the same again would fail
// again. So each failure makes them fewer, and each success more, up to the most: a few flushes later all is as before.
import type { BatchAnswer } from '../protocol/write-back.ts';

/** Records of one kind in one flush, at most. */
export const batchRecordsMax = 1000;

/** The parts that are as long as what waits. */
const sizedParts = ['devices', 'flows', 'holds'] as const satisfies readonly BatchAnswer['failed'][number][];

export type BatchSizes = Record<(typeof sizedParts)[number], number>;

export function fullBatches(): BatchSizes {
  return { devices: batchRecordsMax, flows: batchRecordsMax, holds: batchRecordsMax };
}

/** A flush has been answered, but for the parts in `failed`. */
export function adaptSizes(sizes: BatchSizes, failed: BatchAnswer['failed']): void {
  for (const part of sizedParts) {
    sizes[part] = failed.includes(part)
      ? Math.max(1, Math.floor(sizes[part] / 4))
      : Math.min(batchRecordsMax, sizes[part] * 2);
  }
}

/** Nothing of a flush has arrived. */
export function shrinkAll(sizes: BatchSizes): void {
  adaptSizes(sizes, sizedParts);
}
