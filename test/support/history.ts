// Histories of a random account: what happens, step by step, as fast-check makes and shrinks it.
import fc from 'fast-check';
import { opKinds } from './random-core.ts';
import type { Op } from './random-core.ts';

const op: fc.Arbitrary<Op> = fc.record({
  kind: fc.constantFrom(...opKinds),
  a: fc.nat(40),
  b: fc.nat(40),
  c: fc.nat(40),
});

/** Up to 60 steps of up to 5 operations; the edits of a step are one commit. */
export const history = fc.array(fc.array(op, { minLength: 1, maxLength: 5 }), {
  minLength: 1,
  maxLength: 60,
  size: 'max',
});
