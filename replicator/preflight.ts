// What must hold in the database before the stream may be read. Each fault is one sentence: what is wrong, and its fix.
//
// It changes nothing. The leader asks every minute whether it still holds.
import * as v from 'valibot';
import type { ClientBase } from 'pg';
import { parsePgLsn, type Lsn } from '../protocol/lsn.ts';
import { accountColumn, keyColumns, mayBeShared, tableName, tableNames } from '../protocol/tables.ts';
import { applicationName } from './connection.ts';
import { ledgerPublication } from './config.ts';

/** A fault that a person has to mend; `problems` holds a sentence for each. */
export class PreflightError extends Error {
  override readonly name = 'PreflightError';
  readonly problems: readonly string[];
  constructor(problems: readonly string[]) {
    super(problems.join(' '));
    this.problems = problems;
  }
}

export type Server = {
  readonly systemIdentifier: string;
  readonly timeline: number;
  /** The end of its WAL. */
  readonly walEnd: Lsn;
  /** 0 when the server has no timeout. */
  readonly walSenderTimeoutMs: number;
};

/** Throws PreflightError unless everything holds. */
export async function preflight(client: ClientBase, publication: string): Promise<Server> {
  const facts = await readFacts(client, publication);
  const problems = [...serverProblems(facts), ...publicationProblems(facts, publication), ...ledgerProblems(facts)];
  if (problems.length > 0) throw new PreflightError(problems);
  const identity = await client.query<{ system_identifier: string; timeline: number; wal_end: string }>(
    `select (select system_identifier::text from pg_control_system()),
            ('x' || substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8))::bit(32)::int as timeline,
            pg_current_wal_flush_lsn()::text as wal_end`,
  );
  const [row] = identity.rows;
  if (row === undefined)
    throw new PreflightError(['The server did not say which system it is: connect to Postgres itself.']);
  return {
    systemIdentifier: row.system_identifier,
    timeline: row.timeline,
    walEnd: parsePgLsn(row.wal_end),
    walSenderTimeoutMs: facts.wal_sender_timeout_ms,
  };
}

/** drawbridge.change_logs, epochs, lanes and streams. */
const bookkeepingTables = 4;

type Facts = {
  readonly version: number;
  readonly role: string;
  readonly is_standby: boolean;
  readonly wal_level: string;
  readonly server_encoding: string;
  readonly wal_sender_timeout_ms: number;
  readonly synchronous_standby_names: string;
  readonly may_replicate: boolean;
  readonly may_make_temporary: boolean;
  readonly database: string;
  readonly bookkeeping_tables: number;
  /** Null when the publication does not exist. */
  readonly publishes_all_operations: boolean | null;
  readonly published: readonly Published[];
  /** Operations and filter of the ledger's publication; null when it does not exist or holds anything else. */
  readonly ledger: string | null;
  readonly ledger_identity: string | null;
  readonly may_read_ledger: boolean | null;
  readonly is_ledger_attributed: boolean;
  /** Tables of ours of which row security would hide rows. */
  readonly hidden: readonly string[];
};
type Published = {
  readonly name: string;
  readonly identity: string;
  readonly may_read: boolean;
  readonly is_whole: boolean;
  /** Whether each of its rows is sure to name an account, or none where that is allowed. */
  readonly is_attributed: boolean;
  /** Whether no two of its rows can have one key. */
  readonly has_unique_key: boolean;
  /** A generated column that the publication leaves out, as it does by default. */
  readonly generated: string | null;
};

