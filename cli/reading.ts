// One part of the system as `drawbridge status` found it: what it said of itself, and what is wrong, with the way out. A part
// that could not be reached has said nothing, and then something is wrong.

export type Reading<Facts> =
  | { readonly facts: Facts; readonly problem: string | null }
  | { readonly facts: null; readonly problem: string };

/** Every problem that was met before facts could be had. */
export async function readingOf<Facts>(read: () => Promise<Reading<Facts>>): Promise<Reading<Facts>> {
  try {
    return await read();
  } catch (cause) {
    return { facts: null, problem: cause instanceof Error ? cause.message : String(cause) };
  }
}
