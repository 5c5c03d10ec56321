// How long a flush waits for Postgres, milliseconds.

export const connectMsMax = 5000;

/**
 * For a statement. Longer than Postgres lets one of the edge's role take: its error is of that part of the flush alone, while an answer
 * that does not come makes all of the flush again.
 */
export const queryMsMax = 17_000;

/** How long who writes waits for others before it is put off. */
export const turnWaitMsMax = 10_000;
