import { createHash, randomBytes } from 'node:crypto';

export function sha256Hex(text: string): string {
  return createHash('sha256').update(text).digest('hex');
}

/** The number that ids are cut from: the first 64 bits of the digest. */
export function idNumber(digestHex: string): bigint {
  return BigInt(`0x${digestHex.slice(0, 16)}`);
}

/** `length` (at most 13) base-36 characters of a digest. */
export function base36Of(digestHex: string, length: number): string {
  return idNumber(digestHex).toString(36).padStart(13, '0').slice(-13).slice(0, length);
}

export function randomId(prefix: string, length: number): string {
  return `${prefix}-${base36Of(randomBytes(32).toString('hex'), length)}`;
}
