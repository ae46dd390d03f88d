// Where the rooms lie and how the water runs between them: once for wide screens, once for narrow ones.

export interface Place {
  x: number
  y: number
}

export interface MapLayout {
  width: number
  height: number
  /** Half the size of a room. */
  half: Place
  rooms: Record<string, Place>
  /** Ways of the water. `from` is the room whose flow it carries. */
  ways: { id: string; path: string }[]
  tail: Place
  rejected: Place
  lake: string
}

export const WIDE: MapLayout = {
  width: 1160,
  height: 386,
  half: { x: 76, y: 56 },
  rooms: {
    edge: { x: 84, y: 176 },
    stream: { x: 278, y: 216 },
    deliver: { x: 476, y: 176 },
    lake: { x: 690, y: 226 },
    query: { x: 892, y: 176 },
    console: { x: 1076, y: 206 },
  },
  ways: [
    { id: 'tail', path: 'M500 150C524 62 600 46 684 46S846 62 872 150' },
    { id: 'rejected', path: 'M470 220C466 262 440 296 404 314S350 334 336 336' },
    { id: 'edge', path: 'M-30 140C10 140 30 176 84 176S200 220 278 216' },
    { id: 'stream', path: 'M278 216C352 212 402 172 476 176' },
    { id: 'deliver', path: 'M476 176C552 180 606 232 690 226' },
    { id: 'lake', path: 'M690 226C772 220 818 172 892 176' },
    { id: 'query', path: 'M892 176C962 180 1004 212 1076 206' },
  ],
  tail: { x: 684, y: 46 },
  rejected: { x: 262, y: 340 },
  lake: 'M560 236C566 172 628 152 690 158S826 176 820 232 762 306 686 302 556 296 560 236Z',
}

export const TALL: MapLayout = {
  width: 360,
  height: 872,
  half: { x: 76, y: 52 },
  rooms: {
    edge: { x: 120, y: 72 },
    stream: { x: 206, y: 212 },
    deliver: { x: 128, y: 352 },
    lake: { x: 194, y: 514 },
    query: { x: 126, y: 672 },
    console: { x: 210, y: 810 },
  },
  ways: [
    { id: 'tail', path: 'M110 380C40 420 34 470 34 514S50 610 104 650' },
    { id: 'rejected', path: 'M180 346C230 338 262 340 290 352' },
    { id: 'edge', path: 'M98 8C98 26 102 46 120 72S206 150 206 212' },
    { id: 'stream', path: 'M206 212C208 270 128 290 128 352' },
    { id: 'deliver', path: 'M128 352C128 420 196 440 194 514' },
    { id: 'lake', path: 'M194 514C192 590 124 600 126 672' },
    { id: 'query', path: 'M126 672C128 740 208 750 210 810' },
  ],
  tail: { x: 46, y: 514 },
  rejected: { x: 306, y: 366 },
  lake: 'M92 520C92 452 138 436 196 440S310 456 306 516 262 590 192 588 92 586 92 520Z',
}
