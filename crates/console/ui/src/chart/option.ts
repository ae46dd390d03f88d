// A picture as options for the drawing engine. Pure: the same picture gives the same options.

import type { Picture } from '../result/pivot'
import { DAY, HOUR, MINUTE, clockWords, dayWords, numberWords, secondsWords, unitOf, weekdayWords } from '../result/words'
import type { Colours } from './colours'

export interface Look {
  kind: 'bar' | 'line'
  colours: Colours
  /** The colour of each series of the picture. */
  slots: number[]
  /** Names of series that the reader switched off. */
  hidden: ReadonlySet<string>
  unit: string
  narrow: boolean
  /** Builds the tooltip for the bucket at this index. */
  tooltip: (index: number) => HTMLElement
}

export function axisWords(picture: Picture, at: number, first: boolean): string {
  if (picture.step >= DAY) return weekdayWords(at)
  if (picture.step < MINUTE) return secondsWords(at)
  const atMidnight = at % DAY === 0
  if (picture.step >= HOUR && (atMidnight || first)) return atMidnight ? dayWords(at) : `${clockWords(at)}`
  return atMidnight ? dayWords(at) : clockWords(at)
}

export function optionOf(picture: Picture, look: Look): Record<string, unknown> {
  const { colours } = look
  const unit = look.unit || unitOf(picture.measure)
  const labels = picture.times?.map((at, i) => axisWords(picture, at, i === 0)) ?? picture.categories ?? []
  const shown = picture.series.map((series, i) => ({ series, place: i })).filter(({ series }) => !look.hidden.has(series.name))
  const top = shown.length - 1
  // A hair of background between the layers keeps neighbours apart without relying on hue, where they are thick enough.
  const highest = Math.max(1, ...labels.map((_, i) => shown.reduce((sum, { series }) => sum + (series.values[i] ?? 0), 0)))
  const layers = shown.flatMap(({ series }) => series.values.filter((value) => value > 0))
  const thickness = layers.length === 0 ? 0 : (layers.reduce((sum, value) => sum + value, 0) / layers.length / highest) * 250
  const text = { color: colours.quiet, fontFamily: colours.sans, fontSize: 11 }
  return {
    animation: false,
    grid: { left: 4, right: 8, top: 12, bottom: 2, outerBoundsMode: 'same', outerBoundsContain: 'axisLabel' },
    xAxis: {
      type: 'category',
      data: labels,
      axisTick: { show: false },
      axisLine: { lineStyle: { color: colours.line } },
      axisLabel: { ...text, hideOverlap: true, margin: 9 },
    },
    yAxis: {
      type: 'value',
      splitNumber: 4,
      minInterval: unit === '' ? 1 : 0,
      axisLabel: { ...text, formatter: (value: number) => numberWords(value, unit, true) },
      splitLine: { lineStyle: { color: colours.line, width: 1 } },
    },
    tooltip: {
      trigger: 'axis',
      confine: true,
      transitionDuration: 0,
      className: 'chart-tip',
      backgroundColor: 'transparent',
      borderWidth: 0,
      padding: 0,
      extraCssText: 'box-shadow:none',
      axisPointer: { type: look.kind === 'bar' ? 'shadow' : 'line', z: 0, shadowStyle: { color: colours.line, opacity: 0.45 }, lineStyle: { color: colours.quiet } },
      formatter: (params: { dataIndex: number }[]) => look.tooltip(params[0]?.dataIndex ?? 0),
    },
    series: shown.map(({ series, place }, i) => {
      const number = look.slots[place] ?? 0
      const color = number === 0 ? colours.others : colours.series[number - 1]
      return look.kind === 'bar'
        ? {
            type: 'bar',
            name: series.name,
            stack: 'all',
            // Nothing is no layer: a border of it would cut the axis.
            data: series.values.map((value) => (value === 0 ? null : value)),
            color,
            barCategoryGap: '22%',
            barMaxWidth: 64,
            itemStyle: { borderColor: colours.surface, borderWidth: shown.length > 1 && thickness > 7 ? 0.6 : 0, borderRadius: i === top ? [2, 2, 0, 0] : 0 },
            emphasis: { disabled: true },
            large: false,
          }
        : {
            type: 'line',
            name: series.name,
            data: series.values,
            color,
            symbol: 'circle',
            symbolSize: picture.times !== null && picture.times.length > 40 ? 0 : 5,
            showSymbol: true,
            lineStyle: { width: 2 },
            areaStyle: shown.length === 1 ? { color, opacity: 0.12 } : undefined,
            emphasis: { disabled: true },
          }
    }),
  }
}
