// Makes a database ready for the other parts: the migrations, and the passwords of the replicator's role and the edge's. It
// takes the owner's DATABASE_URL, and the passwords from REPLICATOR_DATABASE_URL and EDGE_DATABASE_URL.
import { migrate } from './migrate.ts';
import { report, UsageError } from './command.ts';
import { setRolePassword } from './role-password.ts';

export const replicatorRole = 'drawbridge_replicator';
export const edgeRole = 'drawbridge_edge';

function required(name: string): string {
  const value = process.env[name] ?? '';
  if (URL.canParse(value) && new URL(value).password !== '') return value;
  throw new UsageError(`${name} must be set to a URL like postgres://role:password@host:port/database.`);
}

if (import.meta.main) {
  try {
    const ownerUrl = required('DATABASE_URL');
    const passwordOf = (name: string) => new URL(required(name)).password;
    const roles = [
      [replicatorRole, passwordOf('REPLICATOR_DATABASE_URL')],
      [edgeRole, passwordOf('EDGE_DATABASE_URL')],
    ] as const;
    await migrate(ownerUrl);
    for (const [role, password] of roles) await setRolePassword(ownerUrl, role, password);
    console.log(`the database is migrated, and ${replicatorRole} and ${edgeRole} have their passwords`);
  } catch (cause) {
    report(cause);
  }
}