async function readFacts(client: ClientBase, publication: string): Promise<Facts> {
  const result = await client.query<Facts>(
    `select current_setting('server_version_num')::int as version,
            current_user::text as role,
            pg_is_in_recovery() as is_standby,
            current_setting('wal_level') as wal_level,
            current_setting('server_encoding') as server_encoding,
            (select setting::int from pg_settings where name = 'wal_sender_timeout') as wal_sender_timeout_ms,
            current_setting('synchronous_standby_names') as synchronous_standby_names,
            has_database_privilege(current_database(), 'temporary') as may_make_temporary,
            current_database()::text as database,
            (select rolreplication or rolsuper from pg_roles where rolname = current_user) as may_replicate,
            (select count(*)::int from pg_class c join pg_namespace n on n.oid = c.relnamespace
              where n.nspname = 'drawbridge' and c.relname in ('change_logs', 'epochs', 'lanes', 'streams')) as bookkeeping_tables,
            (select pubinsert and pubupdate and pubdelete and pubtruncate from pg_publication where pubname = $1)
              as publishes_all_operations,
            (select coalesce(json_agg(json_build_object(
                      'name', case t.schemaname when 'public' then '' else t.schemaname || '.' end || t.tablename,
                      'identity', c.relreplident,
                      'may_read', has_table_privilege(c.oid, 'select'),
                      'is_whole', t.rowfilter is null and not exists
                        (select from pg_attribute a where a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped
                          and a.attgenerated = '' and a.attname <> all (t.attnames)),
                      'is_attributed', exists (select from pg_attribute a where a.attrelid = c.oid and not a.attisdropped
                          and a.attname = case c.relname when 'accounts' then 'id' else 'account_id' end
                          and a.atttypid = 'uuid'::regtype and (a.attnotnull or c.relname = any ($3))),
                      'has_unique_key', exists (select from pg_index i where i.indrelid = c.oid and i.indisunique and i.indisvalid
                          and i.indpred is null and not exists (select from unnest((i.indkey::int2[])[0:i.indnkeyatts - 1]) as key (attnum)
                            left join pg_attribute a on a.attrelid = c.oid and a.attnum = key.attnum
                            where a.attname is null or not $4::jsonb -> c.relname ? a.attname)),
                      'generated', (select min(a.attname) from pg_attribute a where a.attrelid = c.oid
                          and not a.attisdropped and a.attgenerated <> '' and a.attname <> all (t.attnames)))), '[]'::json)
               from pg_publication_tables t
               join pg_namespace n on n.nspname = t.schemaname
               join pg_class c on c.relnamespace = n.oid and c.relname = t.tablename
              where t.pubname = $1) as published,
            (select concat_ws(' ', p.pubinsert::int, p.pubupdate::int, p.pubdelete::int, p.pubtruncate::int, max(t.rowfilter))
               from pg_publication p join pg_publication_tables t on t.pubname = p.pubname
              where p.pubname = $2 group by p.oid having array_agg(t.schemaname || '.' || t.tablename) = '{public.flows}')
              as ledger,
            (select relreplident from pg_class where oid = to_regclass('public.flows')) as ledger_identity,
            has_table_privilege(to_regclass('public.flows'), 'select') as may_read_ledger,
            exists (select from pg_attribute where attrelid = to_regclass('public.flows') and attname = 'account_id'
              and atttypid = 'uuid'::regtype and attnotnull and not attisdropped) as is_ledger_attributed,
            (select coalesce(json_agg(distinct r.prrelid::regclass::text), '[]'::json)
               from pg_publication_rel r join pg_publication p on p.oid = r.prpubid
              where p.pubname in ($1, $2) and row_security_active(r.prrelid)) as hidden`,
    [publication, ledgerPublication, tableNames.filter(mayBeShared), JSON.stringify(keyColumns)],
  );
  const [facts] = result.rows;
  if (facts === undefined) throw new PreflightError(['The server answered no settings: connect to Postgres itself.']);
  return facts;
}

function serverProblems(facts: Facts): readonly string[] {
  const problems: string[] = [];
  if (facts.version < 150_000) {
    problems.push(`The server is Postgres ${Math.floor(facts.version / 10_000)}: use 15 or later.`);
  }
  if (facts.is_standby) {
    problems.push('The server is a standby: name the primary in REPLICATOR_DATABASE_URL.');
  }
  if (facts.wal_level !== 'logical') {
    problems.push(
      `wal_level is ${facts.wal_level} and must be logical: run \`alter system set wal_level = logical\` and restart Postgres.`,
    );
  }
  if (facts.server_encoding !== 'UTF8') {
    problems.push(
      `The database's encoding is ${facts.server_encoding}, in which a text may stand that cannot be sent and would stop the stream: move to a database created with \`encoding 'UTF8' template template0\`.`,
    );
  }
  if (!facts.may_replicate) {
    problems.push(`The role ${facts.role} may not replicate: run \`alter role ${facts.role} replication\`.`);
  }
  if (!facts.may_make_temporary) {
    problems.push(
      `The role ${facts.role} may make no temporary tables, which a large transaction needs: run \`grant temporary on database ${facts.database} to ${facts.role}\`.`,
    );
  }
  if (waitsForUs(facts.synchronous_standby_names)) {
    problems.push(
      `synchronous_standby_names is ${JSON.stringify(facts.synchronous_standby_names)}, which makes every COMMIT wait for this replicator: list the real standbys by name.`,
    );
  }
  for (const table of facts.hidden) {
    problems.push(
      `Row security would hide rows of ${table} from the role ${facts.role}: run \`alter role ${facts.role} bypassrls\`, or \`alter table ${table} disable row level security\`.`,
    );
  }
  if (facts.bookkeeping_tables !== bookkeepingTables) {
    problems.push('The migrations are not applied: run `npm run migrate` with DATABASE_URL of the owner.');
  }
  return problems;
}

