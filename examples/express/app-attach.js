// An app that calls the API through `sealwright attach`. It holds no secret and handles no token.
//
//   sealwright attach --to http://127.0.0.1:9000 --issuer http://localhost:8080 --client billing --secret-file billing.secret
//   node app-attach.js

const orders = process.env.ORDERS_URL ?? 'http://127.0.0.1:9100/orders'

const answer = await fetch(orders, { signal: AbortSignal.timeout(10_000) })
console.log(answer.status, await answer.text())
