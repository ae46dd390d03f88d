import { describe, expect, it } from 'vitest'
import { edgeTime, partsOf } from './payload'

describe('payloads', () => {
  it('of a CDN log line show their fields by their published names, decoded', () => {
    const parts = partsOf('1606855678.123\t200\tMozilla/5.0%20(X11)\n', 'cdn', '1,5,18')
    expect(parts).toEqual([
      { name: 'timestamp', value: '1606855678.123' },
      { name: 'sc-status', value: '200' },
      { name: 'cs-user-agent', value: 'Mozilla/5.0 (X11)' },
    ])
    expect(edgeTime(parts)).toBe(1606855678123)
    expect(partsOf('a\tb%zz', 'cdn').map((part) => part.name)).toEqual(['field 1', 'field 2'])
  })
  it('of JSON show their keys, and broken ones nothing', () => {
    expect(partsOf('{"a":"x","b":[1]}', 'json')).toEqual([{ name: 'a', value: 'x' }, { name: 'b', value: '[1]' }])
    expect(partsOf('{"a":', 'json')).toEqual([])
  })
})
