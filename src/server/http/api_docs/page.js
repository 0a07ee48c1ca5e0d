// The page's own script: the first token, and Swagger UI below it. Nothing is kept and nothing is sent elsewhere than to this server.
'use strict'

const element = (id) => document.getElementById(id)
const demo = JSON.parse(element('demo').textContent)

// --- the first token

const form = element('first-form')

const forUser = () => form.elements.grant.value === 'password'

function showFields() {
  for (const field of document.querySelectorAll('.of-user')) field.hidden = !forUser()
  for (const id of ['username', 'password']) element(id).required = forUser()
}

// RFC 6749 section 2.3.1: both are encoded as in a form before they become Basic.
function basic(id, secret) {
  const encoded = (text) => new URLSearchParams({ x: text }).toString().slice(2)
  return 'Basic ' + btoa(encoded(id) + ':' + encoded(secret))
}

async function askForToken() {
  const body = new URLSearchParams({ grant_type: form.elements.grant.value })
  if (forUser()) {
    body.set('username', element('username').value)
    body.set('password', element('password').value)
  }
  if (element('scope').value) body.set('scope', element('scope').value)
  const headers = { Authorization: basic(element('client-id').value, element('client-secret').value) }
  // The browser must neither ask for a password of its own nor remember one.
  const answer = await fetch('oauth/token', { method: 'POST', headers, body, credentials: 'omit', cache: 'no-store' })
  return { status: answer.status, body: await answer.json() }
}

const bytesOf = (text) => Uint8Array.from(atob(text.replace(/-/g, '+').replace(/_/g, '/')), (c) => c.charCodeAt(0))
const jsonOf = (text) => JSON.parse(new TextDecoder().decode(bytesOf(text)))

// Whether the issuer's published keys made this signature (RFC 7515 section 5.2), by the browser's own cryptography.
async function checkSignature(header, parts) {
  if (!window.crypto.subtle) return [false, 'This browser checks signatures over https and on this machine alone.']
  const answer = await fetch('.well-known/jwks.json', { credentials: 'omit', cache: 'no-store' })
  const jwk = (await answer.json()).keys.find((key) => key.kid === header.kid && key.alg === header.alg)
  if (!jwk) return [false, 'The published keys hold none that is called ' + header.kid + '.']
  if (header.alg !== 'RS256') return [false, 'This page checks RS256 alone.']
  const algorithm = { name: 'RSASSA-PKCS1-v1_5', hash: 'SHA-256' }
  const key = await crypto.subtle.importKey('jwk', { kty: jwk.kty, n: jwk.n, e: jwk.e }, algorithm, false, ['verify'])
  const signed = new TextEncoder().encode(parts[0] + '.' + parts[1])
  const genuine = await crypto.subtle.verify(algorithm, key, bytesOf(parts[2]), signed)
  return genuine
    ? [true, 'Genuine: made by the key ' + header.kid + ', one of the published keys.']
    : [false, 'Not genuine: the key ' + header.kid + ' did not make it.']
}

function say(where, good, text) {
  where.textContent = text
  where.className = good ? 'good' : 'bad'
}

async function show(answer) {
  const token = answer.access_token
  const parts = token.split('.')
  const [header, claims] = parts.slice(0, 2).map(jsonOf)
  element('token-text').replaceChildren(
    ...['header', 'claims', 'signature'].flatMap((name, at) => {
      const part = document.createElement('span')
      part.className = 'part-' + name
      part.textContent = parts[at]
      return at ? ['.', part] : [part]
    }),
  )
  element('token-header').textContent = JSON.stringify(header, null, 2)
  element('token-claims').textContent = JSON.stringify(claims, null, 2)
  const time = (seconds) => new Date(seconds * 1000).toLocaleTimeString()
  element('token-times').textContent =
    'For the API ' + claims.aud + '; issued at ' + time(claims.iat) + ', good until ' + time(claims.exp) + '.'
  element('token-signature').textContent = ''
  element('copied').textContent = ''
  element('token').hidden = false
  const [genuine, words] = await checkSignature(header, parts)
  say(element('token-signature'), genuine, words)
}

