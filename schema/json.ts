/** A value that survives JSON unchanged; all that may enter a payload, a row or an event. */
export type Json = null | boolean | number | string | readonly Json[] | { readonly [key: string]: Json };
export type JsonObject = { readonly [key: string]: Json };
