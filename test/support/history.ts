// Histories of a random account: what happens, step by step, as fast-check makes and shrinks it.
import fc from 'fast-check';
import { opKinds } from './random-core.ts';
import type { Op } from './random-core.ts';

/** Up to 60 steps of up to 5 operations; the edits of a step are one commit. */
export function historyOf<Kind extends string>(kinds: readonly Kind[]): fc.Arbitrary<Op<Kind>[][]> {
  const op = fc.record({ kind: fc.constantFrom(...kinds), a: fc.nat(40), b: fc.nat(40), c: fc.nat(40) });
  return fc.array(fc.array(op, { minLength: 1, maxLength: 5 }), { minLength: 1, maxLength: 60, size: 'max' });
}

export const history = historyOf(opKinds);
