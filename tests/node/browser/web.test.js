// Stories of users of examples/express/web, in a real browser. tests/node/run runs them.

import assert from 'node:assert/strict'
import { createServer } from 'node:http'
import { after, before, test } from 'node:test'
import { setTimeout as pause } from 'node:timers/promises'

import { Seen } from './seen.js'
import { allowAlice, COOKIE, freePort, issued, liveLogins, PASSWORD, redis, sealwright, sessionsInRedis, webApplication } from './world.js'

const STATUS = (status) => `status of ${status}`

let redisPort, store, web, seen

const story = (name, run) => test(name, { timeout: 150_000 }, run)

before(async () => {
  redisPort = await freePort()
  store = await redis(redisPort)
  web = await webApplication(redisPort)
  seen = await Seen.open(web.origin)
})

after(async () => {
  await seen?.close()
  await web?.stop()
  await store?.stop('SIGKILL') // a story may have halted it
})

/** The session's cookie, as the browser has it. */
async function sessionCookie() {
  return (await seen.cookies()).find((cookie) => cookie.name === COOKIE)
}

/** The page for a request with this cookie. */
async function pageWith(value) {
  const answer = await fetch(web.origin, { headers: { cookie: `${COOKIE}=${value}` } })
  return answer.text()
}

/** A form of the page, as a browser sends it. */
function post(path, fields, headers = {}) {
  const init = { method: 'POST', body: new URLSearchParams(fields), headers: { origin: web.origin, ...headers }, redirect: 'manual' }
  return fetch(`${web.origin}${path}`, init)
}

async function signIn() {
  await seen.goto('/')
  if (await seen.has('header button')) await seen.page.click('header button')
  await seen.says('Sign in to order')
  await seen.fill('#username', 'alice')
  await seen.fill('#password', PASSWORD)
  await seen.page.keyboard.press('Enter')
  await seen.says('Signed in as alice')
}

story('after a wrong password, the form keeps the name and not the password', async () => {
  await seen.goto('/')
  assert.equal(await sessionCookie(), undefined, 'a visitor has no session')
  await seen.pictures('sign-in')
  await seen.fill('#username', 'alice')
  await seen.fill('#password', 'not what she chose at all')
  await seen.page.keyboard.press('Enter')
  await seen.says('do not belong together')
  assert.equal(await seen.page.$eval('#username', (field) => field.value), 'alice')
  assert.equal(await seen.page.$eval('#password', (field) => field.value), '')
  await seen.pictures('wrong-password')
  seen.hasNoFaultsBut(STATUS(422))
})

story('a user signs in with the keyboard alone, and no script can read or set the cookie', async () => {
  await seen.goto('/')
  await seen.tabTo('#username')
  await seen.page.keyboard.type('alice')
  await seen.page.keyboard.press('Tab')
  await seen.page.keyboard.type(PASSWORD)
  await seen.page.keyboard.press('Tab')
  await seen.page.keyboard.press('Enter')
  await seen.says('Signed in as alice')
  const cookie = await sessionCookie()
  assert.deepEqual([cookie.httpOnly, cookie.secure, cookie.sameSite, cookie.path], [true, true, 'Strict', '/'])
  assert.equal(await seen.page.evaluate(() => document.cookie), '')
  await seen.page.evaluate((name) => {
    document.cookie = `${name}=planted; Secure; Path=/`
  }, COOKIE)
  assert.equal((await sessionCookie()).value, cookie.value)
  seen.hasNoFaultsBut()
})

story('a user orders, and what she types is shown as text', async () => {
  await seen.fill('#item', 'tea & <b>biscuits</b>')
  await seen.page.keyboard.press('Enter')
  await seen.says('tea & <b>biscuits</b>')
  await seen.pictures('orders')
  seen.hasNoFaultsBut()
})

story('signing in renews the session id, and ends the login that the session had', async () => {
  const old = await sessionCookie()
  const answer = await post('/sign-in', { username: 'alice', password: PASSWORD }, { cookie: `${COOKIE}=${old.value}` })
  assert.equal(answer.status, 303)
  const [text] = answer.headers.getSetCookie()
  assert.match(text, /; Path=\/; HttpOnly; Secure; SameSite=Strict$/)
  const value = text.split(';')[0].split('=')[1]
  assert.notEqual(value, old.value)
  assert.match(await pageWith(value), /Signed in as alice/)
  assert.match(await pageWith(old.value), /Sign in to order/, 'an id that was planted or copied before is useless')
  assert.equal(liveLogins(), 1)
  await seen.browser.setCookie({ ...old, value })
})

