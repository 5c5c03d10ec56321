// The options of the long proofs, `npm run prove…`: each takes a value and has a default. A mistake is one sentence and status 2.
import { parseArgs } from 'node:util';

/** The text of each option by name. `takes` says what they are, for {@link refuse}. */
export function readProofOptions<Name extends string>(
  script: string,
  defaults: Readonly<Record<Name, string>>,
  takes: string,
): Readonly<Record<Name, string>> {
  const names = Object.keys(defaults);
  try {
    const { values } = parseArgs({
      options: Object.fromEntries(names.map((name) => [name, { type: 'string' as const }])),
    });
    return { ...defaults, ...values };
  } catch {
    return refuse(script, takes);
  }
}

/** Ends the process. */
export function refuse(script: string, takes: string): never {
  process.stderr.write(`${script}: ${takes}\n`);
  process.exit(2);
}
