// Runs in the page: what an eye would miss. Returns sentences.
export function faults() {
  const all = []
  if (document.documentElement.scrollWidth > innerWidth + 1) {
    const wide = [...document.querySelectorAll('main *')].find((e) => e.getBoundingClientRect().right > innerWidth + 1 && !e.closest('.scroll, .choices, pre'))
    all.push(`wider than the screen by ${document.documentElement.scrollWidth - innerWidth} px: ${wide?.tagName}.${wide?.className?.baseVal ?? wide?.className}`)
  }

  const canvas = document.createElement('canvas').getContext('2d', { willReadFrequently: true })
  const rgb = (colour) => {
    canvas.clearRect(0, 0, 1, 1)
    canvas.fillStyle = colour
    canvas.fillRect(0, 0, 1, 1)
    const [r, g, b, a] = canvas.getImageData(0, 0, 1, 1).data
    return [r, g, b, a / 255]
  }
  const over = ([r, g, b, a], [R, G, B]) => [r * a + R * (1 - a), g * a + G * (1 - a), b * a + B * (1 - a), 1]
  const light = ([r, g, b]) => {
    const part = (v) => ((v /= 255) <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)
    return 0.2126 * part(r) + 0.7152 * part(g) + 0.0722 * part(b)
  }
  const ground = (element) => {
    const layers = []
    for (let e = element; e; e = e.parentElement ?? e.getRootNode().host) {
      const layer = rgb(getComputedStyle(e).backgroundColor)
      if (layer[3] > 0) layers.push(layer)
      if (layer[3] === 1) break
    }
    return layers.reduceRight((below, layer) => over(layer, below), [255, 255, 255, 1])
  }
  const visible = (e) => e.checkVisibility({ opacityProperty: true, visibilityProperty: true })

  for (const e of document.querySelectorAll('body *')) {
    if (e.closest('svg, .unseen, .skip, [aria-hidden=true]') || !visible(e) || ![...e.childNodes].some((n) => n.nodeType === 3 && n.data.trim() !== '')) continue
    if (e.closest(':disabled, .stale, .waiting')) continue
    const style = getComputedStyle(e)
    const back = ground(e)
    const front = over(rgb(style.color), back)
    const [a, b] = [light(front), light(back)].sort((x, y) => y - x)
    const ratio = (a + 0.05) / (b + 0.05)
    const big = parseFloat(style.fontSize) >= 24
    if (ratio < (big ? 3 : 4.5)) all.push(`contrast ${ratio.toFixed(2)} of "${e.textContent.trim().slice(0, 30)}" (${e.tagName}.${e.className})`)
  }
  // Text in drawings stands on the page, on a stone or on a card.
  const style = getComputedStyle(document.documentElement)
  const grounds = ['--raised', '--surface', '--bg'].map((name) => rgb(style.getPropertyValue(name)))
  for (const e of document.querySelectorAll('svg text')) {
    const least = Math.min(...grounds.map((back) => { const [a, b] = [light(rgb(getComputedStyle(e).fill)), light(back)].sort((x, y) => y - x); return (a + 0.05) / (b + 0.05) }))
    if (least < 4.5) all.push(`contrast ${least.toFixed(2)} of "${e.textContent.slice(0, 30)}" (svg text)`)
  }

  for (const e of document.querySelectorAll('button, a[href], input, select, [role=button], [role=region], dialog')) {
    if (!visible(e)) continue
    const name = e.getAttribute('aria-label') ?? document.getElementById(e.getAttribute('aria-labelledby') ?? '')?.textContent ?? (e.labels?.[0]?.textContent || e.textContent)
    if ((name ?? '').trim() === '') all.push(`no name: ${e.tagName}.${e.className?.baseVal ?? e.className}`)
  }
  const ids = [...document.querySelectorAll('[id]')].map((e) => e.id)
  for (const id of ids) if (ids.indexOf(id) !== ids.lastIndexOf(id)) all.push(`id twice: ${id}`)
  if (document.querySelectorAll('h1').length !== 1) all.push(`${document.querySelectorAll('h1').length} h1`)
  // The series' colours must be told from the ground (3:1 asked of large marks; a table stands beside every chart).
  return [...new Set(all)]
}
