// What --help prints: the overview of all commands, and each command's own page.
import { commonOptions, type Options } from './arguments.ts';
import { program, type Command } from './command.ts';

export function overview(commands: readonly Command[]): string {
  const width = Math.max(...commands.map(({ name }) => name.length));
  return `drawbridge operates a Drawbridge: its accounts, its tokens, its state.

Usage: ${program} COMMAND [arguments] [options]

Commands
${commands.map(({ name, summary }) => `  ${name.padEnd(width)}  ${summary}`).join('\n')}

Each takes --help, which tells the rest, and --json, which prints one JSON value.

Examples
${commands.map(({ examples }) => `  ${program} ${examples[0] ?? ''}`).join('\n')}

Environment
  DATABASE_URL           the owner's; default: the development database
  WORKER_URL             where the worker listens; default http://127.0.0.1:8787
  DRAWBRIDGE_HTTP_URL    where the replicator serves its health; default http://127.0.0.1:9464
  DRAWBRIDGE_TOKEN_KEYS  the worker's, as id:secret; default: from .drawbridge/env, written by npm run dev
  DRAWBRIDGE_INGEST_KEY  the worker's; default: from the same file
  DRAWBRIDGE_STATE       the directory of that file, if not .drawbridge

Exit status: 0 done; 1 it failed, or not all is well; 2 the command line or a variable is wrong.
`;
}

export function commandHelp({ name, usage, summary, details, options, examples }: Command): string {
  return `drawbridge ${name}: ${summary}

Usage: ${`${program} ${name} ${usage}`.trimEnd()}

${details}

Options
${optionLines({ ...options, ...commonOptions })}

Examples
${examples.map((example) => `  ${program} ${example}`).join('\n')}
`;
}

/** One line an option. */
export function optionLines(options: Options): string {
  const shown = Object.entries(options).map(([name, option]) => ({
    written: option.type === 'string' ? `--${name} ${option.value}` : `--${name}`,
    help: option.help,
  }));
  const width = Math.max(...shown.map(({ written }) => written.length));
  return shown.map(({ written, help }) => `  ${written.padEnd(width)}  ${help}`).join('\n');
}
