// What a database snapshot sees, asked by transaction id. The stream runs ahead of visibility: a commit reaches its reader
// once its record is flushed, and other sessions see it later. Only snapshots taken on the primary may be asked here.

/** A 64-bit transaction id: epoch and 32-bit id, as pg_current_snapshot() counts them. */
export type Xid = bigint;

/** The text of pg_current_snapshot(), `xmin:xmax:xip,xip` (https://www.postgresql.org/docs/18/functions-info.html). */
export type PgSnapshot = { readonly xmin: Xid; readonly xmax: Xid; readonly inProgress: ReadonlySet<Xid> };

/** Throws SyntaxError when `text` is not a snapshot. */
export function parsePgSnapshot(text: string): PgSnapshot {
  const match = /^(\d+):(\d+):((?:\d+)?(?:,\d+)*)$/.exec(text);
  if (match === null) throw new SyntaxError(`expected a snapshot like 10:20:10,14, got ${JSON.stringify(text)}`);
  const [, xmin = '', xmax = '', inProgress = ''] = match;
  return {
    xmin: BigInt(xmin),
    xmax: BigInt(xmax),
    inProgress: new Set(inProgress === '' ? [] : inProgress.split(',').map(BigInt)),
  };
}

/** As pg_current_snapshot() prints it. */
export function formatPgSnapshot({ xmin, xmax, inProgress }: PgSnapshot): string {
  return `${xmin}:${xmax}:${[...inProgress].join()}`;
}

/** Whether the snapshot sees a committed top-level transaction. Says nothing about subtransactions. */
export function isVisible(snapshot: PgSnapshot, xid: Xid): boolean {
  if (xid < snapshot.xmin) return true;
  return xid < snapshot.xmax && !snapshot.inProgress.has(xid);
}

/** The 64-bit id with these low 32 bits that lies nearest to `near`. Ids alive at one time lie within 2^31 of each other. */
export function widenXid(xid32: number, near: Xid): Xid {
  const distance = BigInt.asIntN(32, BigInt(xid32) - near);
  return near + distance;
}
