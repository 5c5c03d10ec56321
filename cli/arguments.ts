// The arguments of one command, read by parseArgs of node:util: a mistake in them becomes one sentence that names it and the
// way out.
import { parseArgs } from 'node:util';
import { UsageError } from '../dev/command.ts';

export type Option =
  | { readonly type: 'string'; /** Stands for the value in help. */ readonly value: string; readonly help: string }
  | { readonly type: 'boolean'; readonly short?: string; readonly help: string };
export type Options = Readonly<Record<string, Option>>;

export const commonOptions = {
  json: { type: 'boolean', help: 'print one JSON value instead of text' },
  help: { type: 'boolean', short: 'h', help: 'print this' },
} as const satisfies Options;

/** `commandLine` is what the person typed up to its arguments. Throws a {@link UsageError}. */
export function readArguments<const Own extends Options>(commandLine: string, args: readonly string[], options: Own) {
  try {
    return parseArgs({
      args: [...args],
      options: { ...options, ...commonOptions },
      allowPositionals: true,
      strict: true,
    });
  } catch (cause) {
    throw new UsageError(`${mistakeIn(cause)}: \`${commandLine} --help\` tells what it takes.`, { cause });
  }
}

/** The value of something that cannot be left out. `problem` says what is missing and gives an example. */
export function required(value: string | undefined, problem: string): string {
  if (value === undefined || value.trim() === '') throw new UsageError(problem);
  return value;
}

/** Throws unless there are `max` arguments without dashes at most; `takes` says what they are. */
export function atMost(positionals: readonly string[], max: number, takes: string): void {
  const extra = positionals[max];
  if (extra !== undefined) throw new UsageError(`The argument ${JSON.stringify(extra)} is one too many: ${takes}.`);
}

function mistakeIn(cause: unknown): string {
  const message = cause instanceof Error ? cause.message : String(cause);
  const code = cause instanceof Error && 'code' in cause ? cause.code : null;
  const option = /'(?:-\w, )?(-[^\s'=]*)/.exec(message)?.[1] ?? '';
  if (code === 'ERR_PARSE_ARGS_UNKNOWN_OPTION') return `There is no option ${option}`;
  if (message.includes('does not take an argument')) return `The option ${option} takes no value`;
  return `The option ${option} lacks its value`;
}