story('a form that another site sends does nothing', async () => {
  const form = new URLSearchParams({ username: 'alice', password: PASSWORD })
  const before = await issued('password')
  const ours = { origin: web.origin }
  const others = [
    { origin: 'https://evil.example' }, { origin: 'null' }, { ...ours, 'sec-fetch-site': 'cross-site' }, { 'sec-fetch-site': 'same-site' }, {},
  ]
  for (const headers of others) {
    const answer = await fetch(`${web.origin}/sign-in`, { method: 'POST', body: form, headers })
    assert.deepEqual([answer.status, answer.headers.getSetCookie()], [403, []], JSON.stringify(headers))
  }
  assert.equal(await issued('password'), before)
})

story('a link on another site finds her signed in, and a form there orders nothing', async () => {
  const page = `<!doctype html><title>Elsewhere</title><a href="${web.origin}/">shop</a>
    <form method="post" action="${web.origin}/orders"><input name="item" value="a yacht"><button>Win</button></form>`
  const elsewhere = createServer((request, response) => response.setHeader('content-type', 'text/html').end(page))
  await new Promise((resolve) => elsewhere.listen(0, '127.0.0.1', resolve))
  try {
    // `localhost` is another site than 127.0.0.1.
    const url = `http://localhost:${elsewhere.address().port}/`
    await seen.page.goto(url)
    await seen.page.click('a')
    await seen.says('Signed in as alice')
    await seen.page.goto(url)
    await seen.page.click('button')
    await seen.says('not sent from a page of this shop')
    await seen.goto('/')
    await seen.says('Signed in as alice')
    assert.ok(!(await seen.text()).includes('yacht'))
    seen.hasNoFaultsBut('off the origin: http://localhost', STATUS(403), STATUS(404))
  } finally {
    elsewhere.close()
  }
})

story('while Redis is away the page says so soon, and afterwards she is still signed in', async () => {
  await store.stop('SIGKILL')
  const gone = Date.now()
  await seen.goto('/')
  assert.ok(Date.now() - gone < 4000, `${Date.now() - gone} ms`)
  await seen.says('cannot see right now who is signed in')
  await seen.pictures('redis-down')
  store = await redis(redisPort)
  for (let attempt = 0; attempt < 100 && !(await seen.text()).includes('Signed in as alice'); attempt++) {
    await pause(100)
    await seen.goto('/')
  }
  await seen.says('Signed in as alice')
  seen.hasNoFaultsBut(STATUS(503))

  // It accepts connections and does not answer.
  store.child.kill('SIGSTOP')
  const silent = Date.now()
  await seen.goto('/')
  assert.ok(Date.now() - silent < 4000, `${Date.now() - silent} ms`)
  await seen.says('cannot see right now who is signed in')
  store.child.kill('SIGCONT')
  await seen.goto('/')
  await seen.says('Signed in as alice')
  seen.hasNoFaultsBut(STATUS(503))
})

story('a right that is withdrawn goes with the next token, which four requests that race get once', async () => {
  assert.ok(await seen.has('#item'))
  allowAlice('orders:read')
  const { value } = await sessionCookie()
  const renewed = await issued('refresh_token')
  // Her token is valid for a minute.
  for (let second = 0; second < 90 && (await issued('refresh_token')) === renewed; second++) {
    const pages = await Promise.all([1, 2, 3, 4].map(() => pageWith(value)))
    for (const page of pages) assert.match(page, /Signed in as alice/)
    await pause(1000)
  }
  assert.equal(await issued('refresh_token'), renewed + 1)
  // Her page is older than the change: the API refuses, and the page says so.
  await seen.fill('#item', 'one more')
  await seen.page.keyboard.press('Enter')
  await seen.says('You may not place orders')
  assert.ok(!(await seen.has('#item')))
  await seen.pictures('right-withdrawn')
  await seen.goto('/')
  await seen.says('Signed in as alice')
  assert.ok(!(await seen.has('#item')) && !(await seen.text()).includes('one more'))
  seen.hasNoFaultsBut(STATUS(403))
})

