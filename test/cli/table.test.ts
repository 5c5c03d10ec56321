// Aligned text tables.
import { expect, test } from 'vitest';
import { printable, renderTable } from '../../cli/table.ts';

test('a table aligns words to the left and numbers to the right, by what people see as a character', () => {
  const text = renderTable(
    [
      { name: 'name', align: 'left' },
      { name: 'n', align: 'right' },
      { name: 'note', align: 'left' },
    ],
    [
      ['Zoë', '7', ''],
      ['Bo', '1200', 'x'],
    ],
  );

  expect(text.split('\n')).toEqual(['name     n  note', 'Zoë      7', 'Bo    1200  x']);
});

test('a cell cannot break its line or move the cursor', () => {
  expect(printable('a\nb\u001b[31mc\u009bd\u2028e')).toBe(String.raw`a\nb\u001b[31mc\u009bd\u2028e`);
});
