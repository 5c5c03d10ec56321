// Parts of a transaction or snapshot that is too large for one delivery, kept in the object's SQLite until the delivery that
// names their stage makes them effective. At most one stage is held; nothing reads it but that delivery.
import * as v from 'valibot';
import { partContent } from '../../protocol/commit.ts';
import { saveMeta } from './storage.ts';
import type { Answer, Delivery, PartContent } from '../../protocol/commit.ts';
import type { Input } from '../../core/input.ts';
import type { Reception, StageHeld } from '../../core/receive.ts';

/** A stored value may hold 2 MB: a part is cut into pieces below that. */
const pieceBytes = 1_000_000;

const stageHeld = v.object({ stage: v.string(), parts: v.number(), term: v.number() });

/** The stage that is held, or null. */
export function readStage(sql: SqlStorage): StageHeld | null {
  const [meta] = sql.exec<{ value: string }>("select value from meta where name = 'stage'").toArray();
  return meta === undefined ? null : v.parse(stageHeld, JSON.parse(meta.value));
}

/** Keeps a part aside, durably. */
export function keepPart(
  storage: DurableObjectStorage,
  part: Extract<Reception, { type: 'stage' }>,
  delivery: Delivery,
): Answer {
  const stage = { stage: 'stage' in delivery ? delivery.stage : '', term: delivery.term, parts: part.index + 1 };
  storage.transactionSync(() => {
    if (part.isFirst) discardStage(storage.sql);
    putPart(storage.sql, stage, part.content);
  });
  return { type: 'staged', parts: stage.parts };
}

/** Whether the parts that are kept belong to this input. */
export function hasParts(input: Input): boolean {
  return input.type === 'commit'
    ? input.commit.staged !== undefined
    : input.type === 'snapshot' && input.isStaged === true;
}

function putPart(sql: SqlStorage, stage: StageHeld, content: PartContent): void {
  const bytes = new TextEncoder().encode(JSON.stringify(content));
  for (let at = 0, piece = 0; at < bytes.length; at += pieceBytes, piece += 1) {
    const data = bytes.slice(at, at + pieceBytes).buffer;
    sql.exec('insert into staged (part, piece, data) values (?, ?, ?)', stage.parts - 1, piece, data);
  }
  saveMeta(sql, 'stage', JSON.stringify(stage));
}

/** The parts in their order, one in memory at a time. */
export function* readParts(sql: SqlStorage): Iterable<PartContent> {
  const { parts } = readStage(sql) ?? { parts: 0 };
  for (let part = 0; part < parts; part += 1) {
    const decoder = new TextDecoder();
    let text = '';
    for (const { data } of sql.exec<{ data: ArrayBuffer }>(
      'select data from staged where part = ? order by piece',
      part,
    )) {
      text += decoder.decode(data, { stream: true });
    }
    yield v.parse(partContent, JSON.parse(text));
  }
}

export function discardStage(sql: SqlStorage): void {
  sql.exec('delete from staged');
  sql.exec("delete from meta where name = 'stage'");
}
