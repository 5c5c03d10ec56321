// The worker as one module, as the local runtime takes it. wrangler makes the one that is deployed, and does the same to
// packages that ask for Node's modules by `require`, which a module of the platform cannot.
import { builtinModules } from 'node:module';
import { build, type Plugin } from 'esbuild';

const builtin = new RegExp(`^(?:node:)?(?:${builtinModules.filter((name) => !name.startsWith('_')).join('|')})$`);

const nodeModules: Plugin = {
  name: 'node-modules',
  setup(bundler) {
    bundler.onResolve({ filter: builtin }, ({ kind, path }) => {
      const name = path.startsWith('node:') ? path : `node:${path}`;
      return kind === 'require-call' ? { path: name, namespace: 'required' } : { path: name, external: true };
    });
    bundler.onLoad({ filter: /./, namespace: 'required' }, ({ path }) => ({
      contents: `import found from '${path}'; module.exports = found;`,
    }));
  },
};

/** The text of the module. */
export async function bundleWorker(entryPoint: string): Promise<string> {
  const { outputFiles } = await build({
    entryPoints: [entryPoint],
    bundle: true,
    write: false,
    format: 'esm',
    target: 'es2024',
    conditions: ['workerd'],
    external: ['node:*', 'cloudflare:*', 'pg-native'],
    plugins: [nodeModules],
    logLevel: 'silent',
  });
  return outputFiles[0]?.text ?? '';
}
