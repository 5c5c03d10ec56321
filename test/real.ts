// `npm run test:real -- --client PATH --gateway PATH --relay PATH`: the list of docs/real-devices.md, run against real programs in
// network namespaces of their own, as root, on Linux. DRAWBRIDGE_REAL_CLIENT, _GATEWAY and _RELAY say the same. `--until STEP`
// ends after that step; `--wait SECONDS` (default 90) is how long a program may take for anything; `--verbose` prints what the
// programs and the parts print.
//
// Prints a line per step: `ok`, or `FAILED` with what was not seen; after a failure nothing else is tried. Exit code 0 when all was
// seen, or when no program was given at all, which is said; 1 when something was not seen; 2 when something is missing.
import { resolve } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { parseArgs } from 'node:util';
import { makeStage } from './real/stage.ts';
import { missingOf, thisMachine } from './real/needs.ts';
import { roles } from './real/network.ts';
import { steps } from './real/steps.ts';
import type { Paths, Stage } from './real/stage.ts';

const text = { type: 'string' } as const;
const { values } = parseArgs({
  options: { client: text, gateway: text, relay: text, until: text, wait: text, verbose: { type: 'boolean' } },
});
const say = (line: string) => void process.stdout.write(`${line}\n`);
const given = (role: (typeof roles)[number]) => {
  const path = values[role] ?? process.env[`DRAWBRIDGE_REAL_${role.toUpperCase()}`] ?? '';
  return path === '' ? undefined : resolve(path);
};
const { client, gateway, relay } = { client: given('client'), gateway: given('gateway'), relay: given('relay') };
const waitMsMax = Number(values.wait ?? '90') * 1000;
const last = steps.findIndex(({ name }) => name === (values.until ?? steps.at(-1)?.name));
const missing = missingOf(thisMachine(), {
  ...(client === undefined ? {} : { client }),
  ...(gateway === undefined ? {} : { gateway }),
  ...(relay === undefined ? {} : { relay }),
});

if (client === undefined && gateway === undefined && relay === undefined) {
  say('test:real: SKIPPED, no program was given: --client PATH --gateway PATH --relay PATH (docs/real-devices.md)');
} else if (last === -1) {
  say(`test:real: --until takes one of ${steps.map(({ name }) => name).join(', ')}`);
  process.exitCode = 2;
} else if (!(waitMsMax > 0)) {
  say('test:real: --wait takes seconds, above 0');
  process.exitCode = 2;
} else if (client === undefined || gateway === undefined || relay === undefined || missing.length > 0) {
  for (const thing of missing) say(`test:real: missing: ${thing}`);
  process.exitCode = 2;
} else {
  await main({ client, gateway, relay });
}

async function main(paths: Paths): Promise<void> {
  const printed: string[] = [];
  const onLine = (part: string, line: string) => {
    printed.push(`${part}: ${line}`);
    if (values.verbose === true) say(`      ${part}: ${line}`);
  };
  const stage = await makeStage(paths, { waitMsMax, onLine });
  const end = (signal: string) => {
    say(`test:real: ${signal}, cleaning up`);
    void stage.stop().then(() => process.exit(1));
  };
  for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => end(signal));
  try {
    const failed = await play(stage);
    if (failed && values.verbose !== true) for (const line of printed.slice(-100)) say(`      ${line}`);
    say(failed ? 'test:real: FAILED' : `test:real: ${last + 1} of ${steps.length} steps seen`);
    process.exitCode = failed ? 1 : 0;
  } finally {
    await stage.stop();
  }
  // What a failed step still waits for does not keep anybody.
  process.exit();
}

/** Whether something was not seen. */
async function play(stage: Stage): Promise<boolean> {
  for (const [i, { name, what, run }] of steps.slice(0, last + 1).entries()) {
    const began = Date.now();
    const problem = await unlessOneFails(stage, run(stage)).then(
      () => problemOf(stage),
      (cause: unknown) => (cause instanceof Error ? cause.message : String(cause)),
    );
    const took = `${((Date.now() - began) / 1000).toFixed(1)} s`;
    if (problem === null) {
      say(`${i + 1}  ok      ${name}: ${what} (${took})`);
      continue;
    }
    say(`${i + 1}  FAILED  ${name}: ${problem} (${took})`);
    for (const later of steps.slice(i + 1, last + 1)) say(`   not run ${later.name}`);
    return true;
  }
  return false;
}

/** Settles as `played` does, unless a program has a problem before. */
async function unlessOneFails(stage: Stage, played: Promise<void>): Promise<void> {
  const over = new AbortController();
  const watch = async (): Promise<void> => {
    for (;;) {
      const problem = problemOf(stage);
      if (problem !== null) throw new Error(problem);
      await delay(100, undefined, { signal: over.signal });
    }
  };
  try {
    await Promise.race([played, watch()]);
  } finally {
    over.abort();
  }
}

/** What is wrong with a program: it has ended by itself, or says in the words of the real ones that it could not read a message. */
function problemOf({ programs }: Stage): string | null {
  for (const role of roles) {
    const { lines, died } = programs[role];
    const line = lines.find((printed) => printed.includes('Failed to deserialize'));
    if (line !== undefined) return `the ${role} could not read a message: ${line}`;
    const how = died();
    if (how !== null) return `the ${role} ended by itself (${how})`;
  }
  return null;
}
