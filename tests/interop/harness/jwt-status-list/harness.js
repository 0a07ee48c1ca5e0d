// Asks the snippet whether tokens are revoked, by their claims: a line of JSON in, a line of JSON out. `ahead` sets its clock forward, in seconds.
import { createInterface } from 'node:readline'
import { isRevoked } from './snippet.js'

const now = Date.now
let ahead = 0
Date.now = () => now() + ahead * 1000

for await (const line of createInterface({ input: process.stdin })) {
  const { name, claims, ...asked } = JSON.parse(line)
  ahead = asked.ahead ?? 0
  let answer
  try {
    answer = { revoked: await isRevoked(claims) }
  } catch (error) {
    answer = { error: `${error.name}: ${error.message}`.slice(0, 300) }
  }
  console.log(JSON.stringify({ name, ...answer }))
}
