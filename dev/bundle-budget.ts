// The size of the worker's bundle as the platform counts it: every module of the directory that `wrangler deploy --dry-run
// --outdir` wrote, gzipped. Prints it, and fails with a sentence when it is over the budget.
import { readFileSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import { report } from './command.ts';

const budgetBytes = 250_000;

/** Bytes of the gzipped bundle in `dir`. Throws one sentence when there is none. */
function bundleBytes(dir: string): number {
  const modules = readdirSync(dir).filter((name) => /\.(?:js|mjs|wasm)$/.test(name));
  if (modules.length === 0) throw new Error(`There is no bundle in ${dir}: run npm run build.`);
  return gzipSync(Buffer.concat(modules.map((name) => readFileSync(join(dir, name))))).length;
}

const [, , dir = 'dist'] = process.argv;
try {
  const bytes = bundleBytes(dir);
  const size = `${(bytes / 1000).toFixed(1)} kB gzipped, of ${budgetBytes / 1000} kB`;
  if (bytes >= budgetBytes) {
    throw new Error(`The bundle has ${size}: find what has grown in ${join(dir, 'index.js')} and leave it out.`);
  }
  console.log(`the bundle has ${size}`);
} catch (cause) {
  report(cause);
}
