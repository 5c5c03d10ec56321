// What a bench has measured, as rows of one table: printed, or handed to bench/main.ts when that has started it.

/** One measurement: `beside` is its peer in the same run, `budget` what it should keep to; `-` where there is none. */
export type Row = {
  readonly what: string;
  readonly measured: string;
  readonly beside: string;
  readonly budget: string;
};

export function report(what: string, measured: string, { beside = '-', budget = '-' } = {}): void {
  if (process.send !== undefined) process.send({ what, measured, beside, budget });
  else process.stdout.write(`${what}\n    ${measured}   beside it: ${beside}   budget: ${budget}\n`);
}

/** Microseconds, milliseconds or whatever the samples are, at a part of them between 0 and 1. */
export function percentile(samples: readonly number[], part: number): number {
  const sorted = samples.toSorted((a, b) => a - b);
  return sorted[Math.floor(part * (sorted.length - 1))] ?? Number.NaN;
}

/** `p50 1.2 ms, p99 3.4 ms`. */
export function percentiles(samples: readonly number[], unit: string, digits = 1): string {
  const at = (part: number) => percentile(samples, part).toFixed(digits);
  return `p50 ${at(0.5)} ${unit}, p99 ${at(0.99)} ${unit}`;
}
