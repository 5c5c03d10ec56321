// A token bucket: so many at once, then so many a second. Pure; the caller says what time it is.

export type Rate = { readonly burst: number; readonly perSecond: number };

export type Bucket = {
  /** What is left of the burst. */
  left: number;
  /** When that was so, milliseconds since 1970-01-01 UTC. */
  at: number;
};

export function fullBucket({ burst }: Rate, now: number): Bucket {
  return { left: burst, at: now };
}

/** Takes one out. Returns 0, or how many seconds to wait until there is one again; nothing is taken then. */
export function takeOne(bucket: Bucket, { burst, perSecond }: Rate, now: number): number {
  const passedMs = Math.max(0, now - bucket.at);
  bucket.left = Math.min(burst, bucket.left + (passedMs / 1000) * perSecond);
  bucket.at = now;
  if (bucket.left < 1) return (1 - bucket.left) / perSecond;
  bucket.left -= 1;
  return 0;
}
