// A vitest reporter that ends every run with one plain line, `N passed, N failed`, whatever runs the tests and reads it.
import type { Reporter, TestModule } from 'vitest/node';

export class ClosingLine implements Reporter {
  /** A file that could not be run, and an error outside of every test, count as failed tests. */
  onTestRunEnd(modules: readonly TestModule[], errors: readonly unknown[]): void {
    let passed = 0;
    let failed = errors.length;
    let skipped = 0;
    for (const testModule of modules) {
      const before = failed;
      for (const test of testModule.children.allTests()) {
        const { state } = test.result();
        if (state === 'passed') passed += 1;
        else if (state === 'failed') failed += 1;
        else skipped += 1;
      }
      if (testModule.state() === 'failed' && failed === before) failed += 1;
    }
    const rest = skipped === 0 ? '' : `, ${skipped} skipped`;
    process.once('exit', () => process.stdout.write(`${passed} passed, ${failed} failed${rest}\n`));
  }
}
