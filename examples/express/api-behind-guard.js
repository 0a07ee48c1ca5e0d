// The API behind `sealwright guard`, without any code for tokens.
//
//   LISTEN=4000 node api-behind-guard.js
//   sealwright guard --rules rules.toml --upstream http://127.0.0.1:4000
//
// Only the guard may reach it: here it listens on 127.0.0.1; elsewhere, in a network that only the guard is in.

import { answerError, ordersApi, serve } from './orders.js'

const api = ordersApi({
  requires: () => [], // rules.toml says what each request needs
  callerOf: (request) => request.get('x-token-subject'), // set by the guard, which removes what a caller sends under this name
})
api.use(answerError)
serve(api)
