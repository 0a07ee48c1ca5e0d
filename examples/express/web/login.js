// A user's login, in the session of their browser. The browser itself has only the session's id.

import { readFile } from 'node:fs/promises'
import { promisify } from 'node:util'

import * as oauth from 'openid-client'

export class LoginEnded extends Error {}
export class NoRight extends Error {}
export class OrdersFailed extends Error {}
export class TooMany extends Error {}
export class Unavailable extends Error {}
export class WrongPassword extends Error {}

/** Begins, continues and ends logins, and calls the API with their tokens. */
export class Logins {
  #settings
  #client
  /** What is renewed right now, by session. Requests that race share it: a refresh token is valid once. */
  #renewals = new Map()

  constructor(settings) {
    this.#settings = settings
  }

  /** Exchanges the password for tokens, which the session keeps. The password is not kept. */
  async begin(request, username, password) {
    const before = request.session.login
    const tokens = await this.#grant('password', {
      username, password, user_address: request.ip, // the issuer limits failed attempts by it
    })
    const login = { username, ...kept(tokens) }
    try {
      // A new id: an attacker who planted the old one does not know it (session fixation).
      await promisify(request.session.regenerate).call(request.session)
      request.session.login = login
      await promisify(request.session.save).call(request.session)
    } catch (error) {
      await this.#revoke(login) // no session knows it
      throw error
    }
    if (before) await this.#revoke(before)
  }

  /** Ends the session, and the login at the issuer if that answers. */
  async end(request) {
    await this.#renewals.get(request.sessionID)?.catch(() => {})
    await promisify(request.session.reload).call(request.session).catch(() => {}) // another request may have ended it
    const login = request.session.login
    await promisify(request.session.destroy).call(request.session)
    if (login) await this.#revoke(login)
  }

  /** What the user may see and do, by the scope of the token. */
  async look(request) {
    const login = await this.#current(request)
    const may = (scope) => login.scope.includes(scope)
    const shown = { name: login.username, mayRead: may('orders:read'), mayOrder: may('orders:write') }
    if (!shown.mayRead) return shown
    const answer = await this.call(request)
    if (answer.status === 403) return { ...shown, mayRead: false, notice: 'You may not see orders any more: the right was withdrawn.' }
    if (!answer.ok) throw new OrdersFailed(answer.status)
    return { ...shown, list: await answer.json() }
  }

  /** Calls the API for the user. A token that it refuses is renewed once: it may have been revoked because the user's rights changed. */
  async call(request, init = {}) {
    const answer = await this.#send(await this.#current(request), init)
    return answer.status === 401 ? this.#send(await this.#current(request, { refused: true }), init) : answer
  }

  /** The URL is a setting, and a redirect is an error: the token goes to no other origin. */
  async #send(login, init) {
    const headers = { ...init.headers, authorization: `Bearer ${login.accessToken}` }
    try {
      return await fetch(this.#settings.orders, { ...init, headers, redirect: 'error', signal: AbortSignal.timeout(10_000) })
    } catch (error) {
      throw new OrdersFailed(error.name, { cause: error.cause })
    }
  }

  /** The login of the session, with a token that is valid for a while. */
  async #current(request, { refused = false } = {}) {
    // Not `request.session.login = ...` below: express-session would write it at the end of the request, when the user may have signed out.
    const login = request.login ?? request.session.login
    if (!login) throw new LoginEnded()
    if (!refused && Date.now() < login.renewAt) return login
    const id = request.sessionID
    if (!this.#renewals.has(id)) {
      this.#renewals.set(id, this.#renew(request, login).finally(() => this.#renewals.delete(id)))
    }
    try {
      request.login = await this.#renewals.get(id)
      return request.login
    } catch (error) {
      // While the issuer is down, a token is used to its end.
      if (error instanceof Unavailable && !refused && Date.now() < login.endsAt) return login
      throw error
    }
  }

  async #renew(request, login) {
    let tokens
    try {
      tokens = await this.#grant('refresh_token', { refresh_token: login.refreshToken })
    } catch (error) {
      if (error instanceof LoginEnded || error instanceof NoRight) await promisify(request.session.destroy).call(request.session)
      throw error
    }
    // The session as it is now. If the user has signed out meanwhile, there is none, and writing it would sign them in again.
    await promisify(request.session.reload).call(request.session).catch(() => {
      throw new LoginEnded()
    })
    const renewed = { ...login, ...kept(tokens) }
    request.session.login = renewed
    await promisify(request.session.save).call(request.session)
    return renewed
  }

  async #revoke(login) {
    try {
      await oauth.tokenRevocation(await this.#configuration(), login.refreshToken)
    } catch (error) {
      // An unused login expires at the issuer after some days.
      console.error(`a login continues at the issuer: ${error.code ?? error.name}`)
    }
  }

  async #grant(type, parameters) {
    try {
      return await oauth.genericGrantRequest(await this.#configuration(), type, { ...parameters, resource: this.#settings.audience })
    } catch (error) {
      throw failure(error, type)
    }
  }

  /** The issuer's metadata, fetched when it is first needed: the application starts while the issuer is down. */
  async #configuration() {
    this.#client ??= this.#discover().catch((error) => {
      this.#client = undefined
      throw error
    })
    return this.#client
  }

  async #discover() {
    const { issuer, clientId, secretFile } = this.#settings
    const secret = (await readFile(secretFile, 'utf8')).trim()
    const isLocal = issuer.protocol === 'http:' && ['localhost', '127.0.0.1'].includes(issuer.hostname)
    const execute = isLocal ? [oauth.allowInsecureRequests] : [] // http to this machine alone
    const configuration = await oauth.discovery(issuer, clientId, {}, oauth.ClientSecretBasic(secret), { algorithm: 'oauth2', execute })
    configuration.timeout = 10 // seconds: a person waits for the page
    return configuration
  }
}

/** What of the issuer's answer the session keeps. */
function kept({ access_token: accessToken, refresh_token: refreshToken, expires_in: seconds, scope }) {
  const now = Date.now()
  return { accessToken, refreshToken, scope: scope.split(' '), renewAt: now + seconds * 800, endsAt: now + seconds * 1000 }
}

/** What the application does about an error of the issuer. Its text never has a token or a password. */
function failure(error, type) {
  const retryAfter = error.response?.headers?.get('retry-after')
  if (error.status === 429) return Object.assign(new TooMany(), { retryAfter })
  if (error.status === 503) return Object.assign(new Unavailable(), { retryAfter })
  if (error.error === 'invalid_grant') return type === 'password' ? new WrongPassword() : new LoginEnded()
  // No scope was requested by name, so client and user have no scope in common.
  if (error.error === 'invalid_scope') return new NoRight()
  // `invalid_client` and the like are the operator's to fix; without such a code, the issuer did not answer.
  return error.error ? error : Object.assign(new Unavailable(error.code ?? error.name), { cause: error.cause })
}
