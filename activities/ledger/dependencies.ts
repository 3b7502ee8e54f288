import type { Ledger } from '../../schema/ledger';
import { command, type Store } from './command';
import { addEdge, checkEdge, removeEdge } from './edges';

export function dependencyCommands(store: Store): Pick<Ledger, 'addDependency' | 'removeDependency'> {
  return {
    addDependency(ask, edge) {
      const checked = checkEdge(edge);
      return command(store, ask, 'addDependency', edge, (unit) => addEdge(unit, checked));
    },
    removeDependency: (ask, edge) => command(store, ask, 'removeDependency', edge, (unit) => removeEdge(unit, edge)),
  };
}
