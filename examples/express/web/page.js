// The pages, as functions of what is to be shown.

/** What comes with each page. No script runs, nothing comes from elsewhere, and no page may frame it. */
export const CONTENT_SECURITY_POLICY =
  "default-src 'none'; style-src 'self'; img-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"

/** How many characters what is ordered may have. */
export const ITEM_MAX = 100

export const NO_RIGHT = 'You may neither see orders nor place any. Ask the operator of this shop for permission.'

const ESCAPES = { '&': '&amp;', '<': '&lt;', '>': '&gt;', '"': '&quot;', "'": '&#39;' }

class Html {
  constructor(text) {
    this.text = text
  }
}

/** Markup in which every value is escaped, unless it is markup itself. A list is its elements, and nothing where a value is undefined or false. */
function html(strings, ...values) {
  const shown = (value) => {
    if (value instanceof Html) return value.text
    if (Array.isArray(value)) return value.map(shown).join('')
    return value === undefined || value === false ? '' : String(value).replace(/[&<>"']/g, (letter) => ESCAPES[letter])
  }
  return new Html(strings.reduce((text, next, at) => text + shown(values[at - 1]) + next))
}

function whole({ title, narrow = false, name }, content) {
  return html`<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>${title} - Orders</title>
<link rel="icon" type="image/svg+xml" href="/icon.svg">
<link rel="stylesheet" href="/style.css">
</head>
<body>
${name !== undefined && html`<header>
<a href="/">Orders</a>
<div class="who"><p>Signed in as ${name}</p><form method="post" action="/sign-out"><button>Sign out</button></form></div>
</header>`}
<main${narrow && html` class="narrow"`}>
${content}
</main>
</body>
</html>
`.text
}

const said = (notice) => notice !== undefined && html`<p class="notice" role="alert">${notice}</p>`

/** The form on which a person signs in. The name may be there already, the password never is. */
export function signIn(name = '', notice = undefined) {
  return whole({ title: 'Sign in', narrow: true }, html`<h1>Sign in to order</h1>
<section>
${said(notice)}
<form method="post" action="/sign-in">
<label for="username">User name</label>
<input id="username" name="username" value="${name}" autocomplete="username" autocapitalize="none" spellcheck="false" maxlength="255" required
  ${name === '' && html`autofocus`}>
<label for="password">Password</label>
<input id="password" name="password" type="password" autocomplete="current-password" maxlength="1024" required ${name !== '' && html`autofocus`}>
<button>Sign in</button>
</form>
</section>`)
}

/** What the user may do, and nothing else. */
export function orders({ name, notice, list, mayRead, mayOrder }) {
  const right = (isGiven, what) => html`<li><span>${isGiven ? 'Yes' : 'No'}</span> ${what}</li>`
  return whole({ title: 'All orders', name }, html`<h1>Orders</h1>
${said(notice)}
${mayOrder && html`<section aria-labelledby="new">
<h2 id="new">Order something</h2>
<form method="post" action="/orders">
<label for="item">What shall it be?</label>
<div class="row"><input id="item" name="item" maxlength="${ITEM_MAX}" required autocomplete="off"><button>Order</button></div>
</form>
</section>`}
${list && html`<section aria-labelledby="list">
<h2 id="list">Ordered so far</h2>
${list.length === 0 ? html`<p class="quiet">Nothing yet.</p>`
    : html`<ol reversed>${list.toReversed().map((order) => html`<li><span>${order.id}</span> ${order.item}</li>`)}</ol>`}
</section>`}
<section aria-labelledby="rights">
<h2 id="rights">What you may do</h2>
<ul>${right(mayRead, 'See orders')}${right(mayOrder, 'Place orders')}</ul>
${!mayRead && !mayOrder && html`<p>${NO_RIGHT}</p>`}
</section>`)
}

/** A sentence, when there is nothing else to show. */
export function sorry(sentence) {
  return whole({ title: 'That did not work', narrow: true }, html`<h1>That did not work</h1>
<section>
<p>${sentence}</p>
<p><a href="/">Try again</a></p>
</section>`)
}

/** A page that is left at once, by its `Refresh` header. */
export function goOn(path) {
  return whole({ title: 'Orders', narrow: true }, html`<section><p><a href="${path}">Go on to the orders</a></p></section>`)
}
