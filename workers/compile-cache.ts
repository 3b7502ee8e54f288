/* Imported before anything else by a program that has to be up soon: compiled code of modules is kept between starts, which saves
 * the service 0.15 s of 0.5 s. */
import { enableCompileCache } from 'node:module';

enableCompileCache();
