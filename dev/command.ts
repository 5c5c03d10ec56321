// What every command that stays in the foreground has in common: it ends cleanly on SIGINT and SIGTERM, and a mistake of its
// user ends it with one sentence instead of a stack.

/** A mistake of the person at the keyboard: its message is one sentence that says what is wrong and what to do. */
export class UsageError extends Error {
  override readonly name = 'UsageError';
}

/** Runs `start`; what it returns is called once when the command has to end. Exits 2 on a {@link UsageError}, 1 on others. */
export async function runCommand(start: () => Promise<() => Promise<void>>): Promise<void> {
  try {
    const stop = await start();
    await new Promise<void>((resolve) => {
      process.once('SIGINT', resolve);
      process.once('SIGTERM', resolve);
    });
    await stop();
    process.exit(0);
  } catch (cause) {
    report(cause);
  }
}

/** Prints what went wrong and exits. */
export function report(cause: unknown): never {
  const message = cause instanceof Error ? cause.message : String(cause);
  process.stderr.write(`drawbridge: ${message}\n`);
  process.exit(cause instanceof UsageError ? 2 : 1);
}
