// Asks the snippet about each token: a line of JSON in, a line of JSON out.
import { createInterface } from 'node:readline'
import { check } from './snippet.js'

for await (const line of createInterface({ input: process.stdin })) {
  const { name, token } = JSON.parse(line)
  let answer
  try {
    answer = { ok: true, claims: await check(token) }
  } catch (error) {
    answer = { ok: false, error: `${error.name}: ${error.message}`.slice(0, 300) }
  }
  console.log(JSON.stringify({ name, ...answer }))
}
