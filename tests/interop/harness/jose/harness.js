// Asks the snippet about each token: a line of JSON in, a line of JSON out.
import { createInterface } from 'node:readline'
import { check, refusal } from './snippet.js'

for await (const line of createInterface({ input: process.stdin })) {
  const { name, token, scope } = JSON.parse(line)
  let answer
  try {
    answer = { status: 200, claims: await check(token, scope) }
  } catch (error) {
    answer = { ...refusal(error, scope), error: `${error.name}: ${error.message}`.slice(0, 300) }
  }
  console.log(JSON.stringify({ name, ...answer }))
}
