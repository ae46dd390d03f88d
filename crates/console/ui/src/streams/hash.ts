// The space of hash keys: MD5 of the partition key as a number from 0 to 2¹²⁸ − 1.

import type { Shard } from './api'

export const SPACE = 1n << 128n
const FINE = 1n << 52n

/** Where a hash lies in the space: 0 to 1, as exactly as a number can say. */
export const fraction = (hash: bigint): number => Number((hash * FINE) / SPACE) / Number(FINE)

/** The part of the space that a range has: 0 to 1. */
export const shareOf = ({ start, end }: Shard['range']): number => fraction(BigInt(end) - BigInt(start) + 1n)

/** The first hash of the upper half of a range. */
export const middleOf = ({ start, end }: Shard['range']): bigint => BigInt(start) + (BigInt(end) - BigInt(start) + 1n) / 2n

/** What a person writes for a hash: decimal, `0x…`, or a per cent of the range. Null if it is none of them. */
export function readHash(text: string, range: Shard['range']): bigint | null {
  const clean = text.trim().replaceAll(/[\s_,]/g, '')
  const share = /^(\d{1,3}(?:\.\d+)?)%$/.exec(clean)
  if (share) {
    const parts = BigInt(Math.round(Number(share[1]) * 1e6))
    return parts > 100_000_000n ? null : BigInt(range.start) + ((BigInt(range.end) - BigInt(range.start) + 1n) * parts) / 100_000_000n
  }
  return /^(\d{1,39}|0x[0-9a-f]{1,32})$/i.test(clean) ? BigInt(clean.toLowerCase()) : null
}

/** 0x5555 5555… : the first eight digits tell shards apart as far as eyes can. */
export function hashWords(hash: bigint): string {
  if (hash === 0n) return '0'
  const digits = hash.toString(16).padStart(32, '0')
  return `0x${digits.slice(0, 8)}…`
}

const share = new Intl.NumberFormat('en-GB', { style: 'percent', maximumFractionDigits: 2 })
export const shareWords = (part: number) => (part > 0 && part < 0.0001 ? '< 0.01%' : share.format(part))
