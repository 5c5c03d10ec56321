// Text tables with aligned columns. Control characters of a cell are shown as escapes: a value in the database cannot move
// the cursor of whoever looks at it.

const graphemes = new Intl.Segmenter('en', { granularity: 'grapheme' });

export type Column = { readonly name: string; readonly align: 'left' | 'right' };

/** One line a row below a line of names; no trailing blanks. */
export function renderTable(columns: readonly Column[], rows: readonly (readonly string[])[]): string {
  const lines = [columns.map(({ name }) => name), ...rows].map((row) => row.map(printable));
  const widths = columns.map((_, i) => lines.reduce((width, row) => Math.max(width, lengthOf(row[i] ?? '')), 0));
  const render = (row: readonly string[]) =>
    columns
      .map(({ align }, i) => pad(row[i] ?? '', widths[i] ?? 0, align))
      .join('  ')
      .trimEnd();
  return lines.map(render).join('\n');
}

/** `text` on one line, without anything that a terminal would obey. */
export function printable(text: string): string {
  return text.replaceAll(/[\p{Cc}\p{Zl}\p{Zp}]/gu, (character) => {
    const escaped = JSON.stringify(character).slice(1, -1);
    const code = character.codePointAt(0) ?? 0;
    return escaped === character ? `\\u${code.toString(16).padStart(4, '0')}` : escaped;
  });
}

function pad(text: string, width: number, align: Column['align']): string {
  const blanks = ' '.repeat(width - lengthOf(text));
  return align === 'left' ? text + blanks : blanks + text;
}

function lengthOf(text: string): number {
  return [...graphemes.segment(text)].length;
}
