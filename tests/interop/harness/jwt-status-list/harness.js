// Asks the snippet whether tokens are revoked, by their claims: a line of JSON in, a line of JSON out.
import { createInterface } from 'node:readline'
import { isRevoked } from './snippet.js'

for await (const line of createInterface({ input: process.stdin })) {
  const { name, claims } = JSON.parse(line)
  let answer
  try {
    answer = { revoked: await isRevoked(claims) }
  } catch (error) {
    answer = { error: `${error.name}: ${error.message}`.slice(0, 300) }
  }
  console.log(JSON.stringify({ name, ...answer }))
}
