// The web application, Redis and the server's commands, as processes. tests/node/web.py starts the server and the API.

import assert from 'node:assert/strict'
import { execFileSync, spawn } from 'node:child_process'
import { createServer } from 'node:net'
import { setTimeout as pause } from 'node:timers/promises'

export const { ISSUER, AUDIENCE, METRICS } = process.env
export const PASSWORD = 'plum trousers at the gate'
export const COOKIE = '__Host-Http-shop'

/** Starts it, and waits until its output contains `until`. */
export async function start(command, args, until, options = {}) {
  const child = spawn(command, args, { stdio: ['ignore', 'pipe', 'pipe'], ...options })
  const process = { child, said: '', ended: new Promise((resolve) => child.once('exit', resolve)) }
  for (const stream of [child.stdout, child.stderr]) stream.setEncoding('utf8').on('data', (text) => (process.said += text))
  for (let attempt = 0; attempt < 1500 && !process.said.includes(until); attempt++) {
    assert.equal(child.exitCode, null, process.said)
    await pause(20)
  }
  assert.ok(process.said.includes(until), `${command} never said ${until}: ${process.said}`)
  process.stop = (signal = 'SIGTERM') => {
    child.kill(signal)
    return process.ended
  }
  return process
}

export function freePort() {
  return new Promise((resolve) => {
    const server = createServer().listen(0, '127.0.0.1', () => {
      const { port } = server.address()
      server.close(() => resolve(port))
    })
  })
}

/** It persists all data, so that sessions survive a restart. */
export function redis(port) {
  const args = ['--bind', '127.0.0.1', '--port', port, '--appendonly', 'yes', '--appendfsync', 'always', '--dir', process.env.FOLDER]
  return start('redis-server', args.map(String), 'Ready to accept connections')
}

/** The keys of all sessions. */
export function sessionsInRedis(port) {
  return execFileSync('redis-cli', ['-p', String(port), 'keys', 'shop:*'], { encoding: 'utf8' }).trim()
}

export async function webApplication(redisPort, settings = {}) {
  const port = await freePort()
  const env = { ...process.env, PORT: port, REDIS_URL: `redis://127.0.0.1:${redisPort}`, SESSION_SECRET: 'of the tests', ...settings }
  const web = await start('node', ['web/main.js'], 'web application at', { cwd: process.env.EXPRESS, env })
  return Object.assign(web, { origin: `http://127.0.0.1:${port}` })
}

/** Runs a command of the server. */
export function sealwright(...args) {
  return execFileSync(process.env.PROGRAM, [...args, '--json'], { cwd: process.env.FOLDER, encoding: 'utf8' })
}

export function allowAlice(...scopes) {
  sealwright('user', 'update', 'alice', '--allow', `${AUDIENCE}=${scopes.join(',')}`)
}

/** How many logins of Alice the issuer knows as not ended. */
export function liveLogins() {
  return JSON.parse(sealwright('login', 'list', '--user', 'alice')).filter((login) => login.ended_at === null).length
}

/** The number of tokens that the server issued for this grant. */
export async function issued(grant) {
  const metrics = await (await fetch(METRICS)).text()
  const line = metrics.split('\n').find((line) =>
    line.startsWith('sealwright_token_requests_total') && line.includes(`grant="${grant}"`) && line.includes('result="ok"'))
  return line ? Number(line.split(' ').at(-1)) : 0
}
