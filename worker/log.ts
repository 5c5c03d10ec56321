// One structured line per event, data in fields, never row contents or secrets.

type Fields = Readonly<Record<string, string | number | boolean | null>>;

/** A change that people notice. */
export function info(event: string, fields: Fields = {}): void {
  write('info', event, fields);
}

/** Worth looking at today. */
export function warn(event: string, fields: Fields = {}): void {
  write('warn', event, fields);
}

/** Somebody should be woken. The cause's name and message are kept, its stack is not. */
export function error(event: string, cause: unknown, fields: Fields = {}): void {
  const { name, message } = cause instanceof Error ? cause : { name: 'unknown', message: String(cause) };
  write('error', event, { ...fields, name, message });
}

function write(level: string, event: string, fields: Fields): void {
  // oxlint-disable-next-line no-console
  console.log(JSON.stringify({ level, event, ...fields }));
}
