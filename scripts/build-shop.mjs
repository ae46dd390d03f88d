// Writes the demo shop's products into its page: crates/app/shop/products.json → index.html. The simulated shoppers read
// the same list. `--check` writes nothing and fails if the page is not what the list says.
import { existsSync, readFileSync, writeFileSync } from 'node:fs'

const shop = new URL('../crates/app/shop/', import.meta.url)
const page = new URL('index.html', shop)
const products = JSON.parse(readFileSync(new URL('products.json', shop), 'utf8'))
const text = (value) => value.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('"', '&quot;')

const articles = products.map(({ id, name, price, picture, blurb }, place) => {
  const file = `pictures/${picture}.svg`
  const drawing = readFileSync(new URL(file, shop), 'utf8')
  const alt = /<title>(.*?)<\/title>/.exec(drawing)?.[1]
  if (!existsSync(new URL(file, shop)) || alt === undefined) throw new Error(`${file} needs a <title>`)
  return `      <article data-blurb="${text(blurb)}">
        <img src="${file}" width="320" height="240" alt="${alt}"${place < 4 ? '' : ' loading="lazy"'} />
        <div class="text">
          <h2>${text(name)}</h2>
          <p class="price">€${price.toFixed(2)}</p>
        </div>
        <form method="get" action="/action">
          <input type="hidden" name="product_id" value="${id}" />
          <input type="hidden" name="product_name" value="${text(name)}" />
          <input type="hidden" name="price" value="${price.toFixed(2)}" />
          <button name="action" value="view" aria-label="View details of ${text(name)}">View details</button>
          <button class="strong" name="action" value="buy" aria-label="Buy ${text(name)}">Buy</button>
        </form>
      </article>
`
})

const before = readFileSync(page, 'utf8')
const after = before.replace(/( *<!-- products:.*?-->\n)[\s\S]*?( *<!-- \/products -->)/, (_, start, end) => start + articles.join('') + end)
if (process.argv.includes('--check')) {
  if (before !== after) {
    process.stderr.write('crates/app/shop/index.html does not show products.json: run node scripts/build-shop.mjs\n')
    process.exit(1)
  }
} else writeFileSync(page, after)
