// The two buttons. Without this script they do the same as plain forms: the server answers 204 and the page stays.
'use strict'

const details = document.getElementById('details')
const said = document.getElementById('said')
const basket = document.getElementById('basket')
const cents = new Intl.NumberFormat('en-IE', { style: 'currency', currency: 'EUR' })

let bought = 0
let spent = 0
let hush = 0

function say(text) {
  said.textContent = text
  said.classList.add('shown')
  clearTimeout(hush)
  hush = setTimeout(() => said.classList.remove('shown'), 2600)
}

/** One plain request; what it says stands in its address, and from there in the server's log. */
function send(action, product) {
  const words = new URLSearchParams({
    action,
    product_id: product.id,
    product_name: product.name,
    price: product.price.toFixed(2),
  })
  return fetch(`/action?${words}`, { keepalive: true, cache: 'no-store', credentials: 'omit' }).then((response) => {
    if (!response.ok) throw new Error(String(response.status))
  })
}

function productOf(form) {
  const article = form.closest('article')
  return {
    id: form.elements.product_id.value,
    name: form.elements.product_name.value,
    price: Number(form.elements.price.value),
    blurb: article.dataset.blurb,
    picture: article.querySelector('img').getAttribute('src'),
  }
}

function buy(product) {
  send('buy', product).then(
    () => {
      bought += 1
      spent += product.price
      basket.textContent = `${bought} bought, ${cents.format(spent)}`
      basket.parentElement.hidden = false
      say(`${product.name}: yours. It is on the dashboard by now.`)
    },
    () => say('The shop cannot be reached. Nothing was bought.'),
  )
}

function view(product) {
  send('view', product).catch(() => undefined)
  document.getElementById('details-name').textContent = product.name
  document.getElementById('details-blurb').textContent = product.blurb
  document.getElementById('details-price').textContent = cents.format(product.price)
  document.getElementById('details-picture').src = product.picture
  const button = document.getElementById('details-buy')
  button.setAttribute('aria-label', `Buy ${product.name}`)
  button.onclick = () => {
    details.close()
    buy(product)
  }
  details.showModal()
}

document.getElementById('goods').addEventListener('submit', (event) => {
  event.preventDefault()
  const product = productOf(event.target)
  if (event.submitter?.value === 'view') view(product)
  else buy(product)
})

details.addEventListener('click', (event) => {
  if (event.target === details) details.close()
})
