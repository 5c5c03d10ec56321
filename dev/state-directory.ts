// Where the development system keeps what it keeps from run to run: DRAWBRIDGE_STATE, or `.drawbridge/` beside the sources.
import { mkdirSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { UsageError } from './command.ts';

type Environment = Readonly<Record<string, string | undefined>>;

export function stateDirectory(env: Environment): string {
  const given = env['DRAWBRIDGE_STATE'] ?? '';
  return given === '' ? fileURLToPath(new URL('../.drawbridge', import.meta.url)) : given;
}

/** The same, made if it is not there. */
export function madeStateDirectory(env: Environment): string {
  const directory = stateDirectory(env);
  try {
    mkdirSync(directory, { recursive: true });
    return directory;
  } catch (cause) {
    const code = cause instanceof Error && 'code' in cause ? String(cause.code) : String(cause);
    const advice = 'set DRAWBRIDGE_STATE to a directory that you may write to';
    throw new UsageError(`${directory} cannot be made a directory (${code}): ${advice}.`, { cause });
  }
}
