// From a command line to an exit status: finds the command, runs it, prints its outcome. Whatever fails becomes one sentence
// on standard error, without a stack.
import { UsageError } from '../dev/command.ts';
import { program, type Command, type Outcome } from './command.ts';
import { cut } from './cut.ts';
import { commandHelp, overview } from './help.ts';
import { access } from './access.ts';
import { explain } from './explain.ts';
import { flows } from './flows.ts';
import { log } from './log.ts';
import { resync } from './resync.ts';
import { readSettings } from './settings.ts';
import { sql } from './sql.ts';
import { status } from './status.ts';
import { printable } from './table.ts';
import { tokenCreate } from './token-create.ts';
import { tokenKeys } from './token-keys.ts';
import { tokenRevoke } from './token-revoke.ts';
import { verify } from './verify.ts';

export const commands: readonly Command[] = [
  tokenCreate,
  tokenRevoke,
  tokenKeys,
  status,
  explain,
  access,
  flows,
  log,
  verify,
  resync,
  cut,
  sql,
];

export type Surroundings = {
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly out: (text: string) => void;
  readonly err: (text: string) => void;
};

/** 0: done. 1: it failed, or not all is well. 2: the command line or a variable is wrong. Never throws. */
export async function run(args: readonly string[], { env, out, err }: Surroundings): Promise<0 | 1 | 2> {
  const complain = (message: string) => err(`drawbridge: ${printable(message.trim().replaceAll(/\s+/g, ' '))}\n`);
  try {
    const chosen = choose(args);
    if (chosen.type === 'help') {
      out(chosen.text);
      return 0;
    }
    const { command, rest } = chosen;
    const outcome = await command.run(rest, readSettings(env));
    out(render(outcome, rest));
    if (typeof outcome.failure !== 'string') return 0;
    complain(outcome.failure);
    return 1;
  } catch (cause) {
    complain(cause instanceof Error ? cause.message : String(cause));
    return cause instanceof UsageError ? 2 : 1;
  }
}

type Chosen =
  | { readonly type: 'help'; readonly text: string }
  | { readonly type: 'command'; readonly command: Command; readonly rest: readonly string[] };

function choose(args: readonly string[]): Chosen {
  const [first, second] = args;
  if (first === undefined || first === '--help' || first === '-h') return { type: 'help', text: overview(commands) };
  const command = commands.find(({ name }) => name === first || name === `${first} ${second}`);
  if (command === undefined) throw new UsageError(unknown(first, second));
  const rest = args.slice(command.name.split(' ').length);
  return wantsHelp(rest) ? { type: 'help', text: commandHelp(command) } : { type: 'command', command, rest };
}

function wantsHelp(args: readonly string[]): boolean {
  const end = args.indexOf('--');
  const options = end === -1 ? args : args.slice(0, end);
  return options.includes('--help') || options.includes('-h');
}

function unknown(first: string, second: string | undefined): string {
  const ofTopic = commands.filter(({ name }) => name.startsWith(`${first} `)).map(({ name }) => name);
  const advice = `\`${program} --help\` tells more`;
  if (ofTopic.length > 0) {
    const got = second === undefined ? 'nothing' : JSON.stringify(second);
    const expected = new Intl.ListFormat('en', { type: 'disjunction' }).format(ofTopic);
    return `After ${first}, ${expected} was expected, got ${got}: ${advice}.`;
  }
  const names = commands.map(({ name }) => name).join(', ');
  if (first.startsWith('-')) return `The command comes before ${first}, and is one of ${names}: ${advice}.`;
  return `There is no command ${JSON.stringify(first)} among ${names}: ${advice}.`;
}

function render({ json, text }: Outcome, args: readonly string[]): string {
  return `${args.includes('--json') ? JSON.stringify(json) : text}\n`;
}
