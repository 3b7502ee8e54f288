export { agent } from './agent/workflow';
export { convoy } from './convoy/workflow';
export { dispatcher } from './dispatcher/workflow';
export { molecule } from './molecule/workflow';
