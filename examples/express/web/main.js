// A web application on which people sign in, and see and place orders of the API.
//
//   ISSUER=http://localhost:8080 AUDIENCE=https://orders.example CLIENT_ID=shop CLIENT_SECRET_FILE=shop.secret \
//     ORDERS_URL=http://127.0.0.1:9000/orders REDIS_URL=redis://127.0.0.1:6379 node web/main.js
//
// It exchanges the password for tokens and keeps them in the session, in Redis. The browser gets only the session's id, in a cookie that no script
// can read or set (RFC 10017 section 6.1). What the page offers follows from the scope of the tokens; the API decides again on each request.
//
// login.js is what to look at: signing in, going on, and signing out. Elsewhere than on this machine it stands behind a proxy with TLS: ORIGIN is
// then the address that people see, such as https://shop.example, and PROXY the address from which the proxy connects.

import { randomBytes } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { setTimeout as pause } from 'node:timers/promises'

import { RedisStore } from 'connect-redis'
import express from 'express'
import session from 'express-session'
import { createClient } from 'redis'

import { LoginEnded, Logins, NoRight, OrdersFailed, TooMany, Unavailable, WrongPassword } from './login.js'
import * as page from './page.js'

function setting(name) {
  if (!process.env[name]) throw new Error(`set ${name}`)
  return process.env[name]
}

const port = Number(process.env.PORT ?? 3000)
const origin = process.env.ORIGIN ?? `http://127.0.0.1:${port}`
const isHere = (name) => readFileSync(new URL(name, import.meta.url))

class StoreAway extends Error {}

// Without the queue, a request fails soon while Redis is away, and people are not signed out: the next one finds their session again.
const redis = createClient({
  url: setting('REDIS_URL'), disableOfflineQueue: true,
  socket: { connectTimeout: 2000, reconnectStrategy: (retries) => Math.min(100 * 2 ** retries, 1000) },
})
redis.on('error', (error) => console.error(`redis: ${error.code ?? error.name}`))
redis.connect().catch(() => {}) // it has been logged, and is tried again

/** A command of the session store. Redis may also accept a command and not answer: node-redis would wait for it. */
async function soon(command, ...values) {
  const silence = pause(1500, undefined, { ref: false }).then(() => Promise.reject(new Error('no answer')))
  try {
    return await Promise.race([redis[command](...values), silence])
  } catch (error) {
    throw new StoreAway(error.message)
  }
}
const client = Object.fromEntries(['get', 'set', 'expire', 'del'].map((command) => [command, (...values) => soon(command, ...values)]))

const logins = new Logins({
  issuer: new URL(setting('ISSUER')), audience: setting('AUDIENCE'), clientId: setting('CLIENT_ID'),
  secretFile: setting('CLIENT_SECRET_FILE'), orders: new URL(setting('ORDERS_URL')),
})

// `__Host-Http-`: browsers take a cookie of this name from this host alone, over TLS, and never from a script. Those that do not know the prefix know
// `__Host-`. `strict`: no request that another site causes carries it.
const COOKIE = { name: '__Host-Http-shop', attributes: { path: '/', secure: true, httpOnly: true, sameSite: 'strict' } }

const sessions = session({
  store: new RedisStore({ client, prefix: 'shop:', ttl: 8 * 3600 }), // counted from the last request
  name: COOKIE.name,
  cookie: COOKIE.attributes,
  // It signs the cookie. Without the setting, a restart signs everyone out, and two processes do not know each other's cookies.
  secret: process.env.SESSION_SECRET ?? randomBytes(32).toString('hex'),
  resave: false, // else a request that takes long writes old tokens over new ones
  saveUninitialized: false,
})

/** What each answer says of itself. */
function headers(request, response, next) {
  response.set({
    'Content-Security-Policy': page.CONTENT_SECURITY_POLICY,
    'X-Content-Type-Options': 'nosniff',
    'Referrer-Policy': 'same-origin', // with `no-referrer`, browsers send the forms of this very page with `Origin: null`
    'Cache-Control': 'no-store',
  })
  // express-session sends a `Secure` cookie only if it sees TLS. The proxy speaks it, or this is 127.0.0.1, which browsers take for secure as well.
  Object.defineProperty(request, 'secure', { value: true })
  next()
}

/** Refuses a form that another site made the browser send. Browsers name the sender of each POST by one of these headers at least. */
function ownForms(request, response, next) {
  const [site, from] = [request.get('sec-fetch-site'), request.get('origin')]
  if (request.method === 'GET' || request.method === 'HEAD' || (site ? site === 'same-origin' : from === origin)) return next()
  response.status(403).send(page.sorry('This form was not sent from a page of this shop. Nothing was done.'))
}

