// Gets a first token with one button, decodes it and checks its signature. Nothing is stored, and requests go only to this server.

const element = (id) => document.getElementById(id)

// The clients, the user and the API of a demo; null elsewhere.
export const demo = JSON.parse(element('demo').textContent)

// The last refresh token that this page received.
export const login = { refreshToken: null }

const form = element('first-form')

const forUser = () => form.elements.grant.value === 'password'

// In a demo, the app gets tokens for itself, and users sign in to the web shop.
let filled = null

function fillClient() {
  const [id, secret] = [element('client-id'), element('client-secret')]
  // What the user typed stays.
  if (filled && (id.value !== filled.id || secret.value !== filled.secret)) return
  filled = forUser() ? demo.shop : demo.app
  id.value = filled.id
  secret.value = filled.secret
}

function showFields() {
  if (demo) fillClient()
  for (const field of document.querySelectorAll('.of-user')) field.hidden = !forUser()
  for (const id of ['username', 'password']) element(id).required = forUser()
}

// RFC 6749 section 2.3.1: id and secret are form-encoded before they go into HTTP Basic.
export const formEncoded = (text) => new URLSearchParams({ x: text }).toString().slice(2)

// Longer than the server's own limit for a request.
const TIME_LIMIT_MS = 40_000

async function askForToken(signal) {
  const body = new URLSearchParams({ grant_type: form.elements.grant.value })
  if (forUser()) {
    body.set('username', element('username').value)
    body.set('password', element('password').value)
  }
  for (const id of ['resource', 'scope']) if (element(id).value) body.set(id, element(id).value)
  const headers = { Authorization: 'Basic ' + btoa(formEncoded(element('client-id').value) + ':' + formEncoded(element('client-secret').value)) }
  // The browser must neither show a password prompt of its own nor store a password.
  const answer = await fetch('oauth/token', { method: 'POST', headers, body, credentials: 'omit', cache: 'no-store', signal })
  return { status: answer.status, retryAfter: answer.headers.get('Retry-After'), body: parsed(await answer.text()) }
}

// A proxy in front of the server may answer with anything.
function parsed(text) {
  try {
    return JSON.parse(text)
  } catch {
    return null
  }
}

const bytesOf = (text) => Uint8Array.from(atob(text.replace(/-/g, '+').replace(/_/g, '/')), (c) => c.charCodeAt(0))
const jsonOf = (text) => JSON.parse(new TextDecoder().decode(bytesOf(text)))

const unchecked = (why) => [null, 'Not checked: ' + why]

// How the browser checks each algorithm, and the members of its public keys (RFC 7518 sections 3 and 6, RFC 8037 section 2).
const rsa = ['kty', 'n', 'e']
const ed25519 = { parameters: { name: 'Ed25519' }, members: ['kty', 'crv', 'x'] }
const ALGORITHMS = new Map([
  ['RS256', { parameters: { name: 'RSASSA-PKCS1-v1_5', hash: 'SHA-256' }, members: rsa }],
  ['PS256', { parameters: { name: 'RSA-PSS', hash: 'SHA-256', saltLength: 32 }, members: rsa }],
  ['ES256', { parameters: { name: 'ECDSA', namedCurve: 'P-256', hash: 'SHA-256' }, members: ['kty', 'crv', 'x', 'y'] }],
  ['Ed25519', ed25519],
  // Its name before RFC 9864.
  ['EdDSA', ed25519],
])

// Whether one of the issuer's published keys made this signature (RFC 7515 section 5.2), by the browser's own cryptography.
export async function checkSignature(header, parts, signal) {
  const algorithm = ALGORITHMS.get(header.alg)
  if (!algorithm) return unchecked('this page does not know the algorithm ' + header.alg + '.')
  if (!window.crypto.subtle) return unchecked('this browser can check signatures only over https, or over http from this machine.')
  const answer = await fetch('.well-known/jwks.json', { credentials: 'omit', cache: 'no-store', signal })
  if (!answer.ok) return unchecked('the published keys are not available (' + answer.status + ').')
  const jwk = (await answer.json()).keys.find((key) => key.kid === header.kid && ALGORITHMS.get(key.alg) === algorithm)
  if (!jwk) return [false, 'None of the published keys is ' + header.kid + '.']
  const signed = new TextEncoder().encode(parts[0] + '.' + parts[1])
  let genuine
  try {
    const members = Object.fromEntries(algorithm.members.map((name) => [name, jwk[name]]))
    const key = await crypto.subtle.importKey('jwk', members, algorithm.parameters, false, ['verify'])
    genuine = await crypto.subtle.verify(algorithm.parameters, key, bytesOf(parts[2]), signed)
  } catch (failure) {
    if (failure.name !== 'NotSupportedError') throw failure
    return unchecked('this browser does not know the algorithm ' + header.alg + '; a newer one may. APIs are not affected.')
  }
  return genuine
    ? [true, 'Genuine: made by the published key ' + header.kid + '.']
    : [false, 'Not genuine: the key ' + header.kid + ' did not make it.']
}

function say(where, good, text) {
  where.textContent = text
  where.className = { true: 'good', false: 'bad' }[good] ?? ''
}