form.addEventListener('change', showFields)
form.addEventListener('submit', async (event) => {
  event.preventDefault()
  const outcome = element('outcome')
  element('token').hidden = true
  say(outcome, true, 'Asking...')
  try {
    const { status, body } = await askForToken()
    if (status === 200) {
      const minutes = Math.round(body.expires_in / 60)
      say(outcome, true, 'A token for ' + (body.scope || 'no scope') + ', good for ' + minutes + ' min. Send it as: Authorization: Bearer <token>')
      await show(body)
    } else {
      say(outcome, false, status + ' ' + body.error + ': ' + body.error_description)
    }
  } catch (failure) {
    say(outcome, false, 'The server did not answer as it should: ' + failure.message)
  }
})
element('copy').addEventListener('click', async () => {
  try {
    await navigator.clipboard.writeText(element('token-text').textContent)
    say(element('copied'), true, 'Copied.')
  } catch {
    // Over http elsewhere than on this machine, or where the user does not allow it.
    getSelection().selectAllChildren(element('token-text'))
    say(element('copied'), true, 'Selected: press Ctrl+C.')
  }
})

if (demo) {
  element('demo-note').hidden = false
  element('client-id').value = demo.client_id
  element('client-secret').value = demo.client_secret
  element('username').value = demo.username
  element('password').value = demo.password
}
showFields()

// --- the whole API

// What can be chosen has no name of its own there, and what scrolls sideways on a phone cannot be scrolled by keys.
function forEverybody() {
  for (const wide of document.querySelectorAll('#swagger-ui .renderedMarkdown table:not([tabindex]), #swagger-ui pre.microlight:not([tabindex])')) {
    wide.tabIndex = 0
  }
  for (const choice of document.querySelectorAll('#swagger-ui select:not([aria-label])')) {
    const parameter = choice.closest('tr')?.querySelector('.parameter__name')?.textContent.trim()
    const name = choice.id === 'servers' ? 'Server' : choice.matches('.examples-select-element') ? 'Example' : parameter
    choice.setAttribute('aria-label', name || 'Choice')
  }
}
new MutationObserver(forEverybody).observe(element('swagger-ui'), { childList: true, subtree: true })

// The form shows the fields of all grants, each with an example. Sent is what the chosen grant needs, and credentials in one place.
const EXAMPLE_ID = '0197a1b2-checkout.7'
const FIELDS_OF_GRANTS = { password: ['username', 'password'], refresh_token: ['refresh_token'] }

function sendWhatBelongs(request) {
  // The browser must not ask for a password of its own, nor send what it remembers.
  request.credentials = 'omit'
  // The example's id would stand in the log for every request.
  if (request.headers['X-Request-Id'] === EXAMPLE_ID) delete request.headers['X-Request-Id']
  if (typeof request.body !== 'string' || request.method !== 'POST') return request
  const body = new URLSearchParams(request.body)
  for (const [grant, fields] of Object.entries(FIELDS_OF_GRANTS)) {
    if (body.has('grant_type') && body.get('grant_type') !== grant) fields.forEach((field) => body.delete(field))
  }
  if (/^Basic /.test(request.headers.Authorization)) ['client_id', 'client_secret'].forEach((field) => body.delete(field))
  request.body = body.toString()
  return request
}

// In a demo the examples are the demo's own people, so that what is tried works.
async function described() {
  const spec = await (await fetch('openapi.json', { credentials: 'omit', cache: 'no-cache' })).json()
  if (demo) {
    const fields = spec.components.schemas.TokenRequest.properties
    fields.username.example = demo.username
    fields.password.example = demo.password
  }
  return spec
}

described().then((spec) => {
  const ui = SwaggerUIBundle({
    spec,
    dom_id: '#swagger-ui',
    layout: 'BaseLayout',
    presets: [SwaggerUIBundle.presets.apis],
    // With it, each operation's button holds a link, and nobody can tell which of the two a key presses.
    deepLinking: false,
    docExpansion: 'list',
    defaultModelsExpandDepth: -1,
    tryItOutEnabled: true,
    validatorUrl: null,
    requestInterceptor: sendWhatBelongs,
    onComplete: () => {
      if (demo) ui.preauthorizeBasic('clientBasic', demo.client_id, demo.client_secret)
    },
  })
})
