// Makes a database ready for the other parts: the migrations, and the password of the replicator's role. As a command it
// takes the owner's DATABASE_URL, and the password from REPLICATOR_DATABASE_URL.
import { migrate } from './migrate.ts';
import { report, UsageError } from './command.ts';
import { setRolePassword } from './role-password.ts';

const replicatorRole = 'drawbridge_replicator';

/** Migrates, sets the password, and returns the URL of the replicator's role. Throws one sentence for a person. */
export async function prepareDatabase(ownerUrl: string, replicatorPassword: string): Promise<string> {
  await migrate(ownerUrl);
  return await setRolePassword(ownerUrl, replicatorRole, replicatorPassword);
}

function required(name: string): string {
  const value = process.env[name] ?? '';
  if (URL.canParse(value) && new URL(value).password !== '') return value;
  throw new UsageError(`${name} must be set to a URL like postgres://role:password@host:port/database.`);
}

if (import.meta.main) {
  try {
    await prepareDatabase(required('DATABASE_URL'), new URL(required('REPLICATOR_DATABASE_URL')).password);
    console.log(`the database is migrated, and ${replicatorRole} has its password`);
  } catch (cause) {
    report(cause);
  }
}
