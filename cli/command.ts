// What a command of `drawbridge` is: how help describes it, and a function from its arguments to an outcome. A command prints
// nothing itself; a mistake of its user is a UsageError, any other failure an Error whose message is one sentence.
import type { Options } from './arguments.ts';
import type { Settings } from './settings.ts';

export type Command = {
  /** The words that select it. */
  readonly name: string;
  /** What follows the name in its usage. */
  readonly usage: string;
  /** One line. */
  readonly summary: string;
  /** What else there is to know; lines of 100 characters at most. */
  readonly details: string;
  readonly options: Options;
  /** What follows `drawbridge` on the command line. */
  readonly examples: readonly string[];
  readonly run: (args: readonly string[], settings: Settings) => Promise<Outcome>;
};

export type Outcome = {
  /** What --json prints. */
  readonly json: unknown;
  /** What is printed without it. */
  readonly text: string;
  /** One sentence when not all is well although there is something to print; the exit status is 1 then. */
  readonly failure?: string | null;
};

/** What stands before a command on a person's command line. */
export const program = 'npm run -s drawbridge --';