story('signing out ends the login at the issuer, and the session also for a copy of its cookie', async () => {
  const { value } = await sessionCookie()
  assert.match(await pageWith(value), /Signed in as alice/)
  assert.equal(liveLogins(), 1)
  await seen.page.click('header button')
  await seen.says('Sign in to order')
  assert.equal(await sessionCookie(), undefined)
  assert.match(await pageWith(value), /Sign in to order/)
  assert.equal(liveLogins(), 0)
  seen.hasNoFaultsBut()
})

/** The page of an application that has just started: until it has connected to Redis, it answers 503. */
async function textOnceConnected(origin, value) {
  for (;;) {
    const answer = await fetch(origin, { headers: { cookie: `${COOKIE}=${value}` } })
    if (answer.status !== 503) return answer.text()
    await pause(50)
  }
}

story('a request that ends after the sign-out does not sign her in again', async () => {
  // An API that refuses the first token, so that it is renewed, and then answers when the test says so.
  await signIn()
  let release, arrived
  const held = new Promise((resolve) => (release = resolve))
  const isHeld = new Promise((resolve) => (arrived = resolve))
  let requests = 0
  const slow = createServer(async (request, response) => {
    requests += 1
    if (requests === 1) return response.writeHead(401).end()
    arrived()
    await held
    response.setHeader('content-type', 'application/json').end('[]')
  })
  await new Promise((resolve) => slow.listen(0, '127.0.0.1', resolve))
  const other = await webApplication(redisPort, { ORDERS_URL: `http://127.0.0.1:${slow.address().port}/orders` })
  try {
    const { value } = await sessionCookie()
    const renewed = await issued('refresh_token')
    const late = textOnceConnected(other.origin, value)
    await isHeld
    assert.equal(await issued('refresh_token'), renewed + 1)
    await seen.page.click('header button')
    await seen.says('Sign in to order')
    release()
    assert.match(await late, /Signed in as alice/)
    assert.equal(sessionsInRedis(redisPort), '')
    assert.match(await pageWith(value), /Sign in to order/)
    assert.equal(liveLogins(), 0)
    seen.hasNoFaultsBut()
  } finally {
    release()
    await other.stop('SIGKILL')
    slow.close()
  }
})

story('while the issuer does not answer, a token is used to its end, and signing in gets 503', async () => {
  allowAlice('orders:read', 'orders:write')
  await signIn()
  process.kill(Number(process.env.SERVER), 'SIGSTOP')
  try {
    await seen.goto('/')
    await seen.says('Signed in as alice')
    const answer = await post('/sign-in', { username: 'alice', password: PASSWORD })
    assert.equal(answer.status, 503)
    assert.match(await answer.text(), /cannot do so right now/)
  } finally {
    process.kill(Number(process.env.SERVER), 'SIGCONT')
  }
  // It reads its database again before it answers.
  let status
  for (let attempt = 0; attempt < 100 && status !== 303; attempt++) {
    await pause(100)
    status = (await post('/sign-in', { username: 'alice', password: PASSWORD })).status
  }
  assert.equal(status, 303)
  seen.hasNoFaultsBut()
})

story('too many wrong passwords get 429 with Retry-After', async () => {
  let answer
  for (let attempt = 0; attempt < 11; attempt++) answer = await post('/sign-in', { username: 'mallory', password: 'guess' })
  assert.equal(answer.status, 429)
  assert.match(answer.headers.get('retry-after'), /^[0-9]+$/)
})

story('a user without any scope gets 403 and whom to ask', async () => {
  const answer = await post('/sign-in', { username: 'carol', password: PASSWORD })
  assert.equal(answer.status, 403)
  assert.match(await answer.text(), /Ask the operator/)
})

story('a login that the issuer ended asks her to sign in again', async () => {
  await seen.goto('/')
  await seen.says('Signed in as alice')
  sealwright('user', 'disable', 'alice')
  for (let second = 0; second < 90 && !(await seen.text()).includes('Your login has ended'); second++) {
    await pause(1000)
    await seen.goto('/')
  }
  await seen.says('Your login has ended')
  assert.equal(await sessionCookie(), undefined)
  await seen.pictures('login-ended')
  seen.hasNoFaultsBut(STATUS(403))
})

story('no secret is in the log', () => {
  assert.ok(!/eyJ|swr?_|plum trousers/.test(web.said), web.said)
})
