// When what is due: the heap against a plain map.
import { expect, test } from 'vitest';
import fc from 'fast-check';
import { firstDue, nothingDue, setDue, takeDue } from '../../core/due.ts';

const operation = fc.record({
  kind: fc.constantFrom('set', 'set', 'set', 'never', 'take'),
  id: fc.nat(12).map((n) => `id-${n}`),
  at: fc.nat(20),
});

test('[P14.28] what is due is taken at its moment, the earliest first, whatever was said of it before', () => {
  fc.assert(
    fc.property(fc.array(operation, { maxLength: 80 }), (operations) => {
      const due = nothingDue();
      const model = new Map<string, number>();
      for (const { kind, id, at } of operations) {
        if (kind === 'set') {
          setDue(due, id, at);
          model.set(id, at);
        }
        if (kind === 'never') {
          setDue(due, id, Infinity);
          model.delete(id);
        }
        const ripe = [...model].filter(([, moment]) => kind === 'take' && moment <= at);
        const expected = ripe.toSorted(([a, first], [b, second]) => first - second || (a < b ? -1 : 1));
        expect(kind === 'take' ? takeDue(due, at) : []).toEqual(expected.map(([name]) => name));
        for (const [name] of ripe) model.delete(name);
        expect(firstDue(due)).toBe(model.size === 0 ? null : Math.min(...model.values()));
        expect(due.ids.length).toBe(model.size);
      }
    }),
    { seed: 1, numRuns: 1000 },
  );
});