// The three parts, or null if the token is not a signed JWT in the compact form (RFC 7515 section 7.1).
function decoded(token) {
  const parts = token.split('.')
  // It goes into a command for a shell.
  if (parts.length !== 3 || !parts.every((part) => /^[\w-]+$/.test(part))) return null
  try {
    const [header, claims] = parts.slice(0, 2).map(jsonOf)
    return { parts, header, claims }
  } catch {
    return null
  }
}

// A command for a shell, which sends the token to the API.
function nextStep(token, claims) {
  const command = (url) => "curl -sS -H 'Authorization: Bearer " + token + "' " + url
  if (demo) return ['The API of this demo is at ' + demo.orders + '. Send it the token, from a terminal of this machine:', command(demo.orders)]
  return ['Send it to the API ' + claims.aud + ', at its own address:', command('ADDRESS_OF_THE_API')]
}

function show({ parts, header, claims }) {
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
  const time = (seconds) => new Date(seconds * 1000).toLocaleString()
  element('token-times').textContent =
    'For the API ' + claims.aud + '; issued at ' + time(claims.iat) + ', valid until ' + time(claims.exp) + '.'
  say(element('token-signature'), null, 'Checking...')
  const [text, command] = nextStep(parts.join('.'), claims)
  element('next-text').textContent = text
  element('next-command').textContent = command
  for (const id of ['copied', 'next-copied']) element(id).textContent = ''
  document.dispatchEvent(new CustomEvent('first-token', { detail: claims }))
  element('token').hidden = false
}

function lifetime(seconds) {
  if (seconds < 120) return seconds + ' s'
  return seconds < 7200 ? Math.round(seconds / 60) + ' min' : Math.round(seconds / 3600) + ' h'
}

function successText({ scope, expires_in, refresh_token }) {
  const renewable = refresh_token ? ' The answer also has a refresh token, which the requests below use.' : ''
  return 'A token for ' + (scope || 'no scope') + ', valid for ' + lifetime(expires_in) + '. Send it as: Authorization: Bearer <token>.' + renewable
}

function failureText({ status, retryAfter, body }) {
  if (!body?.error) return status + ', which is not an answer of the token endpoint: something in front of it answered.'
  const wait = /^\d+$/.test(retryAfter ?? '') ? ' (' + retryAfter + ' s)' : ''
  // A demo that is started again has other clients.
  const reload = demo && body.error === 'invalid_client' ? ' If the demo was started again, reload this page.' : ''
  return status + ' ' + [body.error, body.error_description].filter(Boolean).join(': ') + wait + reload
}

// Only the outcome of the last request is shown.
let latest = new AbortController()

form.addEventListener('change', showFields)
form.addEventListener('submit', async (event) => {
  event.preventDefault()
  latest.abort()
  const press = new AbortController()
  latest = press
  const limit = setTimeout(() => press.abort(new Error('it took too long')), TIME_LIMIT_MS)
  const outcome = element('outcome')
  element('token').hidden = true
  say(outcome, null, 'Requesting a token...')
  try {
    const answer = await askForToken(press.signal)
    const token = decoded(answer.body?.access_token ?? '')
    if (token) {
      login.refreshToken = answer.body.refresh_token ?? login.refreshToken
      say(outcome, true, successText(answer.body))
      show(token)
      const verdict = await checkSignature(token.header, token.parts, press.signal).catch((failure) => unchecked(failure.message))
      if (press === latest) say(element('token-signature'), ...verdict)
    } else {
      say(outcome, false, failureText(answer))
    }
  } catch (failure) {
    if (press === latest) say(outcome, false, 'No answer from the server: ' + failure.message)
  } finally {
    clearTimeout(limit)
  }
})

// Makes `button` copy the text of an element.
export function copies(button, from, said, what) {
  button.addEventListener('click', async () => {
    try {
      await navigator.clipboard.writeText(from.textContent)
      say(said, true, 'Copied.')
    } catch {
      // Over http from another machine, or when the user does not allow it.
      getSelection().selectAllChildren(from)
      say(said, null, what + ' is selected; copy it now.')
    }
  })
}
copies(element('copy-token'), element('token-text'), element('copied'), 'The token')
copies(element('copy-next'), element('next-command'), element('next-copied'), 'The command')

// The parties of the demo, by the names that tokens and logs have.
function showRoles() {
  const roles = [
    [demo.app.id, ': a trusted app. It gets tokens for itself, which may read orders.'],
    [demo.shop.id, ': a web shop. Users sign in to it; their tokens may read and place orders.'],
    [demo.username, ': a user of the web shop.'],
    [demo.api, ': the API, at ' + demo.orders + '. It checks tokens by itself; it is a client too, so that it may ask whether one was revoked.'],
  ]
  for (const [name, role] of roles) {
    const item = document.createElement('li')
    const title = document.createElement('b')
    title.textContent = name
    item.append(title, role)
    element('demo-roles').append(item)
  }
}

element(demo ? 'demo-note' : 'client-note').hidden = false
if (demo) {
  showRoles()
  element('username').value = demo.username
  element('password').value = demo.password
}
showFields()
// Until this script has loaded, the button would reload the page.
element('ask').disabled = false
