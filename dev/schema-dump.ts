// Describes what the migrations make of an empty database: a text that reads like SQL, in one fixed order and spelling,
// equal on every supported Postgres. It is kept in migrations/schema.sql, so that a change of the schema shows in review
// as what it is. `npm run schema` writes it, with --check it compares.
import { readFileSync, writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { Client } from 'pg';
import { report, UsageError } from './command.ts';
import { migrate } from './migrate.ts';
import { startPostgres } from './postgres.ts';

const schemaFile = fileURLToPath(new URL('../migrations/schema.sql', import.meta.url));
const heading = '-- The schema after all migrations, written by `npm run schema`: to be read, not run.\n';

/** Each yields rows of one column, `text`, a block of the dump each; C order, so that no locale rearranges them. */
const sections = [
  `select format('create role %I%s%s%s;', rolname,
      case when rolcanlogin then ' login' else '' end,
      case when rolreplication then ' replication' else '' end,
      case when rolsuper then ' superuser' else '' end) as text
    from pg_roles where rolname like 'drawbridge\\_%' order by rolname collate "C"`,

  `select format('create schema %I;', nspname) as text
    from pg_namespace where nspname in ('public', 'drawbridge') order by nspname collate "C"`,

  `select concat(
      format(E'create table %s (\\n%s\\n)', table_name, concat_ws(E',\\n', columns, constraints)),
      ' partition by ' || pg_get_partkeydef(c.oid), ';',
      format(E'\\nalter table %s replica identity %s;', table_name, case relreplident
        when 'f' then 'full' when 'n' then 'nothing' when 'i' then 'using index' else 'default' end),
      indexes, triggers, comments) as text
    from pg_class c
      cross join lateral (select format('%I.%I', relnamespace::regnamespace::text, relname) as table_name) as named
      cross join lateral (
        select string_agg(concat_ws(' ', '  ' || quote_ident(attname), format_type(atttypid, atttypmod),
            case when attnotnull then 'not null' end,
            'default ' || pg_get_expr(adbin, adrelid)), E',\\n' order by attnum) as columns
        from pg_attribute left join pg_attrdef on adrelid = attrelid and adnum = attnum
        where attrelid = c.oid and attnum > 0 and not attisdropped
      ) as column_list
      cross join lateral (
        select string_agg(format('  constraint %I %s', conname, pg_get_constraintdef(oid)), E',\\n'
            order by contype <> 'p', conname collate "C") as constraints
        from pg_constraint where conrelid = c.oid and contype in ('c', 'f', 'p', 'u', 'x')
      ) as constraint_list
      cross join lateral (
        select string_agg(format(E'\\n%s;', pg_get_indexdef(indexrelid)), ''
            order by indexrelid::regclass::text collate "C") as indexes
        from pg_index where indrelid = c.oid and not exists (select from pg_constraint where conindid = indexrelid)
      ) as index_list
      cross join lateral (
        select string_agg(format(E'\\n%s;', pg_get_triggerdef(oid)), '' order by tgname collate "C") as triggers
        from pg_trigger where tgrelid = c.oid and not tgisinternal
      ) as trigger_list
      cross join lateral (
        select string_agg(format(E'\\ncomment on %s is %L;', coalesce(
            'column ' || table_name || '.' || quote_ident(attname), 'table ' || table_name), description), ''
            order by objsubid) as comments
        from pg_description left join pg_attribute on attrelid = objoid and attnum = objsubid and attnum > 0
        where classoid = 'pg_class'::regclass and objoid = c.oid
      ) as comment_list
    where relkind in ('r', 'p') and not relispartition
      and relnamespace in ('public'::regnamespace, 'drawbridge'::regnamespace)
    order by relnamespace = 'public'::regnamespace desc, relname collate "C"`,

  `select format('create table %I.%I partition of %s %s;', c.relnamespace::regnamespace::text, c.relname,
      inhparent::regclass, pg_get_expr(c.relpartbound, c.oid)) as text
    from pg_inherits join pg_class c on c.oid = inhrelid
    where c.relispartition and c.relkind = 'r' and c.relnamespace in ('public'::regnamespace, 'drawbridge'::regnamespace)
    order by c.relname collate "C"`,

  `select format(E'create publication %I for table\\n%s\\n  with (publish = %L, publish_via_partition_root = %s);',
      pubname, (
        select string_agg(concat('  ', prrelid::regclass, columns, ' where ' || pg_get_expr(prqual, prrelid)),
            E',\\n' order by prrelid::regclass::text collate "C")
        from pg_publication_rel
          left join lateral (
            select format(' (%s)', string_agg(quote_ident(attname), ', ' order by attnum)) as columns
            from pg_attribute where attrelid = prrelid and attnum = any (prattrs)
            having count(*) > 0
          ) as column_list on true
        where prpubid = p.oid
      ),
      concat_ws(', ', case when pubinsert then 'insert' end, case when pubupdate then 'update' end,
        case when pubdelete then 'delete' end, case when pubtruncate then 'truncate' end), pubviaroot) as text
    from pg_publication p order by pubname collate "C"`,

  `select string_agg(format('grant %s on %s to %s;', privileges, object, grantee), E'\\n'
      order by object collate "C", grantee collate "C") as text
    from (
      select object, case when acl.grantee = 0 then 'public' else quote_ident(acl.grantee::regrole::text) end as grantee,
        lower(string_agg(privilege_type, ', ' order by privilege_type collate "C")) as privileges
      from (
        select format('schema %I', nspname) as object, nspacl as granted, nspowner as owner
        from pg_namespace where nspname in ('public', 'drawbridge')
        union all
        select format('table %I.%I', relnamespace::regnamespace::text, relname), relacl, relowner
        from pg_class where relnamespace in ('public'::regnamespace, 'drawbridge'::regnamespace)
        union all
        select format('function %s', oid::regprocedure), proacl, proowner
        from pg_proc where pronamespace in ('public'::regnamespace, 'drawbridge'::regnamespace)
      ) as objects, aclexplode(granted) as acl
      where acl.grantee <> owner
      group by object, acl.grantee
    ) as grants`,

  `select pg_get_functiondef(p.oid) || ';' as text
    from pg_proc p
    where pronamespace in ('public'::regnamespace, 'drawbridge'::regnamespace)
    order by p.oid::regprocedure::text collate "C"`,
] as const;

/** The dump of a migrated database. */
export async function dumpSchema(databaseUrl: string): Promise<string> {
  const client = new Client({ connectionString: databaseUrl });
  await client.connect();
  try {
    // Nothing but pg_catalog in the path: every name is printed with its schema.
    await client.query(`set search_path to ''`);
    const blocks: string[] = [];
    for (const section of sections) {
      const { rows } = await client.query<{ text: string | null }>(section);
      blocks.push(...rows.map(({ text }) => text ?? ''));
    }
    return [heading, ...blocks.map((block) => `${block.trim()}\n`)].join('\n');
  } finally {
    await client.end();
  }
}

/** What schema.sql says. */
export function storedSchema(): string {
  return readFileSync(schemaFile, 'utf8');
}

async function main(flags: readonly string[]): Promise<void> {
  const unknown = flags.find((flag) => flag !== '--check');
  if (unknown !== undefined) throw new UsageError(`Unknown argument ${unknown}: npm run schema takes only -- --check.`);
  const server = await startPostgres();
  try {
    await migrate(server.url);
    const dump = await dumpSchema(server.url);
    if (!flags.includes('--check')) writeFileSync(schemaFile, dump);
    else if (dump !== storedSchema()) {
      throw new Error(
        'migrations/schema.sql is not what the migrations make: run npm run schema and review the change.',
      );
    }
  } finally {
    await server.stop();
  }
}

if (import.meta.main) await main(process.argv.slice(2)).catch(report);
