/**
 * CRC-32C, the checksum of TensorBoard's files (Castagnoli's polynomial,
 * RFC 3720).
 *
 * @module
 */

const TABLE = Uint32Array.from({ length: 256 }, (_, byte) => {
  let rest = byte;
  for (let bit = 0; bit < 8; bit++) {
    rest = rest & 1 ? (rest >>> 1) ^ 0x82f63b78 : rest >>> 1;
  }
  return rest;
});

/**
 * The checksum of `bytes`.
 *
 * @example
 * ```ts
 * import { crc32c } from "./crc32c.ts";
 * const digits = new TextEncoder().encode("123456789");
 * if (crc32c(digits) !== 0xe3069283) throw new Error("the published value");
 * ```
 */
export function crc32c(bytes: Uint8Array): number {
  let rest = 0xffffffff;
  for (const byte of bytes) {
    rest = TABLE[(rest ^ byte) & 0xff] ^ (rest >>> 8);
  }
  return (rest ^ 0xffffffff) >>> 0;
}