/** https://www.postgresql.org/docs/18/runtime-config-replication.html#GUC-SYNCHRONOUS-STANDBY-NAMES */
function waitsForUs(synchronousStandbyNames: string): boolean {
  const names = synchronousStandbyNames.split(/[\s,()"]+/);
  return names.some((name) => name === '*' || name.toLowerCase() === applicationName);
}

function publicationProblems(facts: Facts, publication: string): readonly string[] {
  if (facts.publishes_all_operations === null) {
    const migrate = 'run `npm run migrate` with DATABASE_URL of the owner';
    return facts.bookkeeping_tables === bookkeepingTables
      ? [`The publication ${publication} is missing: ${migrate}.`]
      : [];
  }
  const problems: string[] = [];
  if (!facts.publishes_all_operations) {
    problems.push(
      `The publication ${publication} leaves out operations: run \`alter publication ${publication} set (publish = 'insert, update, delete, truncate')\`.`,
    );
  }
  const expected = new Set<string>(tableNames);
  const published = new Set(facts.published.map((table) => table.name));
  const missing = tableNames.filter((name) => !published.has(name));
  const foreign = [...published].filter((name) => !expected.has(name));
  if (missing.length > 0) {
    problems.push(
      `The publication ${publication} lacks ${missing.join(', ')}: run \`alter publication ${publication} add table ${missing.join(', ')}\`.`,
    );
  }
  if (foreign.length > 0) {
    problems.push(
      `The publication ${publication} holds ${foreign.join(', ')}, which is none of ours: run \`alter publication ${publication} drop table ${foreign.join(', ')}\`.`,
    );
  }
  for (const table of facts.published) problems.push(...tableProblems(table, facts, publication));
  return problems;
}

/** Inserts into the ledger are the edge's own: they say nothing, and a row that has ended must arrive as a delete. */
function ledgerProblems({
  ledger,
  ledger_identity: identity,
  may_read_ledger: mayRead,
  is_ledger_attributed: isAttributed,
  role,
}: Facts): readonly string[] {
  // Null: there is no such table, which the migrations make.
  if (mayRead === null) return [];
  const problems: string[] = [];
  if (ledger !== '0 1 1 1 (ended_at IS NULL)') {
    problems.push(
      `The publication ${ledgerPublication} is missing or altered: run \`drop publication if exists ${ledgerPublication}\`, then \`create publication ${ledgerPublication} for table flows where (ended_at is null) with (publish = 'update, delete, truncate')\`.`,
    );
  }
  if (identity !== 'f') {
    problems.push('The table flows does not log full old rows: run `alter table flows replica identity full`.');
  }
  if (!isAttributed) problems.push(unattributed('flows', 'account_id'));
  if (!mayRead) problems.push(`The role ${role} may not read flows: run \`grant select on flows to ${role}\`.`);
  return problems;
}

function unattributed(table: string, column: string): string {
  return `A row of ${table} may name no account, so that nobody could say whose it is: run \`delete from ${table} where ${column} is null\`, then \`alter table ${table} alter column ${column} set not null\`, and give the column the type uuid if it has another.`;
}

function tableProblems(table: Published, { role, version }: Facts, publication: string): readonly string[] {
  const problems: string[] = [];
  // https://www.postgresql.org/docs/18/logical-replication-gencols.html
  if (version >= 180_000 && table.generated !== null) {
    problems.push(
      `Postgres refuses every update and delete in ${table.name}, since its generated column ${table.generated} is not published: run \`alter publication ${publication} set (publish_generated_columns = stored)\`, or drop the column, which is the only way if it is virtual.`,
    );
  }
  if (table.identity !== 'f') {
    problems.push(
      `The table ${table.name} does not log full old rows: run \`alter table ${table.name} replica identity full\`.`,
    );
  }
  const ours = v.safeParse(tableName, table.name);
  if (ours.success && !table.is_attributed) problems.push(unattributed(table.name, accountColumn(ours.output)));
  if (ours.success && !table.has_unique_key) {
    const key = keyColumns[ours.output].join(', ');
    problems.push(
      `Two rows of ${table.name} may have one key, and only one of them would count: delete one of each pair, then run \`alter table ${table.name} add primary key (${key})\`.`,
    );
  }
  if (!table.may_read) {
    problems.push(`The role ${role} may not read ${table.name}: run \`grant select on ${table.name} to ${role}\`.`);
  }
  if (!table.is_whole) {
    problems.push(
      `The publication ${publication} leaves out rows or columns of ${table.name}: drop the table from it and add it again without WHERE and without a list of columns.`,
    );
  }
  return problems;
}
