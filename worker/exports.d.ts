// What `ctx.exports` holds: the main module's own exports.
declare namespace Cloudflare {
  interface GlobalProps {
    mainModule: typeof import('./index.ts');
  }
}
