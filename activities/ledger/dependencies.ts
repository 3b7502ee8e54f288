import type { Ledger } from '../../schema/ledger';
import { command, type Store } from './command';
import { addEdge, removeEdge } from './edges';

export function dependencyCommands(store: Store): Pick<Ledger, 'addDependency' | 'removeDependency'> {
  return {
    addDependency: (ask, edge) => command(store, ask, 'addDependency', edge, (unit) => addEdge(unit, edge)),
    removeDependency: (ask, edge) => command(store, ask, 'removeDependency', edge, (unit) => removeEdge(unit, edge)),
  };
}
