// The `drawbridge` command: `npm run -s drawbridge -- COMMAND`. Everything it does is in run.ts.
import { run } from './run.ts';

// Whoever reads may have seen enough, as `head` does.
process.stdout.on('error', (cause: Error) => {
  if (!('code' in cause && cause.code === 'EPIPE')) throw cause;
});

process.exitCode = await run(process.argv.slice(2), {
  env: process.env,
  out: (text) => void process.stdout.write(text),
  err: (text) => void process.stderr.write(text),
});
