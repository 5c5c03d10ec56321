// The page of numbers: its form, and that every bound stands on it.
import { expect, test } from 'vitest';
import { Counters, renderMetrics } from '../../replicator/metrics.ts';
import { windowBytesMax } from '../../replicator/status.ts';
import { streamingReport as report } from './streaming-report.ts';

test('[P15.47] the metrics show every lane, wait and bound, each with its help and type, and counters outlive a run', () => {
  const counters = new Counters();
  counters.add('deliveries', 1, 'applied');
  counters.add('deliveries', 2, 'applied');
  counters.add('deliveries', 1, 'none');
  const text = renderMetrics({ type: 'streaming', report: () => report }, counters);
  const lines = text.split('\n');

  expect(lines).toContain('drawbridge_replicator_deliveries_total{answer="applied"} 3');
  expect(lines).toContain('drawbridge_replicator_deliveries_total{answer="none"} 1');
  expect(lines).toContain('drawbridge_replicator_retries_total 0');
  expect(lines).toContain('drawbridge_replicator_lanes_parked 1');
  expect(lines).toContain('drawbridge_replicator_applied_to_seconds 1700000000');
  expect(lines).toContain('drawbridge_replicator_lag_ms 12');
  expect(lines).toContain('drawbridge_replicator_unconfirmed_bytes 160');
  expect(lines).toContain(`drawbridge_replicator_bound{name="window_bytes"} ${windowBytesMax}`);
  for (const [, name] of text.matchAll(/^(drawbridge_[a-z_]+)/gm)) {
    expect(lines.some((line) => line.startsWith(`# HELP ${name} `))).toBe(true);
    expect(lines.some((line) => new RegExp(`^# TYPE ${name} (?:gauge|counter)$`).test(line))).toBe(true);
  }
  expect(lines.filter((line) => !/^(?:# (?:HELP|TYPE) .+|[a-z_]+(?:\{[a-z]+="[a-z_-]+"\})? \d+|)$/.test(line))).toEqual(
    [],
  );
  const down = renderMetrics({ type: 'down' }, counters);
  expect(down).toContain('drawbridge_replicator_leader 0\n');
  expect(down).toContain('drawbridge_replicator_deliveries_total{answer="applied"} 3');
});
