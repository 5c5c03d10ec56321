// The commands of docs/recipes.md, so that they can be tried as they stand.
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { program } from '../../cli/command.ts';

const text = readFileSync(fileURLToPath(new URL('../../docs/recipes.md', import.meta.url)), 'utf8');

/** What follows the program on each line. Throws when a line begins with another one. */
export const recipeLines = [...text.matchAll(/^```sh\n([^`]*)```$/gm)].flatMap(([, block = '']) =>
  block
    .trim()
    .split('\n')
    .map((line) => {
      if (!line.startsWith(`${program} `)) throw new Error(`not a command of drawbridge: ${line}`);
      return line.slice(program.length + 1);
    }),
);

/** The words of a shell line, with single and double quotes. */
export function wordsOf(line: string): string[] {
  return [...line.matchAll(/"((?:[^"\\]|\\.)*)"|'([^']*)'|(\S+)/g)].map(
    ([, double, single, bare]) => double?.replaceAll(/\\(.)/g, '$1') ?? single ?? bare ?? '',
  );
}
