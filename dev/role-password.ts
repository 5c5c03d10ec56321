// Roles come from the migrations without a password, so nobody can log in as them. Here one gets a password, for
// development, demonstrations and tests; in production the operator does this by hand.
import { Client, escapeIdentifier, escapeLiteral } from 'pg';

/** Sets the password and returns the URL with which `role` reaches the same database. */
export async function setRolePassword(ownerUrl: string, role: string, password: string): Promise<string> {
  const client = new Client({ connectionString: ownerUrl });
  await client.connect();
  try {
    await client.query(`alter role ${escapeIdentifier(role)} password ${escapeLiteral(password)}`);
  } finally {
    await client.end();
  }
  const url = new URL(ownerUrl);
  url.username = role;
  url.password = password;
  return url.href;
}
