// What cannot travel as it is: a value that is not of its type's form, and what makes a row larger than an object can store.
// In its place goes a mark with the reason, so that the row is known, grants nothing, and is reported; everything else of the
// stream goes on. The stream and the snapshot both read here, and what a row is marked for depends on the row alone.
import { unreadableValue, type WireRow, type WireValue } from '../protocol/commit.ts';

/** Bytes of a row's JSON, at most. */
export const rowBytesMax = 1024 * 1024;
/** A text beyond it is not even read: it would be marked, and the longest that Postgres has is no string of this runtime. */
export const textBytesMax = 4 * rowBytesMax;
/** No text grows by more than this when it becomes JSON. */
const jsonGrowthMax = 6;

/** The value, or a mark where `decode` does not take its text. */
export function readable(decode: (text: string) => WireValue, text: string): WireValue {
  try {
    return decode(text);
  } catch (error) {
    if (!(error instanceof SyntaxError)) throw error;
    return unreadableValue('it is not of the form of its type');
  }
}

export function tooLarge(): WireValue {
  return unreadableValue(`it makes its row larger than ${rowBytesMax} bytes`);
}

/** The row with its largest values marked until it is small enough. `bytes`: at least the size of its texts. */
export function bounded(row: WireRow, bytes: number): WireRow {
  if (bytes * jsonGrowthMax <= rowBytesMax) return row;
  const sizes = Object.entries(row).map(
    ([column, value]) => [column, Buffer.byteLength(JSON.stringify(value))] as const,
  );
  let total = sizes.reduce((sum, [column, size]) => sum + column.length + size, 0);
  const marked: Record<string, WireValue> = { ...row };
  for (const [column, size] of sizes.toSorted(([, a], [, b]) => b - a)) {
    if (total <= rowBytesMax) break;
    marked[column] = tooLarge();
    total -= size;
  }
  return marked;
}
