// One structured line per event on standard error. Fields hold names, counts and positions; never row contents, never a
// secret, never the text of a query's parameters.

export type LogFields = Readonly<Record<string, string | number | boolean | null>>;
/** `info`: a change people notice. `warn`: worth looking at today. `error`: somebody should be woken. */
export type LogLevel = 'info' | 'warn' | 'error';
export type Log = (level: LogLevel, event: string, fields?: LogFields) => void;

export const log: Log = (level, event, fields = {}) => {
  process.stderr.write(`${JSON.stringify({ time: new Date().toISOString(), level, event, ...fields })}\n`);
};

/** What an error says of itself, without its stack. */
export function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
