// The API of all three variants: a list of orders in memory. Each handler names the scope that it requires; how tokens are checked is the variant's
// business.

import express from 'express'

/**
 * `requires(scope)` returns the handlers that let a request pass only with this scope, and `callerOf(request)` returns the caller's subject. A body
 * is read only after that: a stranger cannot make the API parse anything.
 */
export function ordersApi({ requires, callerOf }) {
  const list = [{ id: 1, item: 'a desk', by: 'billing' }]
  const api = express()
  api.disable('x-powered-by')
  api.get('/orders', requires('orders:read'), (request, response) => response.json(list))
  api.post('/orders', requires('orders:write'), express.json({ limit: '16kb' }), (request, response) => {
    const item = request.body?.item
    if (typeof item !== 'string' || item === '' || item.length > 100) return response.status(400).json({ error: 'invalid_item' })
    const order = { id: list.length + 1, item, by: callerOf(request) }
    list.push(order)
    response.status(201).json(order)
  })
  return api
}

/** The last handler: answers an error with its status and headers. What was not meant for the caller goes into the log alone. */
export function answerError(error, request, response, next) {
  if (response.headersSent) return next(error)
  const status = error.status ?? 500
  if (status === 500) console.error(error)
  response.status(status).set(error.headers ?? {}).json({ error: error.code ?? (status < 500 ? 'invalid_request' : 'server_error') })
}

/** Serves the API on LISTEN, which is a port of 127.0.0.1. */
export function serve(api) {
  const server = api.listen(Number(process.env.LISTEN ?? 9000), '127.0.0.1', (error) => {
    if (error) throw error
    console.log(`orders at http://127.0.0.1:${server.address().port}/orders`)
  })
}