/** A link on another site arrives without the cookie, because that is `strict`. The page that this sends asks again, as a page of this site. */
function arrivals(request, response, next) {
  const isFromElsewhere = ['cross-site', 'same-site'].includes(request.get('sec-fetch-site'))
  if (request.method !== 'GET' || !isFromElsewhere || request.session.login || 'arrived' in request.query) return next()
  response.set('Refresh', '0; url=/?arrived').send(page.goOn('/?arrived'))
}

const app = express()
app.disable('x-powered-by')
app.set('trust proxy', process.env.PROXY ?? false)
app.use(headers)
for (const [path, type] of [['style.css', 'css'], ['icon.svg', 'svg']]) {
  const file = isHere(path)
  app.get(`/${path}`, (request, response) => response.set('Cache-Control', 'max-age=3600').type(type).send(file))
}
app.use(ownForms, sessions, arrivals, express.urlencoded({ extended: false, limit: '16kb' }))

app.get('/', async (request, response) => {
  if (!request.session.login) return response.send(page.signIn())
  response.send(page.orders(await logins.look(request)))
})

app.post('/sign-in', async (request, response) => {
  const { username, password } = request.body ?? {}
  if (typeof username !== 'string' || typeof password !== 'string') return response.status(400).send(page.signIn())
  try {
    await logins.begin(request, username, password)
    response.redirect(303, '/')
  } catch (error) {
    if (!(error instanceof WrongPassword)) throw error
    // Not 401: that has to name a scheme by which browsers would ask for the password themselves (RFC 9110 section 15.5.2).
    response.status(422).send(page.signIn(username, 'This name and this password do not belong together. Try again.'))
  }
})

app.post('/orders', async (request, response) => {
  const item = String(request.body?.item ?? '').trim()
  if (item === '' || item.length > page.ITEM_MAX) {
    return response.status(422).send(page.sorry('Say what you want to order, in a hundred characters at most. Nothing was ordered.'))
  }
  const answer = await logins.call(request, { method: 'POST', headers: { 'content-type': 'application/json' }, body: JSON.stringify({ item }) })
  // The API decides whether the user may order: the page may be older than the user's rights.
  if (answer.status === 403) {
    const notice = 'You may not place orders. Nothing was ordered.'
    return response.status(403).send(page.orders({ ...(await logins.look(request)), mayOrder: false, notice }))
  }
  if (!answer.ok) throw new OrdersFailed(answer.status)
  response.redirect(303, '/')
})

app.post('/sign-out', async (request, response) => {
  await logins.end(request)
  response.clearCookie(COOKIE.name, COOKIE.attributes).redirect(303, '/')
})

app.use((request, response) => response.status(404).send(page.sorry('There is no such page.')))

/** The text for the log contains neither a token nor what a person typed. */
app.use((error, request, response, next) => {
  if (response.headersSent) return next(error)
  if (error instanceof LoginEnded) {
    return response.status(403).clearCookie(COOKIE.name, COOKIE.attributes)
      .send(page.signIn('', 'Your login has ended. Sign in again to go on.'))
  }
  const [status, sentence] = answerTo(error)
  console.error(`${request.method} ${request.path}: ${status}: ${error.constructor.name}: ${error.code ?? error.cause?.code ?? error.message}`)
  if (error.retryAfter) response.set('Retry-After', error.retryAfter)
  response.status(status).send(page.sorry(sentence))
})

function answerTo(error) {
  if (error instanceof NoRight) return [403, page.NO_RIGHT]
  if (error instanceof TooMany) return [429, 'A wrong password was entered for this name too often. Wait a little, and try again.']
  if (error instanceof Unavailable) {
    return [503, 'The server that signs people in cannot do so right now. Nothing was changed; try again in a moment.']
  }
  if (error instanceof OrdersFailed) {
    return [502, 'The orders do not answer. What you ordered just now may have come through: look at the list before you order it again.']
  }
  if (error.status >= 400 && error.status < 500) return [error.status, 'This form cannot be read. Nothing was done.']
  if (error instanceof StoreAway) {
    return [503, 'This shop cannot see right now who is signed in. Nothing is lost; try again in a moment.']
  }
  return [500, 'Something is wrong with this shop. Its operator finds the cause in its log.']
}

const server = app.listen(port, '127.0.0.1', (error) => {
  if (error) throw error
  console.log(`web application at ${origin}`)
})

// Requests under way end, and with them the renewals of tokens: a used refresh token must not stay in a session.
for (const signal of ['SIGTERM', 'SIGINT']) process.once(signal, () => server.close(() => redis.destroy()))
