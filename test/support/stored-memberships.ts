// The memberships of an account as its storage has them, by key and by actor, kept by the saves of each step.
import type { Save } from '../../core/effect.ts';
import type { StoredMemberships as Stored } from '../../core/memberships.ts';
import type { WireRow } from '../../protocol/commit.ts';

export class StoredMemberships implements Stored {
  readonly rows = new Map<string, WireRow>();
  readonly #keysOfActor = new Map<string, Set<string>>();

  save(action: Save): void {
    if (action.type === 'put-row' && action.table === 'actor_group_memberships') {
      this.#remove(action.key);
      this.rows.set(action.key, action.row);
      const actor = String(action.row['actor_id']);
      this.#keysOfActor.set(actor, (this.#keysOfActor.get(actor) ?? new Set()).add(action.key));
    } else if (action.type === 'delete-row' && action.table === 'actor_group_memberships') this.#remove(action.key);
    else if (action.type === 'delete-rows' && action.table === 'actor_group_memberships') {
      this.rows.clear();
      this.#keysOfActor.clear();
    }
  }

  row(key: string): unknown {
    return this.rows.get(key);
  }

  keys(): Iterable<string> {
    return this.rows.keys();
  }

  ofActor(actorId: string) {
    return [...(this.#keysOfActor.get(actorId) ?? [])].map((key) => ({ key, row: this.rows.get(key) }));
  }

  ofGroup(groupId: string) {
    return [...this.rows].filter(([, row]) => row['group_id'] === groupId).map(([key, row]) => ({ key, row }));
  }

  #remove(key: string): void {
    const row = this.rows.get(key);
    this.rows.delete(key);
    this.#keysOfActor.get(String(row?.['actor_id']))?.delete(key);
  }
}
